"""The system's keyring, as another place for the key than the zuliprc."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from zulip_auth._credentials import Credentials
from zulip_auth._exceptions import InvalidInputError, ZuliprcError
from zulip_auth._redaction import Secret

_SERVICE = "zulip-auth"


def is_installed() -> bool:
    """Tell whether the extra is installed."""
    return find_spec("keyring") is not None


def store_key(credentials: Credentials) -> None:
    """Keep an account's key, in the place of its old one.

    Raises:
        InvalidInputError: The extra is not installed.
        ZuliprcError: There is no keyring, or it is locked.
    """
    key = Secret(credentials.api_key)
    _call("set_password", credentials.site, credentials.email, key)


def find_key(site: str, email: str) -> str | None:
    """Return the key of an account, or None.

    Raises:
        InvalidInputError: The extra is not installed.
        ZuliprcError: There is no keyring, or it is locked.
    """
    found = _call("get_password", site, email)
    return found if isinstance(found, str) else None


def remove_key(site: str, email: str) -> None:
    """Remove the key of an account, which must be there.

    Raises:
        InvalidInputError: The extra is not installed.
        ZuliprcError: There is no keyring, or it is locked.
    """
    _call("delete_password", site, email)


def _call(name: str, site: str, email: str, *secret: Secret) -> Any:
    try:
        import keyring
    except ModuleNotFoundError:
        raise InvalidInputError(
            "The keyring needs another package: pip install 'zulip-auth[keyring]'"
        ) from None
    call: Callable[..., Any] = getattr(keyring, name)
    try:
        return call(_SERVICE, f"{email} {site}", *(each.value for each in secret))
    except Exception as error:  # noqa: BLE001 - backends raise what they like
        problem = type(error).__name__
    if problem == "NoKeyringError" and name == "get_password":
        return None  # where there is no keyring, there is no key in it
    raise ZuliprcError(f"The system's keyring cannot be used ({problem}). Is it unlocked?")
