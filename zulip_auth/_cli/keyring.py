"""Store API keys in the system keyring."""

from __future__ import annotations

import secrets
from typing import Any

from zulip_auth._credentials import Credentials
from zulip_auth._exceptions import ConfigurationError, KeyringError
from zulip_auth._redaction import hide_locals

_SERVICE = "zulip-auth"


def check() -> None:
    """Check that the keyring stores and returns values.

    Raises:
        ConfigurationError: If the extra is not installed.
        KeyringError: If there is no keyring, or it is locked or read-only.
    """
    _set("test entry", secrets.token_hex(8))
    _call("delete_password", "test entry")


@hide_locals
def set_key(credentials: Credentials) -> None:
    """Store the key of an account, replacing an earlier one.

    Raises:
        ConfigurationError: If the extra is not installed.
        KeyringError: If the key was not stored.
    """
    _set(f"{credentials.email} {credentials.site}", credentials.api_key)


def get_key(*, email: str | None, site: str | None) -> str | None:
    """Return the key of an account; None without one, or without the extra.

    Raises:
        KeyringError: If the keyring is locked.
    """
    value = _call("get_password", f"{email} {site}")
    return value if isinstance(value, str) else None


def delete_key(*, email: str | None, site: str | None) -> bool:
    """Delete the key of an account, and return whether there was one.

    Raises:
        KeyringError: If the keyring is locked or read-only.
    """
    has_key = get_key(email=email, site=site) is not None
    if has_key:
        _call("delete_password", f"{email} {site}")
    return has_key


def _set(name: str, value: str) -> None:
    _call("set_password", name, value)
    if _call("get_password", name) != value:
        raise KeyringError("The system keyring does not return the value stored in it.")


def _call(function: str, *args: str) -> Any:
    try:
        import keyring
    except ModuleNotFoundError:
        if function == "get_password":
            return None
        raise ConfigurationError("To use the keyring: pip install 'zulip-auth[keyring]'") from None
    try:
        return getattr(keyring, function)(_SERVICE, *args)
    except Exception as error:  # noqa: BLE001 - backends raise any exception
        reason = type(error).__name__
    if reason == "NoKeyringError" and function == "get_password":
        return None
    raise KeyringError(f"Could not access the system keyring ({reason}). Is it unlocked?")
