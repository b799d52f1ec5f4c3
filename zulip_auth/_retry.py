"""When a login is tried again. Nothing here waits or sends."""

from __future__ import annotations

import random
from collections.abc import Callable

from attrs import define, field, frozen

from ._exceptions import (
    APIConnectionError,
    APIStatusError,
    InvalidResponseError,
    RateLimitedError,
    TLSError,
    ZulipAuthError,
)
from ._validation import validate_positive_int, validate_seconds

_ENOUGH_DOUBLINGS = 64  # and few enough for a float


@frozen(kw_only=True)
class RetryPolicy:
    """Says how often, and after which waits, a login is tried again.

    Each password that a server refuses uses up one of the few attempts that it
    allows (5 in 30 minutes by default), so there are two limits: one for tries
    of any kind, and a lower one for those that may have reached the server.

    Attributes:
        attempts: How many tries in all.
        max_sends: How many of them may have shown the server the password.
            One `login()` never uses up more of the account's attempts.
        wait_initial: The longest first wait, in seconds. Waits are drawn at
            random between nothing and a bound that doubles each time.
        wait_max: Where the doubling ends, in seconds.
        max_rate_limit_wait: The longest wait that a server may ask for with
            429, in seconds. Asked for more, a login fails at once.

    Raises:
        InvalidInputError: A value makes no sense.
    """

    attempts: int = 5
    max_sends: int = 2
    wait_initial: float = 0.25
    wait_max: float = 4.0
    max_rate_limit_wait: float = 10.0

    def __attrs_post_init__(self) -> None:
        validate_positive_int("attempts", self.attempts)
        validate_positive_int("max_sends", self.max_sends)
        validate_seconds("wait_initial", self.wait_initial, allow_zero=True)
        validate_seconds("wait_max", self.wait_max, allow_zero=True)
        validate_seconds("max_rate_limit_wait", self.max_rate_limit_wait, allow_zero=True)


@define
class RetryState:
    """Counts the tries of one login and decides about the next.

    Attributes:
        made: How many tries there have been.
        sends: How many of them may have used up one of the account's attempts.
        seen: Whether the server may have seen the password in any of them.
    """

    policy: RetryPolicy
    made: int = 0
    sends: int = 0
    seen: bool = False
    _draw: Callable[[float, float], float] = field(
        default=random.uniform, kw_only=True, alias="draw"
    )

    def next_wait(self, error: ZulipAuthError, *, sent: bool, remaining: float) -> float | None:
        """Count a try that failed, and say how long to wait before the next.

        Args:
            error: What the try ended in.
            sent: Whether that try may have shown the server the password.
            remaining: Seconds until the deadline.

        Returns:
            Seconds, or None where there must be no other try.
        """
        self.made += 1
        self.seen |= sent
        # A server that answers 429 has looked at nothing, so nothing is used up.
        self.sends += sent and not isinstance(error, RateLimitedError)
        if self.made >= self.policy.attempts:
            return None
        wait = self._wait(error)
        return wait if wait is not None and wait < remaining else None

    def _wait(self, error: ZulipAuthError) -> float | None:
        if isinstance(error, RateLimitedError):
            asked = error.retry_after
            return asked if asked is not None and asked <= self.policy.max_rate_limit_wait else None
        if not _is_passing(error) or self.sends >= self.policy.max_sends:
            return None
        bound = self.policy.wait_initial * 2.0 ** min(self.made - 1, _ENOUGH_DOUBLINGS)
        return self._draw(0.0, min(bound, self.policy.wait_max))


def _is_passing(error: ZulipAuthError) -> bool:
    """Tell whether the next try has a chance to end otherwise."""
    if isinstance(error, APIStatusError | InvalidResponseError):
        status = error.status_code or 0
        return status == 408 or 500 <= status <= 599
    return isinstance(error, APIConnectionError) and not isinstance(error, TLSError)
