"""The commands. Each returns what to print."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from attrs import asdict, evolve, frozen

import zulip_auth
from zulip_auth import (
    AuthClient,
    Credentials,
    InvalidInputError,
    KeyringStore,
    ZuliprcStore,
    _credentials,
    _zuliprc,
)
from zulip_auth._site import normalize_site
from zulip_auth._stores import has_keyring
from zulip_auth._validation import validate_text
from zulip_auth._zuliprc import ZuliprcSection, read_zuliprc, resolve_zuliprc_path

from .browser import login_with_browser
from .login_methods import LoginMethod, choose_method
from .output import is_terminal, print_error, sanitize, wrap
from .progress import Progress
from .prompts import prompt, read_password
from .url_handler import forward_url, install, uninstall

T = TypeVar("T")
_ROLES = {100: "owner", 200: "administrator", 300: "moderator", 400: "member", 600: "guest"}
_TIMEOUT = 30.0  # seconds
_KEYRING = "the system keyring"
_NOT_LOGGED_IN = "Not logged in. Run: zulip-auth login SITE"
_REVOKE_HINT = """\
The key is still valid. To revoke it, generate a new one in Zulip:
Personal settings > Account & privacy > API key."""


@frozen
class Result:
    """The output of a command: *data* with `--json`, else *text*."""

    data: object
    text: str
    is_prose: bool = True


def run(options: argparse.Namespace) -> str:
    """Run a command and return the text to print.

    Raises:
        ZulipAuthError: If it fails.
    """
    options.progress = Progress("Logging in…" if options.command == "login" else "Waiting…")
    with options.progress.log():
        result = asyncio.run(COMMANDS[options.command](options))
    if options.json:
        return json.dumps(result.data)
    # What is copied or piped must not have other line breaks.
    return wrap(result.text) if result.is_prose and is_terminal(sys.stdout) else result.text


class _Client(AuthClient):
    """An AuthClient that shows when a request is slow."""

    progress: Progress

    async def _request(self, *args: Any, **kwargs: Any) -> Any:
        with self.progress.request():
            return await super()._request(*args, **kwargs)


def _client(account: Credentials, options: argparse.Namespace) -> AuthClient:
    client = _Client(
        account.site,
        timeout=_timeout(options),
        ssl_context=account.ssl_context(),
        user_agent="zulip-auth-cli",
        allow_http=options.allow_http,
    )
    client.progress = options.progress
    return client


def _timeout(options: argparse.Namespace) -> float:
    return _TIMEOUT if getattr(options, "timeout", None) is None else float(options.timeout)


async def _access(keyring: Awaitable[T], options: argparse.Namespace) -> T:
    """Wait for the keyring, which may wait for an invisible prompt."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_timeout(options)):
            return await keyring
    raise zulip_auth.KeyringError(
        f"The system keyring did not respond in {_timeout(options):g} s. Unlock it, or save the "
        "key in a zuliprc."
    )


def _report_variables(path: Path | None) -> None:
    """Say which environment variables precede what is stored."""
    variables = [name for name in _credentials.ACCOUNT_VARIABLES if os.environ.get(name)]
    if variables and path is not None:
        verb = "precedes" if len(variables) == 1 else "precede"
        print_error(f"{' and '.join(variables)} {verb} {path}, for programs and for whoami.")


async def _login(options: argparse.Namespace) -> Result:
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
        await _access(KeyringStore(site, username or "any").check(), options)
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
        await _save(evolve(credentials, login_name=login_name), path, options)
        _report_variables(path)
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


async def _save(credentials: Credentials, path: Path, options: argparse.Namespace) -> None:
    try:
        _check_account(path, credentials.site, credentials.email, options)
        if options.keyring:  # until it has the new key, the file has the old one
            store = KeyringStore(credentials.site, credentials.email)
            await _access(store.save(credentials), options)
        _credentials.save_credentials(
            credentials, path, overwrite=options.overwrite, include_key=not options.keyring
        )
    except zulip_auth.CredentialStoreError as error:
        raise type(error)(
            f"Logged in as {credentials.email}, but could not save the API key: {error} "
            "To print it, log in with --no-save --show-key."
        ) from None


