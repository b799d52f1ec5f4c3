"""The command as a whole: a person at a terminal, its endings, and what it lets out."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import zulip_auth
from helpers.cli_runner import CLIRunner, TerminalSession
from helpers.constants import PASSWORD, USERNAME
from helpers.secret_scanner import SecretScanner
from zulip_auth import Credentials
from zulip_auth._cli import app, exit_codes, main
from zulip_auth.testing import ExternalMethod, FakeZulip

HAMLET = "hamlet@zulip.com"


# ---- A person at a terminal


def test_login_menu(server: FakeZulip, home: CLIRunner) -> None:
    """The username is known only after the menu, but before the password."""
    Credentials(server.site, HAMLET, "k3y").save(home.zuliprc)
    with home.session("login", server.site, NO_COLOR="1") as session:
        session.expect("  1  password\n  2  development login, without a password\n")
        session.expect("Choose [1-2]: ")
        session.send_line("3")
        session.expect("Enter a number from 1 to 2.\nChoose [1-2]: ")
        session.send_line("1")
        session.expect("Username: ")
        session.send_line(USERNAME)
        session.expect("different account. Use --overwrite")
        assert session.wait() == 78
    assert "Password" not in session.screen


def test_prompt_is_hidden(server: FakeZulip, home: CLIRunner) -> None:
    """A real terminal must not echo the input."""
    server.dev_login = "off"
    with home.session("login", server.site) as session:
        session.expect("Username: ")
        session.send_line(USERNAME)
        session.expect(f"Password for {USERNAME}: ")
        session.send_line(PASSWORD)
        session.expect(f"Logged in to {server.site} as {USERNAME}")
        assert session.wait() == 0
    SecretScanner(PASSWORD).check(session.screen, "the terminal")


def test_password_command_prompts(server: FakeZulip, home: CLIRunner) -> None:
    server.add_user(HAMLET, "hunter3")
    command = "sh -c 'read -p \"PIN: \" pin; echo hunter$pin'"
    argv = ("login", server.site, HAMLET, "--no-save", "--password-command", command)
    with home.session(*argv) as session:
        session.expect("PIN: ")
        session.send_line("3")
        session.expect("Logged in to")
        assert session.wait() == 0


# ---- How it ends

STATUS: dict[str, Any] = {"status_code": 400}
ENDINGS: dict[zulip_auth.ZulipAuthError, tuple[int, str]] = {
    zulip_auth.InsecureSiteError("No."): (
        64,
        "No, or pass --allow-http to send the password unencrypted.",
    ),
    zulip_auth.ConfigurationError("No."): (78, "No."),
    zulip_auth.TLSError("No.", sent=False): (
        69,
        "No. A private CA: --cert-bundle, ZULIP_CERT_BUNDLE, or cert_bundle = PATH.",
    ),
    zulip_auth.InvalidResponseError("No.", status_code=200): (76, "No."),
    zulip_auth.BadRequestError("No.", **STATUS, message="Tea only"): (
        64,
        "No. Server message: Tea only",
    ),
    zulip_auth.InvalidApiKeyError("No.", **STATUS, message="Tea only"): (77, "No."),
    zulip_auth.RateLimitedError("No.", **STATUS, retry_after=3.5): (75, "No."),
    zulip_auth.ServerError("No.", **STATUS): (69, "No."),
    zulip_auth.SSOFlowEndedError("No."): (75, "No."),
}


@pytest.mark.parametrize("error", ENDINGS, ids=lambda error: type(error).__name__)
def test_error(
    error: zulip_auth.ZulipAuthError, cli: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> str:
        raise error

    code, message = ENDINGS[error]
    monkeypatch.setattr(app, "_run", fail)
    assert cli.fail(code, "logout") == message
    code_again, out, err = cli.main("logout", "--json")
    assert (code_again, err) == (code, f"zulip-auth: {message}\n")
    assert json.loads(out) == {
        "error": type(error).__name__,
        "message": message,
        "exit_code": code,
        "code": None,
        "retry_after": getattr(error, "retry_after", None),
    }


@pytest.mark.parametrize(
    ("signum", "code", "message"),
    [(signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Terminated.")],
)
def test_signal(
    signum: int, code: int, message: str, cli: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = Mock()

    def interrupt(_: object) -> str:
        try:
            signal.raise_signal(signum)
        finally:
            signal.raise_signal(signum)
            cleaned()
        return "Done."

    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    monkeypatch.setattr(app, "_run", interrupt)
    assert cli.fail(code, "whoami") == message
    cleaned.assert_called_once()
    assert code in exit_codes.EXIT_CODES
    assert handlers == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    previous = signal.signal(signum, signal.SIG_IGN)  # as under nohup
    try:
        assert cli.succeed("whoami") == "Done."
    finally:
        signal.signal(signum, previous)


ENDINGS_OF_PROMPTS: dict[str, tuple[Callable[[TerminalSession], None], int, str]] = {
    "Ctrl-C": (lambda session: session.send("\x03"), 130, "Interrupted."),
    "Ctrl-D": (lambda session: session.send("\x04"), 64, ""),
    "SIGHUP": (lambda session: session.process.send_signal(signal.SIGHUP), 129, "Terminated."),
}


@pytest.mark.parametrize(
    ("option", "prompt", "ending"),
    [
        (USERNAME, f"Password for {USERNAME}: ", "Ctrl-C"),
        (USERNAME, f"Password for {USERNAME}: ", "Ctrl-D"),
        ("--sso", "Redirect URL: ", "SIGHUP"),
    ],
)
def test_prompt_ends(
    option: str, prompt: str, ending: str, server: FakeZulip, home: CLIRunner
) -> None:
    """The terminal and the home directory are as before, the message on a line of its own."""
    end, code, message = ENDINGS_OF_PROMPTS[ending]
    server.realm.external_methods.append(ExternalMethod("google", "Google"))
    # Ctrl-C would end a browser as well, which the command reports if it is in time.
    no_browser: Any = {"BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    with home.session("login", server.site, option, NO_COLOR="1", **no_browser) as session:
        assert session.is_echoing
        session.expect(prompt)
        assert not session.is_echoing
        end(session)
        assert session.wait() == code
        assert session.is_echoing
    last = session.screen.rpartition(prompt)[2]
    assert last.removeprefix("^C").startswith(f"\nzulip-auth: {message}")
    assert last.count("\n") == 2
    assert list(home.path.iterdir()) == []


def test_signal_during_request(home: CLIRunner) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        host, port = server.getsockname()
        argv = ("login", f"{host}:{port}", USERNAME, "--dev")
        with home.session(*argv) as session, closing(server.accept()[0]) as connection:
            assert connection.recv(65536)  # the command waits for the response
            session.process.terminate()
            assert session.wait() == 143, session.screen


# ---- What it lets out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_output(server: FakeZulip, cli: CLIRunner, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        open("/dev/full", "w") as full,  # noqa: PTH123
    ):
        patch.setattr(sys, "stdout", full)
        patch.setenv("HOME", str(cli.path))
        assert main(["login", server.site, USERNAME, "--dev"]) == 74
    assert capsys.readouterr().err == (
        "zulip-auth: Done, but could not write the output: No space left on device.\n"
    )
    assert cli.zuliprc.exists()


def test_warnings(server: FakeZulip, cli: CLIRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.succeed("login", server.site, USERNAME, "--dev")
    cli.zuliprc.chmod(0o644)
    code, _, err = cli.main("api-key")
    assert (code, err) == (
        0,
        f"zulip-auth: {cli.zuliprc} is readable by other users. Run: chmod 600 {cli.zuliprc}\n",
    )

    def warn(_: object) -> str:
        for _ in range(2):
            warnings.warn("Mind the gap.", stacklevel=1)
        warnings.warn("Not for users.", DeprecationWarning, stacklevel=1)
        return "Done."

    monkeypatch.setattr(app, "_run", warn)
    assert cli.main("whoami") == (0, "Done.\n", "zulip-auth: Mind the gap.\n")


@pytest.mark.usefixtures("measured_subprocesses")
def test_module() -> None:
    output = subprocess.check_output([sys.executable, "-m", "zulip_auth", "--version"], text=True)
    assert output == f"zulip-auth {zulip_auth.__version__}\n"
