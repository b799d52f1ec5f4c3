"""Store API keys in the system keyring."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from zulip_auth._credentials import Credentials
from zulip_auth._exceptions import InvalidInputError, ZuliprcError
from zulip_auth._redaction import hide_locals

_SERVICE = "zulip-auth"


def is_installed() -> bool:
    """Return whether the extra is installed."""
    return find_spec("keyring") is not None


@hide_locals
def set_key(credentials: Credentials) -> None:
    """Store the key of an account, replacing an earlier one.

    Raises:
        InvalidInputError: If the extra is not installed.
        ZuliprcError: If there is no keyring, or it is locked.
    """
    _call("set_password", credentials.site, credentials.email, credentials.api_key)


def get_key(site: str, email: str) -> str | None:
    """Return the key of an account, or None.

    Raises:
        InvalidInputError: If the extra is not installed.
        ZuliprcError: If there is no keyring, or it is locked.
    """
    value = _call("get_password", site, email)
    return value if isinstance(value, str) else None


def delete_key(site: str, email: str) -> None:
    """Delete the key of an account, which must exist.

    Raises:
        InvalidInputError: If the extra is not installed.
        ZuliprcError: If there is no keyring, or it is locked.
    """
    _call("delete_password", site, email)


def _call(name: str, site: str, email: str, *secret: str) -> Any:
    try:
        import keyring
    except ModuleNotFoundError:
        raise InvalidInputError(
            "The keyring requires an extra: pip install 'zulip-auth[keyring]'"
        ) from None
    function: Callable[..., Any] = getattr(keyring, name)
    try:
        return function(_SERVICE, f"{email} {site}", *secret)
    except Exception as error:  # noqa: BLE001 - backends raise any exception
        error_name = type(error).__name__
    if error_name == "NoKeyringError" and name == "get_password":
        return None
    raise ZuliprcError(f"Could not access the system keyring ({error_name}). Is it unlocked?")