def _format_login(
    credentials: Credentials, path: Path | None, options: argparse.Namespace
) -> Result:
    fields = {name: getattr(credentials, name) for name in ("site", "email", "user_id")}
    data = {**fields, "config": path and str(path)}
    if options.show_key or options.config == "-":
        data["api_key"] = credentials.api_key
    if options.config == "-":
        return Result(data, _credentials.render_credentials(credentials), is_prose=False)
    suffix = "" if credentials.user_id is None else f" (user {credentials.user_id})"
    lines = [f"Logged in to {credentials.site} as {sanitize(credentials.email)}{suffix}."]
    if path is not None:
        keyring_text = f"the system keyring (account details in {path})"
        lines.append(f"API key saved to {keyring_text if options.keyring else path}.")
    if options.show_key:
        lines.append(f"API key: {credentials.api_key}")
    elif path is None:
        lines.append("API key: ******** (use --show-key to show it)")
    return Result(data, "\n".join(lines))


async def _whoami(options: argparse.Namespace) -> Result:
    credentials, origins = await _load_credentials(options)
    owner = await _client(credentials, options).verify(credentials)
    origins = {name: origins[name] for name in ("email", "key", "site")}
    role = "bot" if owner.is_bot else _ROLES.get(owner.role, f"role {owner.role}")
    name = sanitize(f"{owner.full_name} <{owner.email}>")
    sources = ", ".join(dict.fromkeys(origins.values()))
    return Result(
        {"site": credentials.site, **asdict(owner), "origins": origins},
        f"{name} (user {owner.user_id}, {role}) at {credentials.site}.\n"
        f"The API key is valid. From {sources}.",
    )


async def _bots(options: argparse.Namespace) -> Result:
    credentials, _ = await _load_credentials(options)
    bots = await _client(credentials, options).bots(credentials, keys=False)
    lines = [sanitize(f"{bot.username}  {bot.full_name}") for bot in bots]
    return Result(
        [{"username": bot.username, "full_name": bot.full_name} for bot in bots],
        "\n".join(lines) or "No active bots.",
    )


async def _api_key(options: argparse.Namespace) -> Result:
    credentials, _ = await _load_credentials(options)
    data = {name: getattr(credentials, name) for name in ("site", "email", "api_key")}
    return Result(data, credentials.api_key)


async def _rotate(options: argparse.Namespace) -> Result:
    path = resolve_zuliprc_path(options.config)
    if options.bot is not None:
        return await _rotate_bot(options)
    credentials, origins = await _load_credentials(options, stored=True)
    client = _client(credentials, options)
    store: ZuliprcStore | KeyringStore = ZuliprcStore(path, allow_http=True)
    if origins["key"] == _KEYRING:
        store = KeyringStore(credentials.site, credentials.email)
    await _access(store.check(), options)
    async with ZuliprcStore(path).lock(_timeout(options)):
        credentials = await client.regenerate_api_key(credentials)
        await _keep(store, credentials, options)
    _report_variables(path)
    place = _KEYRING if isinstance(store, KeyringStore) else str(path)
    text = f"New API key saved to {place}. The old one is revoked."
    return _format_rotated(credentials, place, text, options)


def _format_rotated(
    credentials: Credentials, place: str | None, text: str, options: argparse.Namespace
) -> Result:
    data = {"site": credentials.site, "email": credentials.email, "saved_to": place}
    if options.show_key:
        data["api_key"] = credentials.api_key
        text += f"\nAPI key: {credentials.api_key}"
    return Result(data, text)


async def _rotate_bot(options: argparse.Namespace) -> Result:
    if options.save is None and not options.show_key:
        raise InvalidInputError("With --bot, pass --save PATH or --show-key.")
    store = None if options.save is None else ZuliprcStore(options.save, allow_http=True)
    if store is not None:
        await store.check()
    credentials, _ = await _load_credentials(options)
    client = _client(credentials, options)
    bot = _find_bot(await client.bots(credentials), options.bot)
    new = await client.regenerate_api_key(credentials, bot=bot)
    if store is not None:
        await _keep(store, new, options)
    saved = "" if store is None else f" It is saved to {store.path}."
    text = f"{sanitize(bot.username)} has a new API key; the old one is revoked.{saved}"
    return _format_rotated(new, str(store.path) if store else None, text, options)


async def _keep(
    store: ZuliprcStore | KeyringStore, credentials: Credentials, options: argparse.Namespace
) -> None:
    try:
        await _access(store.save(credentials), options)
    except zulip_auth.CredentialStoreError as error:
        raise type(error)(
            f"The key was replaced, but could not be saved: {error} Log in to get the new one."
        ) from None


