from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zulip_auth import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationFailedError,
    BadRequestError,
    InvalidInputError,
    InvalidResponseError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    TLSError,
    ZulipAuthError,
)
from zulip_auth._retry import RetryState

NOT_SENT = APIConnectionError("connection refused", sent=False)
MAYBE_SENT = APIConnectionError("lost", sent=True)
TIMED_OUT = APITimeoutError("silent", sent=True)
FAILED = ServerError("failed", status_code=503)
REJECTED = AuthenticationFailedError("wrong", status_code=401)
FOREVER = math.inf


def rate_limited(seconds: float | None) -> RateLimitedError:
    return RateLimitedError("busy", status_code=429, retry_after=seconds)


def upper_bounds(policy: RetryPolicy, error: ZulipAuthError) -> list[float]:
    """Return the maximum waits if each attempt raises *error*."""
    state = RetryState(policy, jitter=lambda _low, high: high)
    waits = []
    while (wait := state.next_wait(error, remaining=FOREVER)) is not None:
        waits.append(wait)
    return waits


@pytest.mark.parametrize("name", ["attempts", "max_sends"])
@pytest.mark.parametrize("value", [0, -1, 1.5, math.nan, True, None, "2"])
def test_policy_invalid_count(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name} must"):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("name", ["wait_initial", "wait_max", "max_rate_limit_wait"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, True, None, "2"])
def test_policy_invalid_wait(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name} must"):
        RetryPolicy(**{name: value})


def test_unsent_request_uses_all_attempts() -> None:
    waits = upper_bounds(RetryPolicy(), NOT_SENT)
    assert waits == [0.25, 0.5, 1.0, 2.0]


def test_backoff_ends_at_wait_max() -> None:
    waits = upper_bounds(RetryPolicy(attempts=2000), NOT_SENT)
    assert waits[:7] == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert len(waits) == 1999
    assert set(waits[4:]) == {4.0}


def test_jitter_is_between_zero_and_bound() -> None:
    calls = []

    def jitter(low: float, high: float) -> float:
        calls.append((low, high))
        return 0.125

    assert RetryState(RetryPolicy(), jitter=jitter).next_wait(NOT_SENT, remaining=1) == 0.125
    assert calls == [(0.0, 0.25)]


@pytest.mark.parametrize(
    "error",
    [
        MAYBE_SENT,
        TIMED_OUT,
        FAILED,
        ServerError("lowest", status_code=500),
        ServerError("highest", status_code=599),
        APIStatusError("too slow", status_code=408),
        InvalidResponseError("too slow, from a proxy", status_code=408),
    ],
    ids=str,
)
@pytest.mark.parametrize("max_sends", [1, 2, 3])
def test_sent_request_respects_max_sends(error: ZulipAuthError, max_sends: int) -> None:
    policy = RetryPolicy(max_sends=max_sends)
    assert len(upper_bounds(policy, error)) == max_sends - 1


@pytest.mark.parametrize(
    "error",
    [
        TLSError("untrusted", sent=False),
        TLSError("cut off", sent=True),
        ServerError("counted", status_code=500, attempts_remaining=4),
        REJECTED,
        BadRequestError("malformed", status_code=400),
        APIStatusError("teapot", status_code=418),
        APIStatusError("beyond", status_code=600),
        InvalidResponseError("redirect", status_code=302),
        InvalidResponseError("a 200 of another program", status_code=200),
        InvalidResponseError("a page", status_code=404),
        InvalidResponseError("client gone, from a proxy", status_code=499),
    ],
    ids=str,
)
def test_permanent_error_is_not_retried(error: ZulipAuthError) -> None:
    assert upper_bounds(RetryPolicy(), error) == []


@pytest.mark.parametrize("seconds", [0.0, 0.4, 9.99, 10.0])
def test_short_retry_after_is_waited(seconds: float) -> None:
    assert upper_bounds(RetryPolicy(), rate_limited(seconds)) == [seconds] * 4


@pytest.mark.parametrize("seconds", [None, 10.001, 1799.7959835529327])
def test_long_retry_after_raises(seconds: float | None) -> None:
    assert upper_bounds(RetryPolicy(), rate_limited(seconds)) == []


@pytest.mark.parametrize("error", [NOT_SENT, MAYBE_SENT, rate_limited(1.0)], ids=str)
@pytest.mark.parametrize("remaining", [1.0, 0.5, 0.0, -1.0])
def test_no_wait_reaches_the_deadline(error: ZulipAuthError, remaining: float) -> None:
    policy = RetryPolicy(wait_initial=1, max_rate_limit_wait=1)
    state = RetryState(policy, jitter=lambda _low, high: high)
    assert state.next_wait(error, remaining=remaining) is None


FAILURES = st.sampled_from(
    [
        (NOT_SENT, False),
        (MAYBE_SENT, True),
        (TIMED_OUT, True),
        (FAILED, True),
        (rate_limited(0.1), True),
        (rate_limited(None), True),
        (REJECTED, True),
    ]
)


@given(st.integers(1, 8), st.integers(1, 8), st.lists(FAILURES, min_size=20, max_size=20))
def test_limits_hold_for_any_failures(
    attempts: int, max_sends: int, failures: list[tuple[ZulipAuthError, bool]]
) -> None:
    state = RetryState(RetryPolicy(attempts=attempts, max_sends=max_sends))
    sends = made = 0
    for error, sent in failures:
        made += 1
        sends += sent and not isinstance(error, RateLimitedError)
        if state.next_wait(error, remaining=FOREVER) is None:
            break
    assert made <= attempts
    assert sends <= max_sends
    assert state.attempts == made
