"""The commands, run in this process against a server."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

from helpers.cli_runner import CLIRunner, InMemoryKeyring
from helpers.constants import PASSWORD, USERNAME
from zulip_auth import Credentials, KeyringStore, ZuliprcError, ZuliprcStore
from zulip_auth._cli import commands
from zulip_auth.testing import Account, ExternalMethod, FakeZulip

NOT_LOGGED_IN = "Not logged in. Run: zulip-auth login SITE"
SITE_VARIABLES = {"ZULIP_EMAIL": "bot@zulip.com", "ZULIP_API_KEY": "x" * 32}
HAMLET = "hamlet@zulip.com"


def log_in(cli: CLIRunner, server: FakeZulip, *options: str, **environment: str) -> str:
    options = options or ("--dev",)
    return cli.succeed("login", server.site, USERNAME, *options, stdin=PASSWORD, **environment)


def key(server: FakeZulip, email: str = USERNAME) -> str:
    return server.account(email).api_key


def loaded(path: Path) -> tuple[str, str]:
    return Credentials.load(path).basic_auth


# ---- login


def test_login_saves_key(server: FakeZulip, cli: CLIRunner) -> None:
    assert log_in(cli, server, "--password-stdin") == (
        f"Logged in to {server.site} as {USERNAME} (user 10).\nAPI key saved to {cli.zuliprc}."
    )
    assert loaded(cli.zuliprc) == (USERNAME, key(server))
    assert cli.zuliprc.stat().st_mode & 0o777 == 0o600
    agent = server.requests[0].headers["user-agent"]
    assert agent.startswith("zulip-auth-cli zulip-auth/")


def test_where_login_saves(server: FakeZulip, cli: CLIRunner) -> None:
    hidden = log_in(cli, server, "--no-save", "--dev")
    assert hidden.endswith("\nAPI key: ******** (use --show-key to show it)")
    shown = log_in(cli, server, "--no-save", "--dev", "--show-key")
    assert shown.endswith(f"\nAPI key: {key(server)}")
    assert log_in(cli, server, "--dev", "--config", "-").rstrip() == (
        f"[api]\nemail = {USERNAME}\nkey = {key(server)}\nsite = {server.site}\nuser_id = 10"
    )
    other = cli.path / "other"
    assert str(other) in log_in(cli, server, "--dev", "--config", str(other))
    assert loaded(other) == (USERNAME, key(server))
    assert not cli.zuliprc.exists()


def test_json_of_each_command(server: FakeZulip, cli: CLIRunner) -> None:
    def run(*arguments: str) -> Any:
        return json.loads(cli.succeed(*arguments, "--json"))

    server.add_bot(USERNAME, "Helper")
    server.account(USERNAME).full_name = "Iago"
    account = {"site": server.site, "email": USERNAME}
    login = ("login", server.site, USERNAME, "--dev")
    assert run(*login) == {**account, "user_id": 10, "config": str(cli.zuliprc)}
    printed = run(*login, "--config", "-")
    assert printed == {**account, "user_id": 10, "config": None, "api_key": key(server)}
    origin = f"section [api] of {cli.zuliprc}"
    assert run("whoami") == {
        **account,
        "user_id": 10,
        "full_name": "Iago",
        "role": 400,
        "is_bot": False,
        "origins": {"email": origin, "key": origin, "site": origin},
    }
    assert [bot["full_name"] for bot in run("bots")] == ["Helper"]
    assert run("api-key") == {**account, "api_key": key(server)}
    rotated = run("rotate", "--show-key")
    assert rotated == {**account, "saved_to": str(cli.zuliprc), "api_key": key(server)}
    assert run("logout") == {"deleted_from": [str(cli.zuliprc)], "revoked": False}
    assert run("sso-handler", "--uninstall") == {"message": "The handler is not installed."}


def test_login_different_account(server: FakeZulip, cli: CLIRunner) -> None:
    """It is rejected before the password is read, and after a login that reveals the account."""
    Credentials(server.site, HAMLET, "k3y").save(cli.zuliprc)
    rejection = (
        f"{cli.zuliprc} contains a different account. Use --overwrite to replace it, "
        "--config to use another file, or --no-save."
    )
    assert cli.fail(78, "login", server.site, USERNAME, "--password-stdin") == rejection
    assert not server.requests
    server.add_bot(USERNAME, "Helper")
    message = cli.fail(78, "login", server.site, USERNAME, "--dev", "--bot", "Helper")
    assert message.endswith(
        f", but could not save the API key: {rejection} "
        "To print it, log in with --no-save --show-key."
    )
    assert loaded(cli.zuliprc) == (HAMLET, "k3y")
    other = Credentials("https://x.example.com", HAMLET, "k3y", cert_bundle="/no/such/file")
    other.save(cli.zuliprc, overwrite=True)
    log_in(cli, server, "--dev", "--overwrite")
    assert Credentials.load(cli.zuliprc).cert_bundle is None
    cli.succeed("login", server.site, USERNAME.upper(), "--dev")  # the same one


def test_login_with_username_that_is_not_an_email(server: FakeZulip, cli: CLIRunner) -> None:
    server.realm.email_usernames = False
    server.add_user("iago", PASSWORD)
    for _ in range(2):
        cli.succeed("login", server.site, "iago", "--password-stdin", stdin=PASSWORD)
    assert loaded(cli.zuliprc)[0] == "iago"
    # An LDAP name, for which an ApiKeySource finds the key again.
    response = {"result": "success", "msg": "", "api_key": key(server), "email": USERNAME}
    server.fail_next("/api/v1/fetch_api_key", json=response)
    login = ("login", server.site, "jdoe", "--password-stdin", "--overwrite")
    assert f"as {USERNAME}.\n" in cli.succeed(*login, stdin=PASSWORD)
    assert Credentials.load(cli.zuliprc).login_name == "jdoe"


BEFORE_THE_PASSWORD = {
    "site": (64, ("not a site", USERNAME), "site"),
    "username": (64, ("{site}", ""), "username"),
    "no username": (64, ("{site}", "--dev"), "USERNAME is required with this option."),
    "plain http": (
        64,
        ("http://chat.example.com", USERNAME),
        "Use https://chat.example.com, or pass --allow-http to send the password unencrypted.",
    ),
    "path": (78, ("{site}", USERNAME, "--config", "~unknown-user/x"), "path"),
    "link": (78, ("{site}", USERNAME, "--config", "{home}/link"), "is a symbolic link"),
    "CA": (78, ("{site}", USERNAME, "--cert-bundle", "/no/ca.pem"), "cert_bundle"),
    "keyring": (64, ("{site}", USERNAME, "--keyring", "--config", "-"), "--keyring cannot be"),
    "timeout": (64, ("{site}", USERNAME, "--timeout", "0"), "timeout"),
}


@pytest.mark.parametrize(
    ("code", "arguments", "text"), BEFORE_THE_PASSWORD.values(), ids=BEFORE_THE_PASSWORD
)
def test_checks_before_the_password(
    code: int, arguments: tuple[str, ...], text: str, server: FakeZulip, cli: CLIRunner
) -> None:
    (cli.path / "link").symlink_to(cli.path / "elsewhere")
    arguments = tuple(a.format(site=server.site, home=cli.path) for a in arguments)
    option = () if "--dev" in arguments else ("--password-command", "touch was-read")
    assert text in cli.fail(code, "login", *arguments, *option)
    assert not Path("was-read").exists()
    assert not server.requests


def test_password_login_disabled(server: FakeZulip, cli: CLIRunner) -> None:
    server.realm.password_login = False
    login = ("login", server.site, USERNAME, "--password-stdin")
    assert "--sso" not in cli.fail(77, *login, stdin=PASSWORD)
    server.realm.external_methods.append(ExternalMethod("google", "Google"))
    message = cli.fail(77, *login, stdin=PASSWORD)
    assert message.endswith(f" Run: zulip-auth login {server.site} --sso")


def test_login_api_key_stdin(server: FakeZulip, cli: CLIRunner) -> None:
    login = ("login", server.site, USERNAME, "--api-key-stdin")
    assert "hunter2" not in cli.fail(77, *login, stdin="hunter2hunter2hunter2hunter2abcd")
    cli.fail(64, *login, stdin="two words")
    assert not cli.zuliprc.exists()
    assert f"as {USERNAME} (user 10).\n" in cli.succeed(*login, stdin=f"{key(server)}\n")
    assert loaded(cli.zuliprc) == (USERNAME, key(server))
    assert {request.path for request in server.requests} == {"/api/v1/users/me"}


def test_login_methods(server: FakeZulip, cli: CLIRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def log_in(flow: Any) -> Credentials:
        return Credentials(flow.site, HAMLET, key(server, HAMLET))

    monkeypatch.setattr(commands, "login_with_browser", log_in)
    monkeypatch.setattr(commands, "prompt", lambda _: USERNAME)
    server.add_user(HAMLET, PASSWORD)
    login = ("login", server.site)
    assert "no browser login" in cli.fail(64, *login, "--sso")
    assert "pass USERNAME or --sso METHOD" in cli.fail(64, *login)
    server.realm.password_login = False
    assert f"as {USERNAME}" in cli.succeed(*login)
    cli.succeed("logout")
    server.realm.external_methods.append(ExternalMethod("google", "Google"))
    assert f"as {HAMLET}" in cli.succeed(*login, "--sso", "google")
    assert loaded(cli.zuliprc) == (HAMLET, key(server, HAMLET))
    server.account(HAMLET).regenerate_api_key()
    monkeypatch.setattr(commands, "login_with_browser", lambda flow: Credentials.load(cli.zuliprc))
    cli.fail(77, *login, "--sso")  # what the browser brought is verified


# ---- The keyring


def test_login_keyring(server: FakeZulip, cli: CLIRunner, memory: InMemoryKeyring) -> None:
    assert log_in(cli, server, "--dev", "--keyring").endswith(
        f"API key saved to the system keyring (account details in {cli.zuliprc})."
    )
    assert key(server) not in cli.zuliprc.read_text()
    stored = asyncio.run(KeyringStore(server.site, USERNAME).load())  # by a program
    assert stored is not None
    assert stored.api_key == key(server) == cli.succeed("api-key")
    assert "valid. From section [api] of" in cli.succeed("whoami")
    assert cli.succeed("rotate") == (
        f"{USERNAME} has a new API key, saved to the system keyring. The old one is revoked."
    )
    assert cli.succeed("api-key") == key(server) != stored.api_key
    with FakeZulip() as other:
        message = cli.fail(78, "whoami", ZULIP_SITE=other.site)
        assert message.startswith("No key in the environment and ")
        assert not other.requests
    assert "from the system keyring" in cli.succeed("logout")
    assert not memory.entries
    log_in(cli, server, "--dev", "--keyring")
    memory.entries.clear()
    assert cli.fail(78, "logout") == cli.fail(78, "whoami") == NOT_LOGGED_IN


def test_keyring_that_waits_for_a_prompt(
    server: FakeZulip, cli: CLIRunner, memory: InMemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(cli, server, "--dev", "--keyring")
    is_unlocked = threading.Event()
    monkeypatch.setattr(memory, "get_password", lambda *_: is_unlocked.wait())
    message = cli.fail(78, "whoami", "--timeout", "0.1")
    is_unlocked.set()
    assert message.startswith("The system keyring did not respond in 0.1 s.")


def raise_locked(*_: object) -> None:
    raise RuntimeError("locked")


def test_keyring_that_fails(
    server: FakeZulip, cli: CLIRunner, memory: InMemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has the old key until the keyring has the new one."""
    log_in(cli, server)
    old, set_password = key(server), memory.set_password
    server.account(USERNAME).regenerate_api_key()

    def lock_later(service: str, username: str, password: str) -> None:
        if password == key(server):
            raise_locked()
        set_password(service, username, password)

    login = ("login", server.site, USERNAME, "--dev", "--keyring")
    reason = "Could not access the system keyring (RuntimeError). Is it unlocked?"
    monkeypatch.setattr(memory, "set_password", raise_locked)
    assert cli.fail(78, *login) == reason
    assert len(server.requests) == 1  # the login that succeeded
    monkeypatch.setattr(memory, "set_password", lock_later)
    assert cli.fail(78, *login) == (
        f"Logged in as {USERNAME}, but could not save the API key: {reason} "
        "To print it, log in with --no-save --show-key."
    )
    assert cli.succeed("api-key") == old
    assert memory.entries == {}