async def _load_credentials(
    options: argparse.Namespace, *, stored: bool = False
) -> tuple[Credentials, dict[str, str]]:
    """Return the credentials and the origin of each value.

    Those of the environment count, unless only *stored* ones do.
    """
    path = resolve_zuliprc_path(options.config)
    # AuthClient checks whether plain http is allowed.
    if not stored and any(os.environ.get(name) for name in _credentials.ACCOUNT_VARIABLES):
        arguments = {"cert_bundle": options.cert_bundle}
        return _credentials.load_with_origins(Credentials, arguments, path=path, allow_http=True)
    section, source = read_zuliprc(path, missing_ok=True), f"section [api] of {path}"
    origins: dict[str, str] = dict.fromkeys(("email", "key", "site"), source)
    email, site = section.get("email"), section.get("site")
    # The key in the keyring is for the account in the file.
    if section.get("key") is None and email and site and not section.get("passcmd"):
        found = await _access(
            KeyringStore(normalize_site(site, allow_http=True), email).load(), options
        )
        if found is not None:
            section["key"], origins["key"] = found.api_key, "the system keyring"
    if section.get("key") is None and not section.get("passcmd"):
        raise zulip_auth.NotLoggedInError(_NOT_LOGGED_IN)
    section |= _tls_files(section, options)
    credentials = _credentials.credentials_from_section(
        Credentials, section, source, allow_http=True
    )
    return credentials, origins


def _tls_files(section: ZuliprcSection, options: argparse.Namespace) -> dict[str, Any]:
    """Return absolute paths of the options, else of the environment, else of the zuliprc."""
    argument = {"cert_bundle": options.cert_bundle}
    names = ("cert_bundle", "client_cert", "client_cert_key")
    paths = {
        n: argument.get(n) or os.environ.get(_credentials.ENV_VARS[n]) or section.get(n)
        for n in names
    }
    try:
        return {name: path and os.path.abspath(path) for name, path in paths.items()}  # noqa: PTH100
    except FileNotFoundError:
        raise InvalidInputError("The working directory does not exist.") from None


async def _logout(options: argparse.Namespace) -> Result:
    path = resolve_zuliprc_path(options.config)
    section = read_zuliprc(path, missing_ok=True)
    if options.revoke:
        credentials, _ = await _load_credentials(options, stored=True)
        with suppress(zulip_auth.InvalidApiKeyError):  # it is revoked already
            await _client(credentials, options).regenerate_api_key(credentials)
    deleted, errors = [], []
    email, site = section.get("email"), section.get("site")
    try:
        # An earlier login may have left one there.
        if email and site and has_keyring():
            store = KeyringStore(site, email)
            if await _access(store.delete(), options):
                deleted.append(_KEYRING)
    except zulip_auth.KeyringError as error:
        errors.append(str(error))
    try:
        # If the keyring may still have the key, the file names its account.
        names = ("key",) if errors else _credentials.STORED_OPTIONS
        if any(section.get(name) is not None for name in names):
            removed = ZuliprcSection(dict.fromkeys(names))
            _zuliprc.update_zuliprc(path, lambda _section: removed)
            if section.get("key") is not None:
                deleted.insert(0, str(path))
    except zulip_auth.ZuliprcError as error:
        errors.append(str(error))
    _report_variables(path)
    done = [f"Deleted the API key from {' and '.join(deleted)}."] if deleted else []
    if errors:
        raise zulip_auth.CredentialStoreError(" ".join(done + errors))
    if not deleted:
        raise zulip_auth.NotLoggedInError(_NOT_LOGGED_IN)
    done.append("The key is revoked." if options.revoke else _REVOKE_HINT)
    return Result({"deleted_from": deleted, "revoked": options.revoke}, "\n".join(done))


async def _sso_handler(options: argparse.Namespace) -> Result:
    if options.install or options.uninstall:
        message = install() if options.install else uninstall()
    elif options.url is None:
        raise InvalidInputError("Pass --install or --uninstall (URL is passed by the desktop).")
    else:
        message = forward_url(options.url)
    return Result({"message": message}, message)


COMMANDS = {
    "login": _login,
    "whoami": _whoami,
    "bots": _bots,
    "api-key": _api_key,
    "rotate": _rotate,
    "logout": _logout,
    "sso-handler": _sso_handler,
}
