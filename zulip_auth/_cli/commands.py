"""The commands. Each returns the text to print."""

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
from .browser import login_with_browser
from .login_methods import LoginMethod, choose_method, prompt
from .output import sanitize
from .parser import build_parser
from .prompts import read_password
from .url_handler import forward_url, install, uninstall

_ROLES = {100: "owner", 200: "administrator", 300: "moderator", 400: "member", 600: "guest"}
_REVOKE_HINT = (
    "The key is still valid. To revoke it, generate a new one in Zulip: "
    "Personal settings > Account & privacy > API key."
)


def run(options: argparse.Namespace) -> str:
    """Run a command and return the text to print.

    Raises:
        ZulipAuthError: If it fails.
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
        raise InvalidInputError("USERNAME is required with this option.")
    if options.config == "-" and options.keyring:
        raise InvalidInputError("--keyring cannot be combined with --config -.")
    if path is not None and not options.overwrite:
        _check_not_other_account(path, client.site, options.username)
    # One line, since coverage on CPython 3.11 stops tracing a function after asyncio.run().
    return _store(_do_login(client, options), path, options)


def _do_login(client: AuthClient, options: argparse.Namespace) -> Credentials:
    if options.username is not None and options.sso is None:
        return _login_with(LoginMethod("dev" if options.dev else "password"), client, options)
    return _login_with(_choose_method(client, options), client, options)


def _choose_method(client: AuthClient, options: argparse.Namespace) -> LoginMethod:
    return choose_method(asyncio.run(client.server_settings()), client.site, options)


def _login_with(
    login_method: LoginMethod, client: AuthClient, options: argparse.Namespace
) -> Credentials:
    if login_method.method is not None:
        return asyncio.run(login_with_browser(client, login_method.method))
    username = options.username or prompt("Username: ")
    if login_method.kind == "dev":
        return asyncio.run(client.dev_login(username))
    return asyncio.run(client.login(username, read_password(options, username)))


def _check_not_other_account(path: Path, site: str, username: str | None) -> None:
    """Raise before any request if the credentials could not be saved."""
    reason = why_not_replaceable(path)
    if reason is not None:
        raise ZuliprcError(f"{path} {reason}")
    section = read_zuliprc(path, missing_ok=True)
    if (
        username is None or "@" not in username
    ):  # only the server knows the email of such a username
        section = ZuliprcSection(section, email=None)
    if not matches_account(site, username or "", section):
        raise ZuliprcError(
            f"{path} contains a different account. Use --overwrite to replace it, "
            "--config to use another file, or --no-save."
        )


def _store(credentials: Credentials, path: Path | None, options: argparse.Namespace) -> str:
    if options.config == "-":
        return render_credentials(credentials)
    if path is not None and options.keyring:
        # The key is not written to the file, not even temporarily.
        save_account(credentials, path, overwrite=options.overwrite)
        keyring.set_key(credentials)
    elif path is not None:
        credentials.save(path, overwrite=options.overwrite)
    return _format_login(credentials, path, options)


def _format_login(credentials: Credentials, path: Path | None, options: argparse.Namespace) -> str:
    key = credentials.api_key if options.show_key else None
    if options.json:
        result = {
            "site": credentials.site,
            "email": credentials.email,
            "user_id": credentials.user_id,
            "config": None if path is None else str(path),
        }
        return json.dumps(result if key is None else {**result, "api_key": key})
    user_id_suffix = "" if credentials.user_id is None else f" (user {credentials.user_id})"
    lines = [f"Logged in to {credentials.site} as {sanitize(credentials.email)}{user_id_suffix}."]
    if path is not None:
        keyring_text = f"the system keyring (account details in {path})"
        lines.append(f"API key saved to {keyring_text if options.keyring else path}.")
    if key is not None:
        lines.append(f"API key: {key}")
    elif path is None:
        lines.append("API key: ******** (use --show-key to show it)")
    return "\n".join(lines)


def _whoami(options: argparse.Namespace) -> str:
    credentials = _load_credentials(options)
    return _format_user(credentials.site, _verify(credentials), options)


def _verify(credentials: Credentials) -> Owner:
    client = _client(credentials.site, credentials)
    return asyncio.run(client.verify(credentials))


def _format_user(site: str, user: Owner, options: argparse.Namespace) -> str:
    if options.json:
        return json.dumps({"site": site, **asdict(user)})
    role = _ROLES.get(user.role, f"role {user.role}")
    name = sanitize(f"{user.full_name} <{user.email}>")
    return f"{name} (user {user.user_id}, {role}) at {site}.\nThe API key is valid."


def _load_credentials(options: argparse.Namespace) -> Credentials:
    """Return the credentials of the environment, the zuliprc and the keyring."""
    path = resolve_zuliprc_path(options.config)
    # The key in the keyring belongs to the account in the file only.
    from_env = any(os.environ.get(f"ZULIP_{name}") for name in ("EMAIL", "API_KEY", "SITE"))
    key = None if from_env else _key_from_keyring(_read_section(path))
    return Credentials.from_env(api_key=key, path=path)


def _read_section(path: Path) -> ZuliprcSection:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the next read repeats it
        return read_zuliprc(path, missing_ok=True)


def _key_from_keyring(section: ZuliprcSection) -> str | None:
    site, email = section.get("site"), section.get("email")
    if section.get("key") is not None or site is None or email is None:
        return None
    return keyring.get_key(site, email)


def _logout(options: argparse.Namespace) -> str:
    path = resolve_zuliprc_path(options.config)
    section = read_zuliprc(path)
    removed_from = []
    if section.get("key") is not None:
        update_zuliprc(path, lambda _section: ZuliprcSection(key=None))
        removed_from.append(str(path))
    # An earlier login may have saved one there.
    if keyring.is_installed() and _key_from_keyring(ZuliprcSection(section, key=None)) is not None:
        keyring.delete_key(section["site"] or "", section["email"] or "")
        removed_from.append("the system keyring")
    if not removed_from:
        return f"No API key in {path}."
    return f"Removed the API key from {' and '.join(removed_from)}.\n{_REVOKE_HINT}"


def _completion(options: argparse.Namespace) -> str:
    try:
        import shtab
    except ModuleNotFoundError:
        raise InvalidInputError(
            "Completion requires an extra: pip install 'zulip-auth[completion]'"
        ) from None
    script: str = shtab.complete(build_parser(), shell=options.shell)
    return script


def _sso_handler(options: argparse.Namespace) -> str:
    if options.install:
        return install()
    if options.uninstall:
        return uninstall()
    if options.url is None:
        raise InvalidInputError("Pass --install or --uninstall (URL is passed by the desktop).")
    return forward_url(options.url)


COMMANDS = {
    "login": _login,
    "whoami": _whoami,
    "logout": _logout,
    "sso-handler": _sso_handler,
    "completion": _completion,
}
