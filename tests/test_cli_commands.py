from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from typing import Any

import pytest
import trustme
import zulip

from helpers.cli_runner import COMMAND, CLIRunner, InMemoryKeyring, TerminalSession
from helpers.constants import PASSWORD, USERNAME
from helpers.errors import error_message
from helpers.raw_server import ScriptedServer, serve_keepalive, succeed
from zulip_auth import (
    APIConnectionError,
    ApiKeySource,
    AuthClient,
    ConfigurationError,
    Credentials,
    CredentialStoreError,
    ExternalMethod,
    InvalidApiKeyError,
    InvalidInputError,
    InvalidSiteError,
    KeyringError,
    KeyringStore,
    NotLoggedInError,
    PasswordAuthDisabledError,
    ZuliprcError,
    ZuliprcStore,
    _zuliprc,
)
from zulip_auth._cli import app, commands
from zulip_auth._cli.commands import _format_login
from zulip_auth._cli.parser import parse
from zulip_auth._retry import RetryState
from zulip_auth.testing import Account, FakeZulip
from zulip_auth.testing import ExternalMethod as FakeMethod


@pytest.fixture(autouse=True)
def at_home(home: CLIRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what runs in this process find the same home as what does not."""
    for name in list(os.environ):
        if name.startswith("ZULIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home.path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PASSWORD.encode())))


def do(*arguments: str) -> str:
    """Run a command in this process, and return what it would print."""
    return app._run(parse(arguments))


def run_error(exc_type: type[Exception], *argv: str) -> str:
    """Return the message of the error that a command fails with."""
    return error_message(lambda: do(*argv), exc_type)


def key(server: FakeZulip) -> str:
    return server.account(USERNAME).api_key


# ---- login


def test_login_saves_key(server: FakeZulip, home: CLIRunner) -> None:
    code, out, err = home.run("login", server.site, USERNAME, "--password-stdin", stdin=PASSWORD)
    assert (code, err) == (0, "")
    assert out == (
        f"Logged in to {server.site} as {USERNAME} (user 10).\nAPI key saved to {home.zuliprc}.\n"
    )
    assert Credentials.load(home.zuliprc).basic_auth == (USERNAME, key(server))
    assert home.zuliprc.stat().st_mode & 0o777 == 0o600


async def test_login_saves_ldap_name(
    home: CLIRunner,
) -> None:
    """With it, an ApiKeySource for the same name does not log in again."""
    async with ScriptedServer(succeed) as server:
        code, _, err = await asyncio.to_thread(
            partial(home.run, "login", server.site, "jdoe", "--password-stdin", stdin=PASSWORD)
        )
        assert (code, err) == (0, "")
        client = AuthClient(server.site)
        source = ApiKeySource(client, "jdoe", PASSWORD, store=ZuliprcStore(home.zuliprc))
        assert (await source.get()).email == USERNAME
        assert len(server.requests) == 1


def test_saved_file_works_with_zulip_client(server: FakeZulip, home: CLIRunner) -> None:
    do("login", server.site, USERNAME, "--password-stdin")
    profile = zulip.Client(config_file=str(home.zuliprc)).get_profile()
    assert (profile["result"], profile["delivery_email"]) == ("success", USERNAME)


def test_login_no_save(server: FakeZulip, home: CLIRunner) -> None:
    hidden = do("login", server.site, USERNAME, "--no-save", "--dev")
    assert hidden.endswith("\nAPI key: ******** (use --show-key to show it)")
    shown = do("login", server.site, USERNAME, "--no-save", "--dev", "--show-key")
    assert shown.endswith(f"\nAPI key: {key(server)}")
    assert not home.zuliprc.exists()


def test_login_config(server: FakeZulip, home: CLIRunner) -> None:
    other = home.path / "other"
    assert str(other) in do("login", server.site, USERNAME, "--dev", "--config", str(other))
    assert Credentials.load(other).email == USERNAME
    assert not home.zuliprc.exists()


def test_login_config_stdout(server: FakeZulip, home: CLIRunner) -> None:
    text = do("login", server.site, USERNAME, "--dev", "--config", "-")
    assert text.rstrip("\n") == (
        f"[api]\nemail = {USERNAME}\nkey = {key(server)}\nsite = {server.site}\nuser_id = 10"
    )
    assert not home.zuliprc.exists()


def test_login_json(server: FakeZulip, home: CLIRunner) -> None:
    output = json.loads(do("login", server.site, USERNAME, "--dev", "--json"))
    assert output == {
        "site": server.site,
        "email": USERNAME,
        "user_id": 10,
        "config": str(home.zuliprc),
    }
    output = json.loads(
        do("login", server.site, USERNAME, "--dev", "--json", "--no-save", "--show-key")
    )
    assert (output["config"], output["api_key"]) == (None, key(server))


def test_login_different_account(server: FakeZulip, home: CLIRunner) -> None:
    Credentials(server.site, "hamlet@zulip.com", "k3y").save(home.zuliprc)
    text = run_error(ZuliprcError, "login", server.site, USERNAME, "--password-stdin")
    assert text == (
        f"{home.zuliprc} contains a different account. Use --overwrite to replace it, "
        "--config to use another file, or --no-save."
    )
    assert not server.requests
    do("login", server.site, USERNAME, "--dev", "--overwrite")
    assert Credentials.load(home.zuliprc).email == USERNAME
    do("login", server.site, USERNAME.upper(), "--dev")  # the same one


def test_login_with_username_that_is_not_an_email(server: FakeZulip, home: CLIRunner) -> None:
    server.realm.email_usernames = False
    server.add_user("iago", PASSWORD)
    do("login", server.site, "iago", "--password-stdin")
    sys.stdin = io.TextIOWrapper(io.BytesIO(PASSWORD.encode()))
    do("login", server.site, "iago", "--password-stdin")
    assert Credentials.load(home.zuliprc).email == "iago"


def test_login_invalid_arguments(home: CLIRunner) -> None:
    assert "site" in run_error(InvalidSiteError, "login", "not a site", USERNAME)
    assert "username" in run_error(InvalidInputError, "login", "localhost", "")
    assert "path" in run_error(
        ZuliprcError, "login", "localhost", "x", "--config", "~unknown-user/y"
    )


def test_login_without_user_id() -> None:
    credentials = Credentials("https://chat.example.com", USERNAME, "key")
    options = parse(["login", "localhost", USERNAME])
    assert _format_login(credentials, None, options).text.startswith(
        "Logged in to https://chat.example.com as iago@zulip.com.\n"
    )


# ---- The keyring


def test_login_keyring(server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring) -> None:
    output = do("login", server.site, USERNAME, "--dev", "--keyring")
    assert output.endswith(
        f"API key saved to the system keyring (account details in {home.zuliprc})."
    )
    assert key(server) not in home.zuliprc.read_text()
    assert list(memory.entries.values()) == [key(server)]
    stored = asyncio.run(KeyringStore(server.site, USERNAME).load())  # by a program
    assert stored is not None
    assert stored.api_key == key(server)
    assert "The API key is valid." in do("whoami")
    assert "from the system keyring" in do("logout")
    assert not memory.entries
    assert run_error(NotLoggedInError, "logout") == NOT_LOGGED_IN
    assert run_error(NotLoggedInError, "whoami") == NOT_LOGGED_IN


def raise_locked(*_: object) -> None:
    raise RuntimeError("locked")


def test_keyring_that_waits_for_a_prompt(
    server: FakeZulip, memory: InMemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    do("login", server.site, USERNAME, "--dev", "--keyring")
    is_unlocked = threading.Event()
    get_password = memory.get_password

    def prompt(*args: str) -> str | None:
        is_unlocked.wait()
        return get_password(*args)

    monkeypatch.setattr(memory, "get_password", prompt)
    message = run_error(KeyringError, "whoami", "--timeout", "0.1")
    is_unlocked.set()
    assert message.startswith("The system keyring did not respond in 0.1 s.")


def test_keyring_without_the_key(
    server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring
) -> None:
    do("login", server.site, USERNAME, "--dev", "--keyring")
    memory.entries.clear()
    assert run_error(NotLoggedInError, "whoami") == NOT_LOGGED_IN


def test_login_locked_keyring(
    server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, and the saved key is where it was."""
    do("login", server.site, USERNAME, "--dev")
    sent = len(server.requests)
    monkeypatch.setattr(memory, "set_password", raise_locked)
    login = ("login", server.site, USERNAME, "--password-stdin", "--keyring")
    assert "RuntimeError" in run_error(KeyringError, *login)
    assert len(server.requests) == sent
    assert do("api-key") == key(server)


def test_login_without_keyring_extra(
    server: FakeZulip, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    do("login", server.site, USERNAME, "--dev")
    sent = len(server.requests)
    monkeypatch.setitem(sys.modules, "keyring", None)
    login = ("login", server.site, USERNAME, "--password-stdin", "--keyring")
    assert "pip install" in run_error(ConfigurationError, *login)
    assert len(server.requests) == sent
    assert do("api-key") == key(server)


def test_keyring_fails_after_login(
    server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has the old key until the keyring has the new one."""
    do("login", server.site, USERNAME, "--dev")
    old_key = key(server)
    server.account(USERNAME).regenerate_api_key()
    set_password = memory.set_password

    def lock_later(service: str, username: str, password: str) -> None:
        if password == key(server):
            raise_locked()
        set_password(service, username, password)

    monkeypatch.setattr(memory, "set_password", lock_later)
    login = ("login", server.site, USERNAME, "--password-stdin", "--keyring")
    message = error_message(lambda: do(*login), KeyringError, secrets=(PASSWORD, key(server)))
    assert message == (
        f"Logged in as {USERNAME}, but could not save the API key: Could not access the system "
        "keyring (RuntimeError). Is it unlocked? To print it, log in with --no-save --show-key."
    )
    assert do("api-key") == old_key
    assert memory.entries == {}


def test_keyring_replaces_file(server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring) -> None:
    do("login", server.site, USERNAME, "--dev")
    do("login", server.site, USERNAME, "--dev", "--keyring")
    assert key(server) not in home.zuliprc.read_text()
    assert do("api-key") == key(server)


def test_file_fails_after_login(
    server: FakeZulip, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def log_in(client: AuthClient, username: str, password: str) -> Credentials:
        home.zuliprc.mkdir()
        return Credentials(client.site, username, key(server))

    monkeypatch.setattr(AuthClient, "login", log_in)
    login = ("login", server.site, USERNAME, "--password-stdin")
    message = run_error(ZuliprcError, *login)
    assert message.startswith(f"Logged in as {USERNAME}, but could not save the API key: ")
    assert message.endswith("To print it, log in with --no-save --show-key.")


def test_keyring_key_of_other_site(
    server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    do("login", server.site, USERNAME, "--dev", "--keyring")
    with FakeZulip() as other:
        monkeypatch.setenv("ZULIP_SITE", other.site)
        assert run_error(NotLoggedInError, "whoami").startswith("No key in the environment and ")
        assert not other.requests


def test_logout_of_file_and_keyring(
    server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring
) -> None:
    do("login", server.site, USERNAME, "--dev", "--keyring")
    do("login", server.site, USERNAME, "--dev")
    output = do("logout").splitlines()[0]
    assert output == f"Deleted the API key from {home.zuliprc} and the system keyring."
    assert not memory.entries
    assert key(server) not in home.zuliprc.read_text()


def test_login_keyring_with_stdout(server: FakeZulip, memory: InMemoryKeyring) -> None:
    run_error(InvalidInputError, "login", server.site, USERNAME, "--keyring", "--config", "-")
    assert not server.requests


def test_login_to_symbolic_link(server: FakeZulip, home: CLIRunner) -> None:
    home.zuliprc.symlink_to(home.path / "elsewhere")
    text = run_error(ZuliprcError, "login", server.site, USERNAME, "--dev")
    assert "is a symbolic link" in text
    assert not server.requests


# ---- whoami


def test_whoami(server: FakeZulip, home: CLIRunner) -> None:
    do("login", server.site, USERNAME, "--dev")
    server.account(USERNAME).role = 200
    server.account(USERNAME).full_name = "Iago"
    assert do("whoami") == (
        f"Iago <{USERNAME}> (user 10, administrator) at {server.site}.\n"
        f"The API key is valid. From section [api] of {home.zuliprc}."
    )
    assert json.loads(do("whoami", "--json")) == {
        "site": server.site,
        "email": USERNAME,
        "user_id": 10,
        "full_name": "Iago",
        "role": 200,
        "is_bot": False,
        "origins": dict.fromkeys(("email", "key", "site"), f"section [api] of {home.zuliprc}"),
    }
    server.account(USERNAME).role = 999
    assert "(user 10, role 999)" in do("whoami")
    server.account(USERNAME).regenerate_api_key()
    code, out, err = home.run("whoami")
    assert (code, out) == (77, "")
    assert "rejected the API key (UNAUTHORIZED)" in err


def test_whoami_environment_and_config(
    server: FakeZulip, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = home.path / "other"
    do("login", server.site, USERNAME, "--dev", "--config", str(other))
    assert run_error(NotLoggedInError, "whoami") == NOT_LOGGED_IN
    assert USERNAME in do("whoami", "--config", str(other))
    monkeypatch.setenv("ZULIP_API_KEY", "x" * 32)
    message = run_error(ZuliprcError, "whoami", "--config", str(other))
    assert message.startswith(f"ZULIP_API_KEY and key in section [api] of {other} differ, ")
    monkeypatch.setenv("ZULIP_SITE", server.site)
    monkeypatch.setenv("ZULIP_EMAIL", USERNAME)
    monkeypatch.setenv("ZULIP_API_KEY", key(server))
    assert do("whoami").endswith("valid. From ZULIP_EMAIL, ZULIP_API_KEY, ZULIP_SITE.")


def test_whoami_cert_bundle(
    home: CLIRunner, server: FakeZulip, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_delays = partial(RetryState, jitter=lambda _low, _high: 0.0)
    monkeypatch.setattr("zulip_auth._client.RetryState", without_delays)
    test_ca = trustme.CA()
    bundle = home.path / "ca.pem"
    test_ca.cert_pem.write_to_path(bundle)
    Credentials("https://127.0.0.1:1", USERNAME, "k3y", cert_bundle=str(bundle)).save()
    assert "Could not connect to" in run_error(APIConnectionError, "whoami")
    bundle.unlink()
    assert "cert_bundle" in run_error(ZuliprcError, "whoami")


# ---- logout


def test_logout(server: FakeZulip, home: CLIRunner) -> None:
    do("login", server.site, USERNAME, "--dev")
    output = do("logout")
    assert output.splitlines()[0] == f"Deleted the API key from {home.zuliprc}."
    assert "The key is still valid. To revoke it, " in output
    assert key(server) not in home.zuliprc.read_text()
    assert home.zuliprc.read_text() == "[api]\n"
    server.add_user("hamlet@zulip.com", "x")
    do("login", server.site, "hamlet@zulip.com", "--dev")
    assert Credentials.load().email == "hamlet@zulip.com"


NOT_LOGGED_IN = "Not logged in. Run: zulip-auth login SITE"
UNUSED_FILES = {"missing": None, "without a key": "[api]\nemail = iago@zulip.com\n"}


@pytest.mark.parametrize("command", ["whoami", "bots", "api-key", "logout", "logout --revoke"])
@pytest.mark.parametrize("text", UNUSED_FILES.values(), ids=UNUSED_FILES)
def test_not_logged_in(
    command: str, text: str | None, home: CLIRunner, memory: InMemoryKeyring
) -> None:
    if text is not None:
        home.zuliprc.write_text(text)
        home.zuliprc.chmod(0o600)
    assert run_error(NotLoggedInError, *command.split()) == NOT_LOGGED_IN
    assert home.run(command.split()[0]) == (78, "", f"zulip-auth: {NOT_LOGGED_IN}\n")


@pytest.mark.parametrize("place", ["file", "keyring"])
def test_logout_of_one_place(
    place: str,
    server: FakeZulip,
    home: CLIRunner,
    memory: InMemoryKeyring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The deletion is reported even if the other one fails."""
    do("login", server.site, USERNAME, "--dev", "--keyring")
    do("login", server.site, USERNAME, "--dev")
    if place == "file":
        monkeypatch.setattr(memory, "delete_password", raise_locked)
        deleted, reason = str(home.zuliprc), "Could not access the system keyring (RuntimeError)"
    else:
        monkeypatch.setattr(_zuliprc, "update_zuliprc", fail_to_write)
        deleted, reason = "the system keyring", "No space left"
    message = run_error(CredentialStoreError, "logout")
    assert message.startswith(f"Deleted the API key from {deleted}. {reason}")
    assert (len(memory.entries), key(server) in home.zuliprc.read_text()) == (
        (1, False) if place == "file" else (0, True)
    )


def fail_to_write(*_: object) -> None:
    raise ZuliprcError("No space left.")


def test_logout_of_no_place(
    server: FakeZulip, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    do("login", server.site, USERNAME, "--dev")
    monkeypatch.setattr(_zuliprc, "update_zuliprc", fail_to_write)
    assert run_error(CredentialStoreError, "logout") == "No space left."


@pytest.mark.parametrize("option", [(), ("--keyring",)])
def test_logout_revoke(
    option: tuple[str, ...], server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring
) -> None:
    do("login", server.site, USERNAME, "--dev", *option)
    old_key = key(server)
    assert do("logout", "--revoke").endswith(".\nThe key is revoked.")
    assert key(server) != old_key
    assert old_key not in home.zuliprc.read_text()
    assert key(server) not in home.zuliprc.read_text()
    assert memory.entries == {}


def test_logout_revoke_of_revoked_key(server: FakeZulip, home: CLIRunner) -> None:
    do("login", server.site, USERNAME, "--dev")
    server.account(USERNAME).regenerate_api_key()
    assert do("logout", "--revoke").endswith("The key is revoked.")
    assert run_error(NotLoggedInError, "logout") == NOT_LOGGED_IN


def test_logout_revoke_without_server(server: FakeZulip, home: CLIRunner) -> None:
    """The key is still there for another attempt."""
    do("login", server.site, USERNAME, "--dev")
    server.stop()
    run_error(APIConnectionError, "logout", "--revoke", "--timeout", "0.2")
    assert do("api-key") == key(server)


def test_logout_revoke_ignores_environment(
    server: FakeZulip, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add_user("hamlet@zulip.com", PASSWORD)
    do("login", server.site, USERNAME, "--dev")
    hamlet = server.account("hamlet@zulip.com").api_key
    monkeypatch.setenv("ZULIP_EMAIL", "hamlet@zulip.com")
    monkeypatch.setenv("ZULIP_API_KEY", hamlet)
    do("logout", "--revoke")
    assert server.account("hamlet@zulip.com").api_key == hamlet


# ---- Keys


def test_api_key(server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring) -> None:
    do("login", server.site, USERNAME, "--dev")
    assert home.run("api-key") == (0, f"{key(server)}\n", "")
    do("login", server.site, USERNAME, "--dev", "--keyring")
    assert do("api-key") == key(server)


def test_api_key_of_environment(
    server: FakeZulip, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    do("login", server.site, USERNAME, "--dev")
    monkeypatch.setenv("ZULIP_API_KEY", "x" * 32)
    monkeypatch.setenv("ZULIP_EMAIL", "bot@zulip.com")
    monkeypatch.setenv("ZULIP_SITE", server.site)
    assert do("api-key") == "x" * 32


# ---- rotate


def test_rotate(server: FakeZulip, home: CLIRunner) -> None:
    do("login", server.site, USERNAME, "--dev")
    old = key(server)
    assert home.run("rotate") == (
        0,
        f"New API key saved to {home.zuliprc}. The old one is revoked.\n",
        "",
    )
    assert Credentials.load().api_key == key(server) != old


def test_rotate_in_keyring(server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring) -> None:
    do("login", server.site, USERNAME, "--dev", "--keyring")
    assert do("rotate") == "New API key saved to the system keyring. The old one is revoked."
    assert do("api-key") == key(server)
    assert key(server) not in home.zuliprc.read_text()


@pytest.mark.parametrize("obstacle", ["not logged in", "revoked key", "link"])
def test_rotate_that_fails(obstacle: str, server: FakeZulip, home: CLIRunner) -> None:
    """Nothing is replaced that could not be saved."""
    if obstacle == "not logged in":
        assert run_error(NotLoggedInError, "rotate") == NOT_LOGGED_IN
        return
    do("login", server.site, USERNAME, "--dev")
    if obstacle == "revoked key":
        server.account(USERNAME).regenerate_api_key()
        run_error(InvalidApiKeyError, "rotate")
        return
    before, target = key(server), home.zuliprc.rename(home.path / "target")
    home.zuliprc.symlink_to(target)
    assert "symbolic link" in run_error(ZuliprcError, "rotate")
    assert key(server) == before


def test_new_key_that_cannot_be_saved(
    server: FakeZulip, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    do("login", server.site, USERNAME, "--dev")

    def fail(*_args: object, **_options: object) -> None:
        raise ZuliprcError("The disk is full.")

    monkeypatch.setattr("zulip_auth._stores.save_credentials", fail)
    assert run_error(ZuliprcError, "rotate") == (
        "The key was replaced, but could not be saved: The disk is full. Log in to get the new one."
    )


@pytest.mark.parametrize("by", ["username", "full name"])
def test_rotate_key_of_a_bot(by: str, server: FakeZulip, bot: Account, home: CLIRunner) -> None:
    do("login", server.site, USERNAME, "--dev")
    name, path = bot.email if by == "username" else bot.full_name, home.path / "bot"
    old = bot.api_key
    assert run_error(InvalidInputError, "rotate", "--bot", name) == (
        "With --bot, pass --save PATH or --show-key."
    )
    assert do("rotate", "--bot", name, "--save", str(path)) == (
        f"{bot.email} has a new API key; the old one is revoked. It is saved to {path}."
    )
    assert Credentials.load(path).basic_auth == (bot.email, bot.api_key)
    assert bot.api_key != old
    assert do("rotate", "--bot", name, "--show-key").endswith(f"\nAPI key: {bot.api_key}")


# ---- Variables that precede what is stored


@pytest.mark.parametrize("command", ["login", "rotate", "logout"])
def test_variables_are_reported(command: str, server: FakeZulip, home: CLIRunner) -> None:
    do("login", server.site, USERNAME, "--dev")
    variables = {"ZULIP_API_KEY": "x" * 32, "ZULIP_EMAIL": "bot@zulip.com"}
    arguments = {"login": ("login", server.site, USERNAME, "--dev")}.get(command, (command,))
    code, _, err = home.run(*arguments, **variables)
    assert (code, err) == (
        0,
        f"zulip-auth: ZULIP_EMAIL and ZULIP_API_KEY precede {home.zuliprc}, for programs and for "
        "whoami.\n",
    )


def test_login_api_key_stdin(server: FakeZulip, home: CLIRunner) -> None:
    login = ("login", server.site, USERNAME, "--api-key-stdin")
    code, out, err = home.run(*login, stdin=f"{key(server)}\n")
    assert (code, err) == (0, "")
    assert out.startswith(f"Logged in to {server.site} as {USERNAME} (user 10).\n")
    assert Credentials.load(home.zuliprc).api_key == key(server)
    assert [request.path for request in server.requests] == ["/api/v1/users/me"]


def test_login_api_key_in_process(
    server: FakeZulip, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(key(server).encode())))
    do("login", server.site, USERNAME, "--api-key-stdin")
    credentials = Credentials.load(home.zuliprc)
    assert (credentials.api_key, credentials.user_id) == (key(server), 10)


def test_login_invalid_api_key(server: FakeZulip, home: CLIRunner) -> None:
    login = ("login", server.site, USERNAME, "--api-key-stdin")
    code, out, err = home.run(*login, stdin="hunter2hunter2hunter2hunter2abcd")
    assert (code, out) == (77, "")
    assert "hunter2" not in err
    assert home.run(*login, stdin="two words")[0] == 64
    assert not home.zuliprc.exists()


def test_login_api_key_prompt(server: FakeZulip, home: CLIRunner) -> None:
    with home.session("login", server.site, USERNAME, "--api-key-stdin") as session:
        session.expect(f"API key for {USERNAME}: ")
        session.send_line(key(server))
        session.expect(f"Logged in to {server.site} as {USERNAME}")
        assert session.wait() == 0
    assert key(server) not in session.screen


# ---- Bots


@pytest.fixture
def bot(server: FakeZulip) -> Account:
    """A bot of the account, which has another one."""
    bot = server.add_bot(USERNAME, "Helper")
    server.add_bot(USERNAME, "Twin")
    return bot


def test_bots(server: FakeZulip, bot: Account, home: CLIRunner) -> None:
    do("login", server.site, USERNAME, "--dev")
    code, out, err = home.run("bots")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert [bot.email, "Helper"] in lines
    assert sorted(name for _, name in lines) == ["Helper", "Twin"]
    fields = [{"username": username, "full_name": name} for username, name in lines]
    assert json.loads(do("bots", "--json")) == fields


def test_no_bots(server: FakeZulip, home: CLIRunner) -> None:
    do("login", server.site, USERNAME, "--dev")
    assert do("bots") == "No active bots."
    assert do("bots", "--json") == "[]"


@pytest.mark.parametrize("by", ["full name", "email"])
def test_login_bot(by: str, server: FakeZulip, bot: Account, home: CLIRunner) -> None:
    name = "Helper" if by == "full name" else bot.email
    login = ("login", server.site, USERNAME, "--bot", name, "--password-stdin")
    code, out, err = home.run(*login, stdin=PASSWORD)
    assert (code, err) == (0, "")
    assert out.startswith(f"Logged in to {server.site} as {bot.email}")
    assert Credentials.load(home.zuliprc).basic_auth == (bot.email, bot.api_key)
    assert ", bot)" in do("whoami")
    assert key(server) not in home.zuliprc.read_text()
    # The file has the bot, not the owner, who logs in.
    assert home.run(*login, stdin=PASSWORD)[0] == 0


def test_login_unknown_bot(server: FakeZulip, bot: Account, home: CLIRunner) -> None:
    login = ("login", server.site, USERNAME, "--dev", "--bot")
    message = run_error(InvalidInputError, *login, "hunter2")
    assert message.startswith("No bot of the account has that name. Available: ")
    assert bot.email in message
    server.add_bot(USERNAME, "Second").full_name = "Twin"
    message = run_error(InvalidInputError, *login, "Twin")
    assert message.startswith("Several bots have that name. Available: ")
    assert bot.email not in message
    server.add_user("hamlet@zulip.com", PASSWORD)
    login = ("login", server.site, "hamlet@zulip.com", "--dev", "--bot")
    message = run_error(InvalidInputError, *login, "Helper")
    assert message == "No bot of the account has that name. Available: none."
    assert not home.zuliprc.exists()


def test_login_bot_over_other_account(server: FakeZulip, bot: Account, home: CLIRunner) -> None:
    """It is known only after the login; the file stays as it was."""
    do("login", server.site, USERNAME, "--dev")
    message = run_error(ZuliprcError, "login", server.site, USERNAME, "--dev", "--bot", "Helper")
    assert "but could not save the API key" in message
    assert "--overwrite" in message
    assert do("api-key") == key(server)


# ---- Before the password


def test_menu_checks_account(server: FakeZulip, home: CLIRunner) -> None:
    """The username is known only after the menu, but before the password."""
    Credentials(server.site, "hamlet@zulip.com", "k3y").save(home.zuliprc)
    with home.session("login", server.site, NO_COLOR="1") as session:
        session.expect("Choose [1-2]: ")
        session.send_line("3")
        session.expect("Enter a number from 1 to 2.\nChoose [1-2]: ")
        session.send_line("1")
        session.expect("Username: ")
        session.send_line(USERNAME)
        session.expect("contains a different account.")
        session.expect("--overwrite")
        session.expect("--config")
        assert session.wait() == 78
    assert "Password" not in session.screen


def test_password_command_of_shell(server: FakeZulip, home: CLIRunner) -> None:
    login = ("login", server.site, USERNAME, "--password-command", "echo $PASSWORD")
    code, out, err = home.run(*login, PASSWORD=PASSWORD)
    assert (code, out) == (64, "")
    assert err == "zulip-auth: --password-command uses no shell: use sh -c '…'\n"
    assert not server.requests
    login = (*login[:-1], "sh -c 'echo \"$PASSWORD\"'")
    assert home.run(*login, PASSWORD=PASSWORD)[0] == 0


def test_password_command_leaves_child(server: FakeZulip, home: CLIRunner) -> None:
    command = f"sh -c 'sleep 20 2>&- & echo {USERNAME}'"
    server.add_user("x@zulip.com", USERNAME)
    login = ("login", server.site, "x@zulip.com", "--password-command", command)
    started = time.monotonic()
    assert home.run(*login)[0] == 0
    assert time.monotonic() - started < 15


def test_timeout(home: CLIRunner) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        host, port = server.getsockname()
        login = ("login", f"{host}:{port}", USERNAME, "--dev", "--timeout", "0.1")
        code, out, _ = home.run(*login)
    assert (code, out) == (69, "")
    assert home.run(*login[:-1], "0")[0] == 64


def test_password_login_disabled(
    server: FakeZulip, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.realm.password_login = False
    login = ("login", server.site, USERNAME, "--password-stdin")
    code, _, err = home.run(*login, stdin=PASSWORD)
    assert code == 77
    assert "--sso" not in err
    with pytest.raises(PasswordAuthDisabledError) as caught:
        do(*login)
    assert not hasattr(caught.value, "__notes__")
    server.realm.external_methods.append(FakeMethod("google", "Google"))
    code, _, err = home.run(*login, stdin=PASSWORD)
    assert code == 77
    hint = f"Run: zulip-auth login {server.site} --sso"
    assert err.endswith(f" {hint}\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PASSWORD.encode())))
    with pytest.raises(PasswordAuthDisabledError) as caught:
        do(*login)
    assert caught.value.__notes__ == [hint]


# ---- TLS and plain http


@pytest.mark.parametrize("source", ["option", "environment", "file"])
async def test_login_cert_bundle(source: str, home: CLIRunner) -> None:
    ca = trustme.CA()
    bundle = home.path / "ca.pem"
    ca.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    async with ScriptedServer(serve_keepalive, tls=context) as server:
        login = ["login", server.site, USERNAME, "--password-stdin"]
        code, _, err = await asyncio.to_thread(home.run, *login, stdin=PASSWORD)
        assert code == 69
        assert "--cert-bundle, ZULIP_CERT_BUNDLE, or cert_bundle = PATH" in err
        environment = {}
        if source == "option":
            login += ["--cert-bundle", os.path.relpath(bundle)]
        elif source == "environment":
            environment["ZULIP_CERT_BUNDLE"] = str(bundle)
        else:
            home.zuliprc.touch(0o600)
            home.zuliprc.write_text(f"[api]\nsite = {server.site}\ncert_bundle = {bundle}\n")
        code, _, err = await asyncio.to_thread(home.run, *login, stdin=PASSWORD, **environment)
    assert (code, err) == (0, "")
    assert Credentials.load(home.zuliprc).cert_bundle == str(bundle)


def test_login_cert_bundle_of_other_site(server: FakeZulip, home: CLIRunner) -> None:
    Credentials("https://x.example.com", USERNAME, "k3y", cert_bundle="/no/such/file").save()
    do("login", server.site, USERNAME, "--dev", "--overwrite")
    assert Credentials.load().cert_bundle is None


def test_missing_cert_bundle(server: FakeZulip, home: CLIRunner) -> None:
    login = ("login", server.site, USERNAME, "--password-stdin", "--cert-bundle", "/no/ca.pem")
    run_error(ZuliprcError, *login)
    assert not server.requests


def test_plain_http(home: CLIRunner) -> None:
    login = ("login", "http://chat.example.com", USERNAME, "--password-stdin")
    code, _, err = home.run(*login, stdin=PASSWORD)
    assert code == 64
    assert err == (
        "zulip-auth: Use https://chat.example.com, or pass --allow-http to send the password "
        "unencrypted.\n"
    )


def run_json(*argv: str) -> Any:
    return json.loads(do(*argv, "--json"))


def test_json_of_each_command(server: FakeZulip, home: CLIRunner) -> None:
    server.add_bot(USERNAME, "Helper")
    login = run_json("login", server.site, USERNAME, "--dev", "--config", "-")
    assert login["api_key"] == server.account(USERNAME).api_key
    do("login", server.site, USERNAME, "--dev")
    account = {"site": server.site, "email": USERNAME}
    assert run_json("api-key") == {**account, "api_key": server.account(USERNAME).api_key}
    rotated = run_json("rotate", "--show-key")
    key = server.account(USERNAME).api_key
    assert rotated == {**account, "saved_to": str(home.zuliprc), "api_key": key}
    bot = run_json("rotate", "--bot", "Helper", "--save", str(home.path / "bot"))
    assert bot["saved_to"] == str(home.path / "bot")
    assert bot.keys() == {"site", "email", "saved_to"}
    assert run_json("logout") == {"deleted_from": [str(home.zuliprc)], "revoked": False}


def test_deleted_working_directory(
    server: FakeZulip, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = home.path / "gone"
    directory.mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(directory)
        directory.rmdir()
        error = run_error(
            InvalidInputError,
            *("login", server.site, USERNAME, "--dev", "--no-save", "--cert-bundle", "ca.pem"),
        )
        assert "working directory" in error
        do("login", server.site, USERNAME, "--dev")


# ---- completion

SHELLS = {
    "bash": """
source <(zulip-auth completion bash)
COMP_WORDS=(@WORDS@); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_zulip_auth
printf '%s\n' "${COMPREPLY[@]}" """,
    "zsh": """
autoload -Uz compinit; compinit -u -D
source <(zulip-auth completion zsh)
_describe() { printf '%s\n' "${${(@P)2}[@]%%:*}"; }
_files() { echo FILES; }
[ "$_comps[zulip-auth]" = _zulip_auth ] || exit 1
words=(@WORDS@); CURRENT=$#words
_zulip_auth""",
    "fish": """
zulip-auth completion fish | source
complete -C '@WORDS@'""",
}
COMPLETIONS = {
    ("zulip-auth", "who"): "whoami",
    ("zulip-auth", "login", "--pass"): "--password-stdin",
    ("zulip-auth", "login", "--no-save", "--ke"): "--keyring",
    ("zulip-auth", "logout", "--rev"): "--revoke",
    ("zulip-auth", "completion", "fi"): "fish",
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("words", COMPLETIONS, ids=" ".join)
def test_completion(shell: str, words: tuple[str, ...], home: CLIRunner) -> None:
    out = complete(shell, words, home)
    assert COMPLETIONS[words] in out
    if words[-1] == "--rev":
        assert "--password-stdin" not in out


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_completion_with_descriptions(home: CLIRunner) -> None:
    environment = home.environment(
        PATH=f"{COMMAND.parent}:{os.environ['PATH']}", PS1="$ ", TERM="xterm"
    )
    assert "'login:log in and save the API key'" in do("completion", "zsh")
    with TerminalSession([str(shutil.which("zsh")), "-f"], environment, 80) as session:
        session.send_line("autoload -Uz compinit; compinit -u -D")
        session.send_line("source <(zulip-auth completion zsh); echo read''y")
        session.expect("ready")
        session.send("zulip-auth login --no\t")
        session.expect("zulip-auth login --no-save")
        session.send("--\t")
        session.expect("--allow-http")
        session.expect("-- send passwords and keys without encryption")


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_of_paths(shell: str, home: CLIRunner) -> None:
    (home.path / "zuliprc-of-bot").touch()
    out = complete(shell, ("zulip-auth", "whoami", "--config", "zuliprc-"), home)
    expected = {"bash": [], "zsh": ["FILES"], "fish": ["zuliprc-of-bot"]}
    assert out == expected[shell]
    if shell == "bash":  # which completes paths if a function returns nothing
        assert "compopt -o default" in do("completion", "bash")


def complete(shell: str, words: tuple[str, ...], home: CLIRunner) -> list[str]:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    script = SHELLS[shell].replace("@WORDS@", " ".join(words))
    done = subprocess.run(
        [shell, "-f", "-c", script] if shell == "zsh" else [shell, "-c", script],
        capture_output=True,
        text=True,
        cwd=home.path,
        env=home.environment(PATH=f"{COMMAND.parent}:{os.environ['PATH']}"),
    )
    assert done.stderr.replace("bash: warning: ", "") == ""
    return done.stdout.split()


# ---- Login methods


def test_login_without_username(server: FakeZulip, home: CLIRunner) -> None:
    server.dev_login = "off"
    code, shown = home.run_in_pty(
        *("login", server.site),
        inputs={"Username: ": USERNAME, f"Password for {USERNAME}: ": PASSWORD},
    )
    assert code == 0
    assert f"as {USERNAME}" in shown
    assert [request.path for request in server.requests] == [
        "/api/v1/server_settings",
        "/api/v1/fetch_api_key",
    ]


def test_login_menu(server: FakeZulip, home: CLIRunner) -> None:
    code, shown = home.run_in_pty(
        *("login", server.site, "--json"),
        inputs={"Choose [1-2]: ": "2", "Username: ": USERNAME},
    )
    assert code == 0
    assert "  1  password\n  2  development login, without a password\n" in shown
    assert Credentials.load(home.zuliprc).email == USERNAME


@pytest.mark.parametrize("option", ["--password-stdin", "--password-command=true", "--dev"])
def test_password_option_without_username(option: str, server: FakeZulip) -> None:
    text = run_error(InvalidInputError, "login", server.site, option)
    assert text == "USERNAME is required with this option."
    assert not server.requests


def test_login_menu_in_process(server: FakeZulip, monkeypatch: pytest.MonkeyPatch) -> None:
    server.realm.password_login = False
    assert "Cannot prompt without a terminal" in run_error(InvalidInputError, "login", server.site)
    terminal = io.StringIO(f"{USERNAME}\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert "Logged in" in do("login", server.site)
    server.dev_login = "off"
    assert "no supported login method" in run_error(InvalidInputError, "login", server.site)
    assert "no browser login" in run_error(InvalidInputError, "login", server.site, "--sso")


def test_login_sso(server: FakeZulip, home: CLIRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def log_in(client: AuthClient, method: ExternalMethod) -> Credentials:
        return Credentials(client.site, f"{method.name}@zulip.com", "k3y")

    monkeypatch.setattr(commands, "login_with_browser", log_in)
    server.realm.external_methods.append(FakeMethod("google", "Google"))
    assert "as google@zulip.com" in do("login", server.site, "--sso")
    assert Credentials.load(home.zuliprc).email == "google@zulip.com"
    # Whose account it is to be is known only afterwards.
    assert "as google@zulip.com" in do("login", server.site, "--sso", "google")
    Credentials(server.site, USERNAME, "k3y").save(home.zuliprc, overwrite=True)
    message = run_error(ZuliprcError, "login", server.site, "--sso")
    assert message.startswith("Logged in as google@zulip.com, but could not save the API key: ")
    assert "--overwrite" in message


# ---- The handler


def test_sso_handler_command(monkeypatch: pytest.MonkeyPatch, home: CLIRunner) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert "No login in progress" in run_error(APIConnectionError, "sso-handler", "zulip://login?x")
    assert "--install or --uninstall" in run_error(InvalidInputError, "sso-handler")
    assert do("sso-handler", "--uninstall") == "The handler is not installed."
    monkeypatch.setenv("PATH", str(home.path))
    assert "xdg-mime not found" in run_error(InvalidInputError, "sso-handler", "--install")
