from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keyring
import pytest
import trustme
import zulip

from helpers.cli_runner import CLIRunner, InMemoryKeyring
from helpers.constants import PASSWORD, USERNAME
from helpers.errors import error_message
from zulip_auth import (
    APIConnectionError,
    AuthClient,
    Credentials,
    ExternalMethod,
    InvalidApiKeyError,
    InvalidInputError,
    InvalidSiteError,
    ZuliprcError,
)
from zulip_auth._cli import commands
from zulip_auth._cli.commands import _format_login, run
from zulip_auth._cli.parser import parse
from zulip_auth.testing import ExternalMethod as FakeMethod
from zulip_auth.testing import FakeZulip


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
    return run(parse(arguments))


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
    told = json.loads(do("login", server.site, USERNAME, "--dev", "--json"))
    assert told == {
        "site": server.site,
        "email": USERNAME,
        "user_id": 10,
        "config": str(home.zuliprc),
    }
    told = json.loads(
        do("login", server.site, USERNAME, "--dev", "--json", "--no-save", "--show-key")
    )
    assert (told["config"], told["api_key"]) == (None, key(server))


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
    assert "path" in run_error(ZuliprcError, "login", "localhost", "x", "--config", "~nobody-x/y")


def test_login_without_user_id() -> None:
    credentials = Credentials("https://chat.example.com", USERNAME, "key")
    options = parse(["login", "localhost", USERNAME])
    assert _format_login(credentials, None, options).startswith(
        "Logged in to https://chat.example.com as iago@zulip.com.\n"
    )


# ---- The keyring


def test_login_keyring(server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring) -> None:
    told = do("login", server.site, USERNAME, "--dev", "--keyring")
    assert told.endswith(
        f"API key saved to the system keyring (account details in {home.zuliprc})."
    )
    assert key(server) not in home.zuliprc.read_text()
    assert list(memory.entries.values()) == [key(server)]
    assert "The API key is valid." in do("whoami")
    assert "from the system keyring" in do("logout")
    assert not memory.entries
    assert do("logout") == f"No API key in {home.zuliprc}."
    assert "no key" in run_error(ZuliprcError, "whoami")


def test_login_locked_keyring(
    server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise RuntimeError("locked")

    monkeypatch.setattr(memory, "set_password", locked)
    assert "RuntimeError" in run_error(
        ZuliprcError, "login", server.site, USERNAME, "--dev", "--keyring"
    )
    assert key(server) not in home.zuliprc.read_text()
    assert keyring.get_keyring() is memory


def test_keyring_key_of_other_site(
    server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    do("login", server.site, USERNAME, "--dev", "--keyring")
    with FakeZulip() as other:
        monkeypatch.setenv("ZULIP_SITE", other.site)
        assert "no key" in run_error(ZuliprcError, "whoami")
        assert not other.requests


def test_logout_of_file_and_keyring(
    server: FakeZulip, home: CLIRunner, memory: InMemoryKeyring
) -> None:
    do("login", server.site, USERNAME, "--dev", "--keyring")
    do("login", server.site, USERNAME, "--dev")
    told = do("logout").splitlines()[0]
    assert told == f"Removed the API key from {home.zuliprc} and the system keyring."
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
        f"Iago <{USERNAME}> (user 10, administrator) at {server.site}.\nThe API key is valid."
    )
    assert json.loads(do("whoami", "--json")) == {
        "site": server.site,
        "email": USERNAME,
        "user_id": 10,
        "full_name": "Iago",
        "role": 200,
        "is_bot": False,
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
    assert "no site" in run_error(ZuliprcError, "whoami")
    assert USERNAME in do("whoami", "--config", str(other))
    monkeypatch.setenv("ZULIP_API_KEY", "x" * 32)
    run_error(InvalidApiKeyError, "whoami", "--config", str(other))
    monkeypatch.setenv("ZULIP_SITE", server.site)
    monkeypatch.setenv("ZULIP_EMAIL", USERNAME)
    monkeypatch.setenv("ZULIP_API_KEY", key(server))
    assert USERNAME in do("whoami")


def test_whoami_cert_bundle(home: CLIRunner, server: FakeZulip) -> None:
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
    told = do("logout")
    assert told.splitlines()[0] == f"Removed the API key from {home.zuliprc}."
    assert "The key is still valid. To revoke it, " in told
    assert key(server) not in home.zuliprc.read_text()
    assert USERNAME in home.zuliprc.read_text()
    do("login", server.site, USERNAME, "--dev")
    assert Credentials.load().api_key == key(server)


def test_logout_without_file(home: CLIRunner) -> None:
    assert "No such file" in run_error(ZuliprcError, "logout")


def test_logout_without_account_or_key(home: CLIRunner) -> None:
    home.zuliprc.write_text("[api]\ncolour = red\n")
    home.zuliprc.chmod(0o600)
    assert do("logout") == f"No API key in {home.zuliprc}."


# ---- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_script(shell: str) -> None:
    script = do("completion", shell)
    for word in ("whoami", "password-command"):
        assert word in script


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_completion(tmp_path: Path) -> None:
    script = tmp_path / "completion.sh"
    script.write_text(do("completion", "bash"))
    asking = (
        f"source {script}; COMP_WORDS=(zulip-auth who); COMP_CWORD=1; "
        "$(complete -p zulip-auth | sed 's/.*-F \\([^ ]*\\).*/\\1/') zulip-auth who zulip-auth; "
        "echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", asking], capture_output=True, text=True)
    assert done.stdout.strip() == "whoami"


def test_completion_missing_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    text = run_error(InvalidInputError, "completion", "bash")
    assert text.endswith("pip install 'zulip-auth[completion]'")


# ---- Which way in


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
    assert "something else" in run_error(ZuliprcError, "login", server.site, "--sso")


# ---- The handler


def test_sso_handler_command(monkeypatch: pytest.MonkeyPatch, home: CLIRunner) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert "No login in progress" in run_error(APIConnectionError, "sso-handler", "zulip://login?x")
    assert "--install or --uninstall" in run_error(InvalidInputError, "sso-handler")
    assert do("sso-handler", "--uninstall") == "The handler is not installed."
    monkeypatch.setenv("PATH", str(home.path))
    assert "xdg-mime not found" in run_error(InvalidInputError, "sso-handler", "--install")
