"""Calls that must fail, and their exceptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from helpers.constants import PASSWORD, USERNAME
from helpers.secret_scanner import SecretScanner
from zulip_auth import InvalidInputError, login


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


async def login_error(exc_type: type[Any], site: str, **options: Any) -> Any:
    """Return the exception, of *exc_type* exactly, that `login()` raises."""
    with pytest.raises(exc_type) as caught:
        await login(site, USERNAME, PASSWORD, **options)
    assert type(caught.value) is exc_type
    return caught.value