# ---- whoami


def test_whoami(server: FakeZulip, cli: CLIRunner) -> None:
    log_in(cli, server)
    account = server.account(USERNAME)
    account.role, account.full_name = 200, "Iago"
    assert cli.succeed("whoami") == (
        f"Iago <{USERNAME}> (user 10, administrator) at {server.site}.\n"
        f"The API key is valid. From section [api] of {cli.zuliprc}."
    )
    account.role = 999
    assert "(user 10, role 999)" in cli.succeed("whoami")
    account.regenerate_api_key()
    assert "rejected the API key (UNAUTHORIZED)" in cli.fail(77, "whoami")


def test_environment(server: FakeZulip, cli: CLIRunner) -> None:
    account = {"ZULIP_SITE": server.site, "ZULIP_EMAIL": USERNAME, "ZULIP_API_KEY": key(server)}
    shown = cli.succeed("whoami", **account)
    assert shown.endswith("valid. From ZULIP_EMAIL, ZULIP_API_KEY, ZULIP_SITE.")
    assert cli.succeed("api-key", **account) == key(server)


@pytest.mark.parametrize("command", ["login", "rotate", "logout"])
def test_variables_are_reported(command: str, server: FakeZulip, cli: CLIRunner) -> None:
    """They are of another account, and not used."""
    log_in(cli, server)
    arguments = ("login", server.site, USERNAME, "--dev") if command == "login" else (command,)
    code, _, err = cli.main(*arguments, **SITE_VARIABLES)
    assert (code, err) == (
        0,
        f"zulip-auth: ZULIP_EMAIL and ZULIP_API_KEY precede {cli.zuliprc}, for programs and for "
        "whoami.\n",
    )


