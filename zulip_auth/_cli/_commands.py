"""What each command does. It returns what is to be printed."""

from __future__ import annotations

import argparse
import asyncio
import json
import warnings
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from zulip_auth._client import AuthClient
from zulip_auth._credentials import Credentials, credentials_text, is_account
from zulip_auth._errors import InvalidInputError, ZuliprcError
from zulip_auth._inputs import checked_text
from zulip_auth._zuliprc import Values, read_zuliprc, write_zuliprc, zuliprc_path

from . import _keyring
from ._parser import make_parser
from ._passwords import read_password

Result = TypeVar("Result")

_ROLES = {100: "owner", 200: "administrator", 300: "moderator", 400: "member", 600: "guest"}
_REVOKE = (
    "The server still takes it. To revoke it, make a new one: in the Zulip app, "
    "Personal settings, Account & privacy, API key, Generate new API key."
)


def run(options: argparse.Namespace) -> str:
    """Do what was asked for, and return what to print.

    Raises:
        ZulipAuthError: What went wrong.
    """
    return COMMANDS[options.command](options)


def _wait_for(coroutine: Coroutine[Any, Any, Result]) -> Result:
    # By itself: CPython 3.11 traces a function no further once it has called this.
    return asyncio.run(coroutine)


def _client(site: str, stored: Credentials | None = None) -> AuthClient:
    context = None if stored is None else stored.ssl_context()
    return AuthClient(site, ssl_context=context, user_agent="zulip-auth-cli")


def _login(options: argparse.Namespace) -> str:
    client = _client(options.site)
    username = checked_text("username", options.username)
    path = None if options.no_save or options.config == "-" else zuliprc_path(options.config)
    if path is not None and not options.overwrite:
        _check_is_free(path, client.site, username)
    if options.dev:
        credentials = _wait_for(client.dev_login(username))
    else:
        credentials = _wait_for(client.login(username, read_password(options)))
    if options.config == "-":
        return credentials_text(credentials)
    if path is not None:
        _keep(credentials, path, options)
    return _describe_login(credentials, path, options)


def _check_is_free(path: Path, site: str, username: str) -> None:
    """Refuse, before anything is sent, what could not be kept."""
    if not path.exists():
        return
    held = read_zuliprc(path)
    if "@" not in username:  # only the server knows whose name it is
        held = Values(held, email=None)
    if not is_account(site, username, held):
        raise ZuliprcError(
            f"{path} holds another account. Use --overwrite to replace it, "
            "--config for another file, or --no-save."
        )


def _keep(credentials: Credentials, path: Path, options: argparse.Namespace) -> None:
    if options.keyring:
        _keyring.store_key(credentials)
    credentials.save(path, overwrite=options.overwrite)
    if options.keyring:
        write_zuliprc(path, lambda _held: Values(key=None))


def _describe_login(
    credentials: Credentials, path: Path | None, options: argparse.Namespace
) -> str:
    key = credentials.api_key if options.show_key else None
    if options.json:
        told = {
            "site": credentials.site,
            "email": credentials.email,
            "user_id": credentials.user_id,
            "config": None if path is None else str(path),
        }
        return json.dumps(told if key is None else {**told, "api_key": key})
    number = "" if credentials.user_id is None else f" (user {credentials.user_id})"
    lines = [f"Logged in to {credentials.site} as {credentials.email}{number}."]
    if path is not None:
        place = f"the system's keyring, the account in {path}" if options.keyring else path
        lines.append(f"The API key is kept in {place}.")
    if key is not None:
        lines.append(f"API key: {key}")
    elif path is None:
        lines.append("API key: ******** (--show-key shows it)")
    return "\n".join(lines)


def _whoami(options: argparse.Namespace) -> str:
    credentials = _stored(options)
    owner = _wait_for(_client(credentials.site, credentials).verify(credentials))
    if options.json:
        return json.dumps(
            {
                "site": credentials.site,
                "email": owner.email,
                "user_id": owner.user_id,
                "full_name": owner.full_name,
                "role": owner.role,
            }
        )
    role = _ROLES.get(owner.role, f"role {owner.role}")
    return (
        f"{owner.full_name} <{owner.email}> (user {owner.user_id}, {role}) at {credentials.site}.\n"
        "The API key is good."
    )


def _stored(options: argparse.Namespace) -> Credentials:
    """Return the credentials of the environment, the zuliprc and the keyring."""
    path = zuliprc_path(options.config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which would come again with what follows
        held = read_zuliprc(path) if path.exists() else Values()
    in_keyring = _in_keyring(held)
    return Credentials.from_env(api_key=in_keyring, path=path)


def _in_keyring(held: Values) -> str | None:
    site, email = held.get("site"), held.get("email")
    if held.get("key") is not None or site is None or email is None:
        return None
    return _keyring.find_key(site, email)


def _logout(options: argparse.Namespace) -> str:
    path = zuliprc_path(options.config)
    held = read_zuliprc(path)
    if held.get("key") is not None:
        write_zuliprc(path, lambda _held: Values(key=None))
        return f"Removed the API key from {path}.\n{_REVOKE}"
    if _in_keyring(held) is not None:
        _keyring.remove_key(held["site"] or "", held["email"] or "")
        return f"Removed the API key from the system's keyring.\n{_REVOKE}"
    return f"There is no API key in {path}."


def _completion(options: argparse.Namespace) -> str:
    try:
        import shtab
    except ModuleNotFoundError:
        raise InvalidInputError(
            "Completion needs another package: pip install 'zulip-auth[completion]'"
        ) from None
    script: str = shtab.complete(make_parser(), shell=options.shell)
    return script


COMMANDS = {"login": _login, "whoami": _whoami, "logout": _logout, "completion": _completion}
