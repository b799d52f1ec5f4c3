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
from subprocess import PIPE
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import pytest

import zulip_auth
from helpers.cli_runner import CLIRunner, TerminalSession
from helpers.constants import API_KEY, AUTH_FAILED, PASSWORD, SUCCESS, USERNAME
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
    zulip_auth.NotLoggedInError("No."): (78, "No."),
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
    zulip_auth.UserDeactivatedError("No.", **STATUS): (77, "No."),
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
    fields = {"error": type(error).__name__, "message": message, "exit_code": code}
    assert json.loads(out) == {
        **fields,
        "code": None,
        "retry_after": getattr(error, "retry_after", None),
    }


@pytest.mark.parametrize(
    ("signum", "code", "message"),
    [
        (signal.SIGINT, 130, "Interrupted."),
        (signal.SIGTERM, 143, "Terminated."),
        (signal.SIGHUP, 129, "Terminated."),
    ],
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


PROMPTS: dict[str, tuple[tuple[str, ...], str]] = {
    "password": ((USERNAME,), f"Password for {USERNAME}: "),
    "menu": ((), "Choose [1-3]: "),
    "browser": (("--sso",), "Redirect URL: "),
}
ENDINGS_OF_PROMPTS: dict[str, tuple[Callable[[TerminalSession], None], int, str]] = {
    "Ctrl-C": (lambda session: session.send("\x03"), 130, "Interrupted."),
    "SIGTERM": (lambda session: session.process.terminate(), 143, "Terminated."),
    "SIGHUP": (lambda session: session.process.send_signal(signal.SIGHUP), 129, "Terminated."),
    "Ctrl-D": (lambda session: session.send("\x04"), 64, ""),
}


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("password", "Ctrl-C"),
        ("password", "SIGTERM"),
        ("password", "Ctrl-D"),
        ("menu", "Ctrl-C"),
        ("browser", "SIGHUP"),
    ],
)
def test_prompt_ends(name: str, ending: str, server: FakeZulip, home: CLIRunner) -> None:
    """The terminal and the home directory are as before, the message on a line of its own."""
    argv, prompt = PROMPTS[name]
    end, code, message = ENDINGS_OF_PROMPTS[ending]
    server.realm.external_methods.append(ExternalMethod("google", "Google"))
    # Ctrl-C would end a browser as well, which the command reports if it is in time.
    no_browser: Any = {"BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    with home.session("login", server.site, *argv, NO_COLOR="1", **no_browser) as session:
        assert session.is_echoing
        session.expect(prompt)
        assert session.is_echoing == (name == "menu")
        end(session)
        assert session.wait() == code
        assert session.is_echoing
    last = session.screen.rpartition(prompt)[2]
    assert last.removeprefix("^C").startswith(f"\nzulip-auth: {message}")
    assert last.count("\n") == 2
    assert list(home.path.iterdir()) == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_signal_during_request(signum: signal.Signals, home: CLIRunner) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        host, port = server.getsockname()
        argv = ("login", f"{host}:{port}", USERNAME, "--dev")
        with home.session(*argv) as session, closing(server.accept()[0]) as connection:
            assert connection.recv(65536)  # the command waits for the response
            session.process.send_signal(signum)
            assert session.wait() == 128 + signum, session.screen


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
def test_process_shows_no_secret(server: FakeZulip, home: CLIRunner) -> None:
    command = [sys.executable, "-m", "zulip_auth", "login", server.site, USERNAME]
    with subprocess.Popen(
        [*command, "--password-stdin"], stdin=PIPE, stdout=PIPE, env=home.environment()
    ) as process:
        arguments = ""
        while USERNAME not in arguments:  # until it is that program
            arguments = Path(f"/proc/{process.pid}/cmdline").read_text()
        out, _ = process.communicate(PASSWORD.encode())
    assert process.returncode == 0
    for text in (arguments, out.decode()):
        SecretScanner(PASSWORD, server.account(USERNAME).api_key).check(text, "the process")


HOSTILE: dict[str, tuple[dict[str, Any], int]] = {
    "words": ({"status": 401, "json": {**AUTH_FAILED, "msg": PASSWORD}}, 77),
    "page": ({"status": 500, "body": f"<html>{PASSWORD}"}, 69),
    "redirect": ({"status": 302, "headers": {"Location": f"/{quote(PASSWORD)}"}}, 76),
    "malformed success": ({"json": {**SUCCESS, "email": [PASSWORD]}}, 76),
}


@pytest.mark.parametrize(("response", "code"), HOSTILE.values(), ids=HOSTILE)
def test_server_repeats_password(
    response: dict[str, Any], code: int, server: FakeZulip, cli: CLIRunner
) -> None:
    server.fail_next("/api/v1/fetch_api_key", times=9, **response)
    login = ("login", server.site, USERNAME, "--password-stdin", "--timeout", "2")
    ended, out, err = cli.main(*login, stdin=PASSWORD)
    assert (ended, out) == (code, "")
    SecretScanner(PASSWORD, API_KEY).check(err, "standard error")
    assert not cli.zuliprc.exists()
