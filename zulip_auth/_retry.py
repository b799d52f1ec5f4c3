"""Decide whether and when to retry."""

from __future__ import annotations

import random
from collections.abc import Callable

from attrs import Factory, define, frozen

from ._exceptions import APIConnectionError, RateLimitedError, ServerError, ZulipAuthError
from ._validation import validate_positive_int, validate_seconds


@frozen(kw_only=True)
class RetryPolicy:
    """Configure retries.

    A server allows few failed logins for an account, 5 in 30 minutes by
    default. Therefore attempts that may have reached the server have a limit
    of their own.

    Attributes:
        attempts: Maximum number of attempts.
        max_sends: Maximum number of attempts in which the server may have
            received the password.
        wait_initial: Upper bound of the first backoff, in seconds. It doubles
            after each attempt (full jitter).
        wait_max: Upper bound of all backoffs, in seconds.
        max_rate_limit_wait: Longest `Retry-After` of a 429 response to wait
            for, in seconds. If the server requires more, the call fails
            immediately.

    Raises:
        InvalidInputError: If a value is invalid.
    """

    attempts: int = 5
    max_sends: int = 2
    wait_initial: float = 0.25
    wait_max: float = 4.0
    max_rate_limit_wait: float = 10.0

    def __attrs_post_init__(self) -> None:
        for name in ("attempts", "max_sends"):
            validate_positive_int(name, getattr(self, name))
        for name in ("wait_initial", "wait_max", "max_rate_limit_wait"):
            validate_seconds(name, getattr(self, name), allow_zero=True)


@define
class RetryState:
    """Count the attempts of one call and decide about the next.

    Attributes:
        policy: The limits.
        max_sends: The policy's, or another one for the operation.
        attempts: Number of attempts so far.
        sends: Number of attempts that may count as failed logins.
        sent: Whether any attempt may have reached the server.
        jitter: The function that draws a backoff between two bounds.
    """

    policy: RetryPolicy
    max_sends: int = Factory(lambda self: self.policy.max_sends, takes_self=True)
    attempts: int = 0
    sends: int = 0
    sent: bool = False
    jitter: Callable[[float, float], float] = random.uniform

    def next_wait(self, error: ZulipAuthError, *, remaining: float) -> float | None:
        """Record a failed attempt and return the delay before the next one, or None.

        Args:
            error: The exception of the attempt.
            remaining: Seconds until the deadline.

        Returns:
            Seconds, or None if there must not be another attempt.
        """
        self.attempts += 1
        sent = error.sent if isinstance(error, APIConnectionError) else True
        self.sent |= sent
        # A server that responds with 429 has not checked the password.
        self.sends += sent and not isinstance(error, RateLimitedError)
        if self.attempts >= self.policy.attempts:
            return None
        delay = self._backoff(error)
        return delay if delay is not None and delay < remaining else None

    def _backoff(self, error: ZulipAuthError) -> float | None:
        policy = self.policy
        if isinstance(error, RateLimitedError):
            delay = error.retry_after
            return None if delay is None or delay > policy.max_rate_limit_wait else delay
        if isinstance(error, ServerError) and error.attempts_remaining is not None:
            return None  # it used up an attempt of the account
        if not error.transient or self.sends >= self.max_sends:
            return None
        exponent = min(self.attempts - 1, 64)  # a float ends at 2**1024
        upper_bound = min(policy.wait_initial * 2.0**exponent, policy.wait_max)
        return self.jitter(0.0, upper_bound)
