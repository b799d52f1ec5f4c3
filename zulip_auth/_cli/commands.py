"""What each command does. It returns what is to be printed."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import warnings
from pathlib import Path

from attrs import asdict

from zulip_auth._client import AuthClient
from zulip_auth._credentials import (
    Credentials,
    matches_account,
    render_credentials,
    save_account,
)
from zulip_auth._exceptions import InvalidInputError, ZuliprcError
from zulip_auth._models import Owner
from zulip_auth._validation import validate_text
from zulip_auth._zuliprc import (
    ZuliprcSection,
    read_zuliprc,
    resolve_zuliprc_path,
    update_zuliprc,
    why_not_replaceable,
)

from . import keyring
from .browser import log_in_through_browser
from .login_methods import Way, ask, choose_way
from .output import visible
from .parser import make_parser
from .prompts import read_password
from .url_handler import hand_over, install, uninstall

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


def _client(site: str, stored: Credentials | None = None) -> AuthClient:
    context = None if stored is None else stored.ssl_context()
    return AuthClient(site, ssl_context=context, user_agent="zulip-auth-cli")


def _login(options: argparse.Namespace) -> str:
    client = _client(options.site)
    path = (
        None if options.no_save or options.config == "-" else resolve_zuliprc_path(options.config)
    )
    if options.username is not None:
        validate_text("username", options.username)
    elif options.password_stdin or options.password_command is not None or options.dev:
        raise InvalidInputError("Whose password? Give a USERNAME.")
    if options.config == "-" and options.keyring:
        raise InvalidInputError("--keyring keeps the key, and --config - prints it. Choose one.")
    if path is not None and not options.overwrite:
        _check_is_free(path, client.site, options.username)
    # CPython 3.11 traces a function no further once it has waited: hence one line.
    return _keep(_log_in(client, options), path, options)


def _log_in(client: AuthClient, options: argparse.Namespace) -> Credentials:
    if options.username is not None and options.sso is None:
        return _log_in_by(Way("dev" if options.dev else "password"), client, options)
    return _log_in_by(_way(client, options), client, options)


def _way(client: AuthClient, options: argparse.Namespace) -> Way:
    return choose_way(asyncio.run(client.server_settings()), client.site, options)


def _log_in_by(way: Way, client: AuthClient, options: argparse.Namespace) -> Credentials:
    if way.method is not None:
        return asyncio.run(log_in_through_browser(client, way.method))
    username = options.username or ask("Username: ")
    if way.kind == "dev":
        return asyncio.run(client.dev_login(username))
    return asyncio.run(client.login(username, read_password(options, username)))


def _check_is_free(path: Path, site: str, username: str | None) -> None:
    """Refuse, before anything is sent, what could not be kept."""
    problem = why_not_replaceable(path)
    if problem is not None:
        raise ZuliprcError(f"{path} {problem}")
    held = read_zuliprc(path, missing_ok=True)
    if username is None or "@" not in username:  # only the server knows whose name it is
        held = ZuliprcSection(held, email=None)
    if not matches_account(site, username or "", held):
        raise ZuliprcError(
            f"{path} holds another account. Use --overwrite to replace it, "
            "--config for another file, or --no-save."
        )


def _keep(credentials: Credentials, path: Path | None, options: argparse.Namespace) -> str:
    if options.config == "-":
        return render_credentials(credentials)
    if path is not None and options.keyring:
        # The key itself is never in the file, not for a moment.
        save_account(credentials, path, overwrite=options.overwrite)
        keyring.store_key(credentials)
    elif path is not None:
        credentials.save(path, overwrite=options.overwrite)
    return _describe_login(credentials, path, options)


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
    lines = [f"Logged in to {credentials.site} as {visible(credentials.email)}{number}."]
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
    return _describe_owner(credentials.site, _owner(credentials), options)


def _owner(credentials: Credentials) -> Owner:
    client = _client(credentials.site, credentials)
    return asyncio.run(client.verify(credentials))


def _describe_owner(site: str, owner: Owner, options: argparse.Namespace) -> str:
    if options.json:
        return json.dumps({"site": site, **asdict(owner)})
    role = _ROLES.get(owner.role, f"role {owner.role}")
    who = visible(f"{owner.full_name} <{owner.email}>")
    return f"{who} (user {owner.user_id}, {role}) at {site}.\nThe API key is good."


def _stored(options: argparse.Namespace) -> Credentials:
    """Return the credentials of the environment, the zuliprc and the keyring."""
    path = resolve_zuliprc_path(options.config)
    # A key from the keyring goes with the account in the file, and with no other.
    named = any(os.environ.get(f"ZULIP_{name}") for name in ("EMAIL", "API_KEY", "SITE"))
    key = None if named else _in_keyring(_held(path))
    return Credentials.from_env(api_key=key, path=path)


def _held(path: Path) -> ZuliprcSection:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which would come again with what follows
        return read_zuliprc(path, missing_ok=True)


def _in_keyring(held: ZuliprcSection) -> str | None:
    site, email = held.get("site"), held.get("email")
    if held.get("key") is not None or site is None or email is None:
        return None
    return keyring.find_key(site, email)


def _logout(options: argparse.Namespace) -> str:
    path = resolve_zuliprc_path(options.config)
    held = read_zuliprc(path)
    places = []
    if held.get("key") is not None:
        update_zuliprc(path, lambda _held: ZuliprcSection(key=None))
        places.append(str(path))
    # An earlier login may have left one there, too.
    if keyring.is_installed() and _in_keyring(ZuliprcSection(held, key=None)) is not None:
        keyring.remove_key(held["site"] or "", held["email"] or "")
        places.append("the system's keyring")
    if not places:
        return f"There is no API key in {path}."
    return f"Removed the API key from {' and '.join(places)}.\n{_REVOKE}"


def _completion(options: argparse.Namespace) -> str:
    try:
        import shtab
    except ModuleNotFoundError:
        raise InvalidInputError(
            "Completion needs another package: pip install 'zulip-auth[completion]'"
        ) from None
    script: str = shtab.complete(make_parser(), shell=options.shell)
    return script


def _sso_handler(options: argparse.Namespace) -> str:
    if options.install:
        return install()
    if options.uninstall:
        return uninstall()
    if options.url is None:
        raise InvalidInputError("Give --install or --uninstall. (The desktop gives a URL.)")
    return hand_over(options.url)


COMMANDS = {
    "login": _login,
    "whoami": _whoami,
    "logout": _logout,
    "sso-handler": _sso_handler,
    "completion": _completion,
}
