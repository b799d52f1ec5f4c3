"""The commands. Each returns its result, as data for `--json` and as text."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from attrs import asdict, evolve

import zulip_auth
from zulip_auth import Credentials, InvalidInputError, KeyringStore, _credentials, _zuliprc
from zulip_auth._site import normalize_site
from zulip_auth._stores import has_keyring
from zulip_auth._validation import validate_text

from .browser import login_with_browser
from .login_methods import LoginMethod, choose_method
from .output import print_error, prose, sanitize
from .prompts import prompt, read_password
from .url_handler import forward_url, install, uninstall
from .waiting import wait

T = TypeVar("T")
Origins = dict[str, str]
Result = tuple[object, str]
_ROLES = {100: "owner", 200: "administrator", 300: "moderator", 400: "member", 600: "guest"}
_TIMEOUT = 30.0  # seconds
_LOGGING_IN = "Logging in…"
_KEYRING = "the system keyring"
_NOT_LOGGED_IN = "Not logged in. Run: zulip-auth login SITE"
_REVOKE_HINT = """\
The key is still valid. To revoke it, generate a new one in Zulip:
Personal settings > Account & privacy > API key."""


def run(options: argparse.Namespace) -> str:
    """Run a command and return the text to print.

    Raises:
        ZulipAuthError: If it fails.
    """
    data, text = COMMANDS[options.command](options)
    return json.dumps(data) if options.json else text


def _login(options: argparse.Namespace) -> Result:
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
    path = None if printed else _zuliprc.resolve_zuliprc_path(options.config)
    section = _check_account(path, site, None if options.bot else username, options)
    if path is not None:
        _zuliprc.check_replaceable(path)
    if options.keyring:
        wait(_access(KeyringStore(site, username or "any").check(), options))
    tls_files = _tls_files(section, options)
    client = _client(Credentials(site, "", "", **tls_files), options)
    method: LoginMethod = "dev" if options.dev else "password"
    if username is None or options.sso is not None:
        method = choose_method(wait(client.server_settings()), site, options.sso)
    if method != "dev":
        normalize_site(site, allow_http=options.allow_http)
    if username is None and not isinstance(method, zulip_auth.ExternalMethod):
        username = prompt("Username: ")
        _check_account(path, site, None if options.bot else username, options)
    credentials = _authenticate(client, method, username or "", options)
    if options.bot is not None:
        bot = _find_bot(client, credentials, options.bot)
        credentials = wait(client.bot_credentials(credentials, bot))
    credentials = evolve(credentials, **tls_files)
    if path is not None:
        is_email = username is None or username.lower() == credentials.email.lower()
        login_name = None if options.bot is not None or is_email else username
        _save(evolve(credentials, login_name=login_name), path, options)
        _report_variables(path)
    return _login_result(credentials, path, options)


def _authenticate(
    client: zulip_auth.AuthClient, method: LoginMethod, username: str, options: argparse.Namespace
) -> Credentials:
    if isinstance(method, zulip_auth.ExternalMethod):
        credentials = login_with_browser(client.start_sso(method))
        wait(client.verify(credentials))  # the account in a redirect is not authenticated
        return credentials
    if method == "dev":
        return wait(client.dev_login(username), _LOGGING_IN)
    password = read_password(options, username)
    if options.api_key_stdin:
        credentials = Credentials(client.site, username, password)
        return evolve(credentials, user_id=wait(client.verify(credentials)).user_id)
    try:
        return wait(client.login(username, password), _LOGGING_IN)
    except zulip_auth.PasswordAuthDisabledError as error:
        with suppress(zulip_auth.ZulipAuthError):
            if wait(client.server_settings()).external_methods:
                error.add_note(f"Run: zulip-auth login {client.site} --sso")
        raise


def _check_account(
    path: Path | None, site: str, email: str | None, options: argparse.Namespace
) -> _zuliprc.ZuliprcSection:
    """Return the section of the zuliprc. Raise if it is of a different account."""
    if path is None or options.overwrite:
        return _zuliprc.ZuliprcSection()
    section = _zuliprc.read_zuliprc(path, missing_ok=True)
    # Only the server knows the email of a bot, or of a username that is not one.
    is_email = email is not None and "@" in email
    account = section if is_email else _zuliprc.ZuliprcSection(section, email=None)
    if not _credentials.matches_account(site, email or "", account):
        raise zulip_auth.ZuliprcError(
            f"{path} contains a different account. Use --overwrite to replace it, "
            "--config to use another file, or --no-save."
        )
    return section


def _save(credentials: Credentials, path: Path, options: argparse.Namespace) -> None:
    try:
        _check_account(path, credentials.site, credentials.email, options)
        if options.keyring:  # until it has the new key, the file has the old one
            store = KeyringStore(credentials.site, credentials.email)
            wait(_access(store.save(credentials), options))
        _credentials.save_credentials(
            credentials, path, overwrite=options.overwrite, include_key=not options.keyring
        )
    except zulip_auth.CredentialStoreError as error:
        raise type(error)(
            f"Logged in as {credentials.email}, but could not save the API key: {error} "
            "To print it, log in with --no-save --show-key."
        ) from None


def _login_result(
    credentials: Credentials, path: Path | None, options: argparse.Namespace
) -> Result:
    fields = {name: getattr(credentials, name) for name in ("site", "email", "user_id")}
    data = {**fields, "config": path and str(path)}
    if options.show_key or options.config == "-":
        data["api_key"] = credentials.api_key
    if options.config == "-":
        return data, _credentials.render_credentials(credentials)
    suffix = "" if credentials.user_id is None else f" (user {credentials.user_id})"
    lines = [f"Logged in to {credentials.site} as {sanitize(credentials.email)}{suffix}."]
    if path is not None:
        place = f"{_KEYRING} (account details in {path})" if options.keyring else path
        lines.append(f"API key saved to {place}.")
    if options.show_key:
        lines.append(f"API key: {credentials.api_key}")
    elif path is None:
        lines.append("API key: ******** (use --show-key to show it)")
    return data, prose("\n".join(lines))


def _whoami(options: argparse.Namespace) -> Result:
    credentials, origins = _load(options)
    owner = wait(_client(credentials, options).verify(credentials))
    role = "bot" if owner.is_bot else _ROLES.get(owner.role, f"role {owner.role}")
    name = sanitize(f"{owner.full_name} <{owner.email}>")
    origins = {name: origins[name] for name in ("email", "key", "site")}
    text = (
        f"{name} (user {owner.user_id}, {role}) at {credentials.site}.\n"
        f"The API key is valid. From {', '.join(dict.fromkeys(origins.values()))}."
    )
    return {"site": credentials.site, **asdict(owner), "origins": origins}, prose(text)


def _bots(options: argparse.Namespace) -> Result:
    credentials, _ = _load(options)
    bots = wait(_client(credentials, options).bots(credentials, keys=False))
    data = [{"username": bot.username, "full_name": bot.full_name} for bot in bots]
    lines = [sanitize(f"{bot.username}  {bot.full_name}") for bot in bots]
    return data, prose("\n".join(lines) or "No active bots.")


def _find_bot(client: zulip_auth.AuthClient, owner: Credentials, name: str) -> zulip_auth.Bot:
    bots = wait(client.bots(owner, keys=False))
    found = [bot for bot in bots if name in (bot.username, bot.full_name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(bot.username for bot in found or bots)
    reason = "Several bots have that name" if found else "No bot of the account has that name"
    raise InvalidInputError(f"{reason}. Available: {names or 'none'}.")


def _api_key(options: argparse.Namespace) -> Result:
    credentials, _ = _load(options)
    data = {name: getattr(credentials, name) for name in ("site", "email", "api_key")}
    return data, credentials.api_key


def _rotate(options: argparse.Namespace) -> Result:
    """Replace the key of the account where it is stored, or of a bot, saved on demand."""
    if options.bot is not None and options.save is None and not options.show_key:
        raise InvalidInputError("With --bot, pass --save PATH or --show-key.")
    if options.save is not None and options.bot is None:
        raise InvalidInputError("--save requires --bot: the account's key is saved where it was.")
    credentials, origins = _load(options, stored=options.bot is None)
    client, bot = _client(credentials, options), None
    path: Path | None = _zuliprc.resolve_zuliprc_path(options.config)
    if options.bot is not None:
        bot = _find_bot(client, credentials, options.bot)
        path = options.save and _zuliprc.resolve_zuliprc_path(options.save)
        stored = _zuliprc.read_zuliprc(path, missing_ok=True) if path else _zuliprc.ZuliprcSection()
        if not _credentials.matches_account(credentials.site, bot.username, stored):
            raise zulip_auth.ZuliprcError(f"{path} contains a different account.")
    if path is None:
        new, place = wait(client.regenerate_api_key(credentials, bot=bot)), None
    else:
        file = zulip_auth.ZuliprcStore(path, allow_http=True)
        in_keyring = bot is None and origins["key"] == _KEYRING
        store = KeyringStore(credentials.site, credentials.email) if in_keyring else file
        place = _KEYRING if in_keyring else str(path)

        async def replace() -> Credentials:
            async with file.lock(_timeout(options)):
                await _access(store.check(), options)
                new = await client.regenerate_api_key(credentials, bot=bot)
                try:
                    await _access(store.save(new), options)
                except zulip_auth.CredentialStoreError as error:
                    raise type(error)(
                        f"The key was replaced, but could not be saved: {error} Log in to get the "
                        "new one."
                    ) from None
                return new

        new = wait(replace())
        _report_variables(path)
    data = {"site": new.site, "email": new.email, "saved_to": place}
    saved = f", saved to {place}" if place else ""
    text = f"{sanitize(new.email)} has a new API key{saved}. The old one is revoked."
    if options.show_key:
        data["api_key"] = new.api_key
        text += f"\nAPI key: {new.api_key}"
    return data, prose(text)


def _logout(options: argparse.Namespace) -> Result:
    path = _zuliprc.resolve_zuliprc_path(options.config)
    section = _zuliprc.read_zuliprc(path, missing_ok=True)
    if options.revoke:
        credentials, _ = _load(options, stored=True)
        with suppress(zulip_auth.InvalidApiKeyError):  # it is revoked already
            wait(_client(credentials, options).regenerate_api_key(credentials))
    places = [str(path)] if section.get("key") is not None else []
    names = tuple(_credentials.STORED_OPTIONS)
    failure = None
    email, site = section.get("email"), section.get("site")
    if email and site and has_keyring():  # an earlier login may have left a key there
        try:
            if wait(_access(KeyringStore(site, email).delete(), options)):
                places.append(_KEYRING)
        except zulip_auth.KeyringError as error:
            names, failure = ("key",), error  # the file goes on naming the account
    if any(section.get(name) is not None for name in names):
        removed = _zuliprc.ZuliprcSection(dict.fromkeys(names))
        _zuliprc.update_zuliprc(path, lambda _section: removed)
    _report_variables(path)
    deleted = f"Deleted the API key from {' and '.join(places)}."
    if failure is not None:
        raise zulip_auth.KeyringError(f"{deleted} {failure}" if places else str(failure))
    if not places:
        raise zulip_auth.NotLoggedInError(_NOT_LOGGED_IN)
    hint = "The key is revoked." if options.revoke else _REVOKE_HINT
    return {"deleted_from": places, "revoked": options.revoke}, prose(f"{deleted}\n{hint}")


def _sso_handler(options: argparse.Namespace) -> Result:
    if options.install or options.uninstall:
        message = install() if options.install else uninstall()
    elif options.url is None:
        raise InvalidInputError("Pass --install or --uninstall (URL is passed by the desktop).")
    else:
        message = forward_url(options.url)
    return {"message": message}, prose(message)


def _load(options: argparse.Namespace, *, stored: bool = False) -> tuple[Credentials, Origins]:
    """Return the credentials, and the origin of each value.

    Those of the environment count, unless only *stored* ones do.
    """
    path = _zuliprc.resolve_zuliprc_path(options.config)
    # AuthClient checks whether plain http is allowed.
    if not stored and _set_variables():
        arguments = {"cert_bundle": options.cert_bundle}
        return _credentials.load_with_origins(Credentials, arguments, path=path, allow_http=True)
    section, source = _zuliprc.read_zuliprc(path, missing_ok=True), f"section [api] of {path}"
    origins: Origins = dict.fromkeys(("email", "key", "site"), source)
    if section.get("key") is None and not section.get("passcmd"):
        email, site = section.get("email"), section.get("site")
        # The key in the keyring is for the account in the file.
        store = KeyringStore(site, email) if email and site else None
        found = wait(_access(store.load(), options)) if store is not None else None
        if found is None:
            raise zulip_auth.NotLoggedInError(_NOT_LOGGED_IN)
        section["key"], origins["key"] = found.api_key, _KEYRING
    section |= _tls_files(section, options)
    credentials = _credentials.credentials_from_section(
        Credentials, section, source, allow_http=True
    )
    return credentials, origins


def _tls_files(section: _zuliprc.ZuliprcSection, options: argparse.Namespace) -> dict[str, Any]:
    """Return absolute paths of the options, else of the environment, else of the zuliprc."""
    files = {}
    for name in ("cert_bundle", "client_cert", "client_cert_key"):
        variable = os.environ.get(_credentials.ENV_VARS[name])
        path = getattr(options, name, None) or variable or section.get(name)
        try:
            files[name] = path and os.path.abspath(path)  # noqa: PTH100
        except FileNotFoundError:
            raise InvalidInputError("The working directory does not exist.") from None
    return files


def _set_variables() -> list[str]:
    return [name for name in _credentials.ACCOUNT_VARIABLES if os.environ.get(name)]


def _report_variables(path: Path) -> None:
    """Say which environment variables precede what is stored."""
    if variables := _set_variables():
        verb = "precedes" if len(variables) == 1 else "precede"
        print_error(f"{' and '.join(variables)} {verb} {path}, for programs and for whoami.")


def _client(account: Credentials, options: argparse.Namespace) -> zulip_auth.AuthClient:
    return zulip_auth.AuthClient(
        account.site,
        timeout=_timeout(options),
        ssl_context=account.ssl_context(),
        user_agent="zulip-auth-cli",
        allow_http=options.allow_http,
    )


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


COMMANDS = {
    "login": _login,
    "whoami": _whoami,
    "bots": _bots,
    "api-key": _api_key,
    "rotate": _rotate,
    "logout": _logout,
    "sso-handler": _sso_handler,
}
