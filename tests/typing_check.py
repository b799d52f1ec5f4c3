"""Use the package in each way that its types allow. Only type checkers read this file."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import assert_type

import httpx

import zulip_auth
from zulip_auth import AuthClient, Credentials, RetryPolicy
from zulip_auth.testing import Account, FakeZulip, Realm, ReceivedRequest


async def logins(transport: httpx.AsyncHTTPTransport, context: ssl.SSLContext) -> None:
    assert_type(await zulip_auth.login("a", "b", "c"), Credentials)
    assert_type(await zulip_auth.dev_login("a", "b", timeout=5), Credentials)
    client = AuthClient(
        "a",
        timeout=5,
        retry=RetryPolicy(attempts=1),
        ssl_context=context,
        transport=transport,
        user_agent="bot/1",
    )
    credentials = await client.login("b", "c")
    assert_type(credentials.basic_auth, tuple[str, str])
    assert_type(credentials.user_id, int | None)
    httpx.AsyncClient(auth=credentials.basic_auth)
    await zulip_auth.login("a", "b")  # type: ignore[call-arg]
    await zulip_auth.login("a", "b", "c", 5)  # type: ignore[call-arg]
    credentials.api_key = "d"  # type: ignore[misc]


def errors(error: zulip_auth.ZulipAuthError) -> None:
    if isinstance(error, zulip_auth.RateLimitedError):
        assert_type(error.retry_after, float | None)
    elif isinstance(error, zulip_auth.AuthenticationFailedError):
        assert_type(error.attempts_remaining, int | None)
    elif isinstance(error, zulip_auth.APIStatusError):
        assert_type((error.status_code, error.code, error.message), tuple[int, str | None, str])
    elif isinstance(error, zulip_auth.APIConnectionError):
        assert_type(error.sent, bool)
    elif isinstance(error, zulip_auth.InvalidResponseError):
        assert_type(error.status_code, int | None)


async def tests(fake_zulip: FakeZulip) -> None:
    assert_type(fake_zulip.add_user("a", "b"), Account)
    assert_type(fake_zulip.add_realm("localhost"), Realm)
    assert_type(fake_zulip.requests, Sequence[ReceivedRequest])
    async with FakeZulip({"a": "b"}, dev_login="off") as server:
        assert_type(server, FakeZulip)
        server.dev_login = "maybe"  # type: ignore[assignment]
