"""The commands. Each returns the text to print."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import asdict, evolve

import zulip_auth
from zulip_auth import AuthClient, Credentials, InvalidInputError, _credentials, _zuliprc
from zulip_auth._site import normalize_site
from zulip_auth._validation import validate_text
from zulip_auth._zuliprc import ZuliprcSection, read_zuliprc, resolve_zuliprc_path

from . import keyring
from .browser import login_with_browser
from .login_methods import LoginMethod, choose_method
from .output import sanitize
from .prompts import prompt, read_password
from .retries import show_retries
from .url_handler import forward_url, install, uninstall

_ROLES = {100: "owner", 200: "administrator", 300: "moderator", 400: "member", 600: "guest"}
_NOT_LOGGED_IN = "Not logged in. Run: zulip-auth login SITE"
_REVOKE_HINT = """\
The key is still valid. To revoke it, generate a new one in Zulip:
Personal settings > Account & privacy > API key."""


def run(options: argparse.Namespace) -> str:
    """Run a command and return the text to print.

    Raises:
        ZulipAuthError: If it fails.
    """
    with show_retries():
        return asyncio.run(COMMANDS[options.command](options))


def _client(account: Credentials, options: argparse.Namespace) -> AuthClient:
    return AuthClient(
        account.site,
        timeout=30.0 if options.timeout is None else options.timeout,
        ssl_context=account.ssl_context(),
        user_agent="zulip-auth-cli",
        allow_http=options.allow_http,
    )


async def _login(options: argparse.Namespace) -> str:
    # All that can fail without the password is checked before it is read.
    site = normalize_site(options.site, allow_http=True)
    username: str | None = options.username
    if username is not None:
        validate_text("username", username)
    elif options.password_stdin or options.password_command or options.api_key_stdin or options.dev:
        raise InvalidInputError("USERNAME is required with this option.")
    if options.config == "-" and options.keyring:
        raise InvalidInputError("--keyring cannot be combined with --config -.")
    printed = options.no_save or options.config == "-"
    path = None if printed else resolve_zuliprc_path(options.config)
    section = _check_account(path, site, None if options.bot else username, options)
    if path is not None:
        _zuliprc.check_replaceable(path)
    if options.keyring:
        keyring.check()
    tls_files = _tls_files(section, options)
    client = _client(Credentials(site, "", "", **tls_files), options)
    method: LoginMethod = "dev" if options.dev else "password"
    if username is None or options.sso is not None:
        method = choose_method(await client.server_settings(), site, options.sso)
    if method != "dev":
        normalize_site(site, allow_http=options.allow_http)
    if username is None and not isinstance(method, zulip_auth.ExternalMethod):
        username = prompt("Username: ")
        _check_account(path, site, None if options.bot else username, options)
    credentials = await _authenticate(client, method, username or "", options)
    if options.bot is not None:
        bots = await client.bots(credentials, keys=False)
        credentials = await client.bot_credentials(credentials, _find_bot(bots, options.bot))
    credentials = evolve(credentials, **tls_files)
    if path is not None:
        is_email = username is None or username.lower() == credentials.email.lower()
        login_name = None if options.bot is not None or is_email else username
        _save(credentials, path, options, login_name)
    return _format_login(credentials, path, options)


def _check_account(
    path: Path | None, site: str, email: str | None, options: argparse.Namespace
) -> ZuliprcSection:
    """Return the section of the zuliprc. Raise if it is of a different account."""
    if path is None or options.overwrite:
        return ZuliprcSection()
    section = read_zuliprc(path, missing_ok=True)
    # Only the server knows the email of a bot, or of a username that is not one.
    is_email = email is not None and "@" in email
    account = section if is_email else ZuliprcSection(section, email=None)
    if not _credentials.matches_account(site, email or "", account):
        raise zulip_auth.ZuliprcError(
            f"{path} contains a different account. Use --overwrite to replace it, "
            "--config to use another file, or --no-save."
        )
    return section


async def _authenticate(
    client: AuthClient, method: LoginMethod, username: str, options: argparse.Namespace
) -> Credentials:
    if isinstance(method, zulip_auth.ExternalMethod):
        return await login_with_browser(client, method)
    if method == "dev":
        return await client.dev_login(username)
    if options.api_key_stdin:
        credentials = Credentials(client.site, username, read_password(options, username))
        return evolve(credentials, user_id=(await client.verify(credentials)).user_id)
    try:
        return await client.login(username, read_password(options, username))
    except zulip_auth.PasswordAuthDisabledError as error:
        with suppress(zulip_auth.ZulipAuthError):
            if (await client.server_settings()).external_methods:
                error.add_note(f"Run: zulip-auth login {client.site} --sso")
        raise


def _find_bot(bots: tuple[zulip_auth.Bot, ...], name: str) -> zulip_auth.Bot:
    found = [bot for bot in bots if name in (bot.username, bot.full_name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(bot.username for bot in found or bots)
    reason = "Several bots have that name" if found else "No bot of the account has that name"
    raise InvalidInputError(f"{reason}. Available: {names or 'none'}.")


def _save(
    credentials: Credentials, path: Path, options: argparse.Namespace, login_name: str | None
) -> None:
    try:
        _check_account(path, credentials.site, credentials.email, options)
        if options.keyring:  # until it has the new key, the file has the old one
            keyring.set_key(credentials)
        _credentials.save_credentials(
            credentials,
            path,
            overwrite=options.overwrite,
            include_key=not options.keyring,
            login_name=login_name,
        )
    except zulip_auth.CredentialStoreError as error:
        raise type(error)(
            f"Logged in as {credentials.email}, but could not save the API key: {error} "
            "To print it, log in with --no-save --show-key."
        ) from None


def _format_login(credentials: Credentials, path: Path | None, options: argparse.Namespace) -> str:
    if options.config == "-":
        return _credentials.render_credentials(credentials)
    key = {"api_key": credentials.api_key} if options.show_key else {}
    if options.json:
        fields = {name: getattr(credentials, name) for name in ("site", "email", "user_id")}
        return json.dumps({**fields, "config": path and str(path), **key})
    suffix = "" if credentials.user_id is None else f" (user {credentials.user_id})"
    lines = [f"Logged in to {credentials.site} as {sanitize(credentials.email)}{suffix}."]
    if path is not None:
        keyring_text = f"the system keyring (account details in {path})"
        lines.append(f"API key saved to {keyring_text if options.keyring else path}.")
    if options.show_key:
        lines.append(f"API key: {credentials.api_key}")
    elif path is None:
        lines.append("API key: ******** (use --show-key to show it)")
    return "\n".join(lines)


async def _whoami(options: argparse.Namespace) -> str:
    credentials = _load_credentials(options)
    owner = await _client(credentials, options).verify(credentials)
    if options.json:
        return json.dumps({"site": credentials.site, **asdict(owner)})
    role = "bot" if owner.is_bot else _ROLES.get(owner.role, f"role {owner.role}")
    name = sanitize(f"{owner.full_name} <{owner.email}>")
    return f"{name} (user {owner.user_id}, {role}) at {credentials.site}.\nThe API key is valid."


async def _bots(options: argparse.Namespace) -> str:
    credentials = _load_credentials(options)
    bots = await _client(credentials, options).bots(credentials, keys=False)
    if options.json:
        return json.dumps([{"username": b.username, "full_name": b.full_name} for b in bots])
    return "\n".join(sanitize(f"{b.username}  {b.full_name}") for b in bots) or "No active bots."


async def _api_key(options: argparse.Namespace) -> str:
    return _load_credentials(options).api_key


def _load_credentials(options: argparse.Namespace, *, stored: bool = False) -> Credentials:
    """Return the credentials of the environment, unless only *stored* ones count."""
    path = resolve_zuliprc_path(options.config)
    in_env = any(os.environ.get(f"ZULIP_{name}") for name in ("EMAIL", "API_KEY", "SITE"))
    # AuthClient checks whether plain http is allowed.
    if in_env and not stored:
        return Credentials.from_env(path=path, cert_bundle=options.cert_bundle, allow_http=True)
    section = read_zuliprc(path, missing_ok=True)
    # The key in the keyring is for the account in the file.
    account = {name: section.get(name) for name in ("email", "site")}
    section["key"] = section.get("key") or keyring.get_key(**account)
    if section["key"] is None:
        raise zulip_auth.NotLoggedInError(_NOT_LOGGED_IN)
    section |= _tls_files(section, options)
    source = f"section [api] of {path}"
    return _credentials.credentials_from_section(Credentials, section, source, allow_http=True)


def _tls_files(section: ZuliprcSection, options: argparse.Namespace) -> dict[str, Any]:
    """Return absolute paths of the options, else of the environment, else of the zuliprc."""
    argument = {"cert_bundle": options.cert_bundle}
    names = ("cert_bundle", "client_cert", "client_cert_key")
    paths = {
        n: argument.get(n) or os.environ.get(_credentials.ENV_VARS[n]) or section.get(n)
        for n in names
    }
    return {name: path and os.path.abspath(path) for name, path in paths.items()}  # noqa: PTH100


async def _logout(options: argparse.Namespace) -> str:
    path = resolve_zuliprc_path(options.config)
    section = read_zuliprc(path, missing_ok=True)
    if options.revoke:
        credentials = _load_credentials(options, stored=True)
        with suppress(zulip_auth.InvalidApiKeyError):  # it is revoked already
            await _client(credentials, options).regenerate_api_key(credentials)
    deleted, errors = [], []
    try:
        if section.get("key") is not None:
            _zuliprc.update_zuliprc(path, lambda _section: ZuliprcSection(key=None))
            deleted.append(str(path))
    except zulip_auth.ZuliprcError as error:
        errors.append(str(error))
    try:
        # An earlier login may have left one there.
        if keyring.delete_key(email=section.get("email"), site=section.get("site")):
            deleted.append("the system keyring")
    except zulip_auth.KeyringError as error:
        errors.append(str(error))
    done = [f"Deleted the API key from {' and '.join(deleted)}."] if deleted else []
    if errors:
        raise zulip_auth.CredentialStoreError(" ".join(done + errors))
    if not deleted:
        raise zulip_auth.NotLoggedInError(_NOT_LOGGED_IN)
    return "\n".join([*done, "The key is revoked." if options.revoke else _REVOKE_HINT])


async def _sso_handler(options: argparse.Namespace) -> str:
    if options.install or options.uninstall:
        return install() if options.install else uninstall()
    if options.url is None:
        raise InvalidInputError("Pass --install or --uninstall (URL is passed by the desktop).")
    return forward_url(options.url)


COMMANDS = {
    "login": _login,
    "whoami": _whoami,
    "bots": _bots,
    "api-key": _api_key,
    "logout": _logout,
    "sso-handler": _sso_handler,
}
