"""Calls that must fail, and their exceptions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from helpers.constants import PASSWORD, USERNAME
from helpers.secret_scanner import SecretScanner
from zulip_auth import InvalidInputError, login

E = TypeVar("E", bound=BaseException)


def error_message(
    call: Callable[[], object],
    exc_type: type[BaseException] = InvalidInputError,
    *,
    secrets: tuple[str, ...] = (PASSWORD,),
) -> str:
    """Return the message of the exception that *call* raises.

    The exception must be of *exc_type* exactly and must not contain *secrets*.
    """
    with pytest.raises(exc_type) as caught:
        call()
    assert type(caught.value) is exc_type
    SecretScanner(*secrets).check_error(caught.value)
    return str(caught.value)


async def error_of(exc_type: type[E], call: Awaitable[object], *secrets: str) -> E:
    """Return the exception that *call* raises.

    It must be of *exc_type* exactly, and must contain neither *secrets* nor the password.
    """
    with pytest.raises(exc_type) as caught:
        await call
    assert type(caught.value) is exc_type
    SecretScanner(PASSWORD, *secrets).check_error(caught.value)
    return caught.value


async def login_error(exc_type: type[Any], site: str, **options: Any) -> Any:
    """Return the exception, of *exc_type* exactly, that `login()` raises."""
    return await error_of(exc_type, login(site, USERNAME, PASSWORD, **options))
