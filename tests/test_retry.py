from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zulip_auth import (
    APIConnectionError,
    APIStatusError,
    AuthenticationFailedError,
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
REJECTED = AuthenticationFailedError("wrong", status_code=401)


def rate_limited(seconds: float | None) -> RateLimitedError:
    return RateLimitedError(f"busy for {seconds}", status_code=429, retry_after=seconds)


def upper_bounds(policy: RetryPolicy, error: ZulipAuthError) -> list[float]:
    """Return the maximum waits if each attempt raises *error*."""
    state = RetryState(policy, jitter=lambda _low, high: high)
    waits = []
    while (wait := state.next_wait(error, remaining=math.inf)) is not None:
        waits.append(wait)
    return waits


def test_backoff_doubles_up_to_wait_max() -> None:
    assert upper_bounds(RetryPolicy(), NOT_SENT) == [0.25, 0.5, 1.0, 2.0]
    waits = upper_bounds(RetryPolicy(attempts=2000), NOT_SENT)
    assert waits == [0.25, 0.5, 1.0, 2.0] + [4.0] * 1995


def test_jitter_is_between_zero_and_bound() -> None:
    state = RetryState(RetryPolicy(), jitter=lambda low, high: (low + high) / 2)
    assert state.next_wait(NOT_SENT, remaining=1) == 0.125


PERMANENT = [
    TLSError("untrusted", sent=False),
    TLSError("cut off", sent=True),
    ServerError("counted", status_code=500, attempts_remaining=4),
    REJECTED,
    APIStatusError("teapot", status_code=418),
    APIStatusError("beyond", status_code=600),
    InvalidResponseError("redirect", status_code=302),
    InvalidResponseError("a 200 of another program", status_code=200),
    rate_limited(None),
    rate_limited(10.001),
]
POSSIBLY_SENT = [
    MAYBE_SENT,
    ServerError("lowest", status_code=500),
    ServerError("highest", status_code=599),
    APIStatusError("too slow", status_code=408),
    InvalidResponseError("too slow, from a proxy", status_code=408),
]


def test_retries_by_error() -> None:
    for error in PERMANENT:
        assert upper_bounds(RetryPolicy(), error) == [], error
    for error in POSSIBLY_SENT:
        for max_sends in (1, 2, 3):
            assert len(upper_bounds(RetryPolicy(max_sends=max_sends), error)) == max_sends - 1
    for seconds in (0.0, 0.4, 10.0):
        assert upper_bounds(RetryPolicy(), rate_limited(seconds)) == [seconds] * 4


@pytest.mark.parametrize("error", [NOT_SENT, MAYBE_SENT, rate_limited(1.0)], ids=str)
@pytest.mark.parametrize("remaining", [1.0, 0.0, -1.0])
def test_no_wait_reaches_the_deadline(error: ZulipAuthError, remaining: float) -> None:
    policy = RetryPolicy(wait_initial=1, max_rate_limit_wait=1)
    state = RetryState(policy, jitter=lambda _low, high: high)
    assert state.next_wait(error, remaining=remaining) is None


FAILURES = st.sampled_from(
    [NOT_SENT, MAYBE_SENT, ServerError("x", status_code=503), rate_limited(0.1), REJECTED]
)


@given(st.integers(1, 8), st.integers(1, 8), st.lists(FAILURES, min_size=20, max_size=20))
def test_limits_hold_for_any_failures(
    attempts: int, max_sends: int, failures: list[ZulipAuthError]
) -> None:
    state = RetryState(RetryPolicy(attempts=attempts, max_sends=max_sends))
    sends = made = 0
    for error in failures:
        made += 1
        sends += error is not NOT_SENT and not isinstance(error, RateLimitedError)
        if state.next_wait(error, remaining=math.inf) is None:
            break
    assert made <= attempts
    assert sends <= max_sends
