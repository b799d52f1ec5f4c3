"""The rate limit of login attempts."""

from __future__ import annotations

import pytest

from zulip_auth import AuthenticationFailedError, RateLimitedError, login
from zulip_auth.testing import FakeZulip


async def test_sixth_attempt_is_blocked() -> None:
    async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        for remaining in (4, 3, 2, 1, 0):
            with pytest.raises(AuthenticationFailedError) as caught:
                await login(server.site, "iago@zulip.com", "a guess")
            assert caught.value.attempts_remaining == remaining
            server.advance(60)
        with pytest.raises(RateLimitedError) as blocked:
            await login(server.site, "iago@zulip.com", "secret")
        assert blocked.value.retry_after == pytest.approx(1500, abs=5)
        server.advance(1000)
        with pytest.raises(RateLimitedError) as blocked:
            await login(server.site, "iago@zulip.com", "secret")
        # A blocked attempt does not extend the block.
        assert blocked.value.retry_after == pytest.approx(500, abs=5)
        server.advance(501)
        await login(server.site, "iago@zulip.com", "secret")


async def test_success_resets_attempts() -> None:
    async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        for _ in range(3):
            for _ in range(4):
                with pytest.raises(AuthenticationFailedError):
                    await login(server.site, "iago@zulip.com", "a guess")
            await login(server.site, "iago@zulip.com", "secret")


async def test_attempts_per_spelling_of_username() -> None:
    async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        for username in ("iago@zulip.com", "IAGO@zulip.com", "hamlet@zulip.com"):
            with pytest.raises(AuthenticationFailedError) as caught:
                await login(server.site, username, "a guess")
            assert caught.value.attempts_remaining == 4