# ---- logout


def test_logout(server: FakeZulip, cli: CLIRunner, memory: InMemoryKeyring) -> None:
    log_in(cli, server)
    first, hint = cli.succeed("logout").split("\n", 1)
    assert first == f"Deleted the API key from {cli.zuliprc}."
    assert hint.startswith("The key is still valid. To revoke it, ")
    assert cli.zuliprc.read_text() == "[api]\n"
    server.add_user(HAMLET, "x")
    cli.succeed("login", server.site, HAMLET, "--dev")
    assert loaded(cli.zuliprc)[0] == HAMLET


@pytest.mark.parametrize(
    "command", ["whoami", "bots", "api-key", "rotate", "logout", "logout --revoke"]
)
def test_not_logged_in(command: str, cli: CLIRunner, memory: InMemoryKeyring) -> None:
    assert cli.fail(78, *command.split()) == NOT_LOGGED_IN
    cli.zuliprc.touch(0o600)
    cli.zuliprc.write_text("[api]\nemail = iago@zulip.com\n")
    assert cli.fail(78, *command.split()) == NOT_LOGGED_IN


def test_logout_of_file_and_keyring(
    server: FakeZulip, cli: CLIRunner, memory: InMemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_locked in (False, True):
        log_in(cli, server, "--dev", "--keyring")
        log_in(cli, server)
        if is_locked:
            monkeypatch.setattr(memory, "delete_password", raise_locked)
            message = "Could not access the system keyring (RuntimeError). Is it unlocked?"
            deleted = f"Deleted the API key from {cli.zuliprc}."
            assert cli.fail(78, "logout") == f"{deleted} {message}"
            assert cli.fail(78, "logout") == message
            monkeypatch.undo()  # it is unlocked, and the file still names the account
            deleted = "Deleted the API key from the system keyring."
        else:
            deleted = f"Deleted the API key from {cli.zuliprc} and the system keyring."
        assert cli.succeed("logout").startswith(f"{deleted}\n")
        assert memory.entries == {}
        assert cli.zuliprc.read_text() == "[api]\n"


@pytest.mark.parametrize("option", ["--dev", "--keyring"])
def test_logout_revoke(
    option: str, server: FakeZulip, cli: CLIRunner, memory: InMemoryKeyring
) -> None:
    """The key is kept until the server has revoked it, and that of the environment is left."""
    log_in(cli, server, "--dev", *{option} - {"--dev"})
    server.add_user(HAMLET, PASSWORD)
    old = key(server)
    server.stop()
    assert cli.main("logout", "--revoke", "--timeout", "0.2")[0] == 69
    assert cli.succeed("api-key") == old
    server.start()
    hamlet = {"ZULIP_EMAIL": HAMLET, "ZULIP_API_KEY": key(server, HAMLET)}
    _, out, _ = cli.main("logout", "--revoke", **hamlet)
    assert out.endswith(".\nThe key is revoked.\n")
    assert key(server) != old
    assert key(server, HAMLET) == hamlet["ZULIP_API_KEY"]
    assert old not in cli.zuliprc.read_text()
    assert memory.entries == {}
    log_in(cli, server)
    server.account(USERNAME).regenerate_api_key()
    assert cli.succeed("logout", "--revoke").endswith("The key is revoked.")


# ---- rotate


def test_rotate(server: FakeZulip, cli: CLIRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(cli, server)
    old = key(server)
    assert cli.succeed("rotate") == (
        f"{USERNAME} has a new API key, saved to {cli.zuliprc}. The old one is revoked."
    )
    assert loaded(cli.zuliprc) == (USERNAME, key(server))
    assert key(server) != old

    async def fail(*_: object) -> None:
        raise ZuliprcError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(ZuliprcStore, "save", fail)
        assert cli.fail(78, "rotate") == (
            "The key was replaced, but could not be saved: The disk is full. "
            "Log in to get the new one."
        )
    cli.fail(77, "rotate")  # the stored key is revoked
    # Nothing is replaced that could not be saved.
    log_in(cli, server)
    before, target = key(server), cli.zuliprc.rename(cli.path / "target")
    cli.zuliprc.symlink_to(target)
    assert "symbolic link" in cli.fail(78, "rotate")
    assert key(server) == before


@pytest.fixture
def bot(server: FakeZulip) -> Account:
    """A bot of the account, which has another one."""
    bot = server.add_bot(USERNAME, "Helper")
    server.add_bot(USERNAME, "Twin")
    return bot


def test_rotate_key_of_a_bot(server: FakeZulip, bot: Account, cli: CLIRunner) -> None:
    log_in(cli, server)
    rotate, path, old = ("rotate", "--bot", "Helper"), cli.path / "bot", bot.api_key
    assert cli.fail(64, *rotate) == "With --bot, pass --save PATH or --show-key."
    assert "--save requires --bot" in cli.fail(64, "rotate", "--save", str(path))
    # Nothing is replaced before it can be saved.
    error = cli.fail(78, *rotate, "--save", str(cli.zuliprc))
    assert error == f"{cli.zuliprc} contains a different account."
    assert bot.api_key == old
    assert cli.succeed(*rotate, "--save", str(path)) == (
        f"{bot.email} has a new API key, saved to {path}. The old one is revoked."
    )
    assert loaded(path) == (bot.email, bot.api_key)
    assert bot.api_key != old
    assert cli.succeed(*rotate, "--show-key") == (
        f"{bot.email} has a new API key. The old one is revoked.\nAPI key: {bot.api_key}"
    )
    assert loaded(cli.zuliprc) == (USERNAME, key(server))


# ---- Bots


def test_bots(server: FakeZulip, cli: CLIRunner) -> None:
    log_in(cli, server)
    assert cli.succeed("bots") == "No active bots."
    emails = [server.add_bot(USERNAME, name).email for name in ("Helper", "Twin")]
    assert cli.succeed("bots").splitlines() == [f"{emails[0]}  Helper", f"{emails[1]}  Twin"]


def test_login_bot(server: FakeZulip, bot: Account, cli: CLIRunner) -> None:
    for name in ("Helper", bot.email):  # the file has the bot, not the owner, who logs in
        shown = log_in(cli, server, "--bot", name, "--password-stdin")
        assert shown.startswith(f"Logged in to {server.site} as {bot.email}")
    assert loaded(cli.zuliprc) == (bot.email, bot.api_key)
    assert ", bot)" in cli.succeed("whoami")


def test_login_unknown_bot(server: FakeZulip, bot: Account, cli: CLIRunner) -> None:
    login = ("login", server.site, USERNAME, "--dev", "--bot")
    message = cli.fail(64, *login, "hunter2")
    assert message.startswith("No bot of the account has that name. Available: ")
    assert bot.email in message
    server.add_bot(USERNAME, "Second").full_name = "Twin"
    message = cli.fail(64, *login, "Twin")
    assert message.startswith("Several bots have that name. Available: ")
    assert bot.email not in message
    assert not cli.zuliprc.exists()


# ---- TLS and paths


def test_cert_bundle(cli: CLIRunner, test_ca: trustme.CA) -> None:
    bundle = cli.path / "ca.pem"
    test_ca.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    test_ca.issue_cert("127.0.0.1").configure_cert(context)
    with FakeZulip(users={USERNAME: PASSWORD}, ssl_context=context) as server:
        message = cli.fail(69, "login", server.site, USERNAME, "--dev")
        assert "--cert-bundle, ZULIP_CERT_BUNDLE, or cert_bundle = PATH" in message
        log_in(cli, server, "--dev", "--cert-bundle", os.path.relpath(bundle))
        assert Credentials.load(cli.zuliprc).cert_bundle == str(bundle)
        cli.succeed("whoami")
        cli.succeed("logout")
        log_in(cli, server, "--dev", ZULIP_CERT_BUNDLE=str(bundle))
        cli.zuliprc.write_text(f"[api]\nsite = {server.site}\ncert_bundle = {bundle}\n")
        log_in(cli, server)
        bundle.unlink()
        assert "cert_bundle" in cli.fail(78, "whoami")


def test_deleted_working_directory(
    server: FakeZulip, cli: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = cli.path / "gone"
    directory.mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(directory)
        directory.rmdir()
        login = ("login", server.site, USERNAME, "--dev", "--cert-bundle", "ca.pem")
        assert cli.fail(64, *login) == "The working directory does not exist."
        log_in(cli, server)


def test_sso_handler(cli: CLIRunner) -> None:
    assert "No login in progress" in cli.fail(69, "sso-handler", "zulip://login?x")
    assert "--install or --uninstall" in cli.fail(64, "sso-handler")
    assert "xdg-mime not found" in cli.fail(64, "sso-handler", "--install", PATH=str(cli.path))
