"""The command as a whole: its endings, and what it lets out."""

from __future__ import annotations

import asyncio
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

import pytest

import zulip_auth
from helpers import faults, raw_server
from helpers.cli_runner import COMMAND, CLIRunner, TerminalSession
from helpers.constants import API_KEY, PASSWORD, USERNAME
from helpers.secret_scanner import SecretScanner
from zulip_auth import _cli
from zulip_auth._cli import app, exit_codes, output
from zulip_auth.testing import ExternalMethod, FakeZulip


def test_run_as_module(server: FakeZulip, home: CLIRunner) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zulip_auth", "login", server.site, USERNAME, "--dev"],
        capture_output=True,
        check=True,
        env=home.environment(),
    )
    assert b"Logged in" in done.stdout
    agent = server.requests[-1].headers["user-agent"]
    assert agent == f"zulip-auth-cli zulip-auth/{zulip_auth.__version__}"


@pytest.mark.usefixtures("measured_subprocesses")
def test_wrong_password(server: FakeZulip, home: CLIRunner) -> None:
    code, out, err = home.run("login", server.site, USERNAME, "--password-stdin", stdin="a guess")
    assert (code, out) == (77, "")
    assert err.startswith("zulip-auth: ")
    assert "4 attempts remaining." in err
    assert err.count("\n") == 1


# ---- How it ends

STATUS: dict[str, Any] = {"status_code": 400}
ENDINGS: dict[type[zulip_auth.ZulipAuthError], tuple[dict[str, Any], int]] = {
    zulip_auth.InsecureSiteError: ({}, 64),
    zulip_auth.ConfigurationError: ({}, 78),
    zulip_auth.NotLoggedInError: ({}, 78),
    zulip_auth.TLSError: ({"sent": False}, 69),
    zulip_auth.InvalidResponseError: ({"status_code": 200}, 76),
    zulip_auth.BadRequestError: (STATUS, 64),
    zulip_auth.UserDeactivatedError: (STATUS, 77),
    zulip_auth.RateLimitedError: (STATUS, 75),
    zulip_auth.ServerError: (STATUS, 69),
    zulip_auth.SSOFlowEndedError: ({}, 75),
}


@pytest.mark.parametrize("kind", ENDINGS)
def test_exit_code_of_error(
    kind: type[zulip_auth.ZulipAuthError],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, code = ENDINGS[kind]

    def fail(_: object) -> str:
        raise kind("No.", **arguments)

    monkeypatch.setattr(app, "_run", fail)
    assert _cli.main(["logout"]) == code
    out, err = capsys.readouterr()
    hint = f" {app._HINTS[kind]}" if kind in app._HINTS else ""
    if kind is zulip_auth.InsecureSiteError:
        hint = ", or pass --allow-http to send the password unencrypted."
    assert (out, err) == ("", f"zulip-auth: No.{hint}\n".replace(".,", ","))
    assert _cli.main(["logout", "--json"]) == code
    out, err_again = capsys.readouterr()
    assert err_again == err
    printed = json.loads(out)
    assert {k: printed[k] for k in ("error", "message", "exit_code")} == {
        "error": kind.__name__,
        "message": err.removeprefix("zulip-auth: ").removesuffix("\n"),
        "exit_code": code,
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
    signum: int,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    def interrupt(_: object) -> str:
        signal.raise_signal(signum)
        raise AssertionError

    monkeypatch.setattr(app, "_run", interrupt)
    assert _cli.main(["whoami"]) == code
    assert capsys.readouterr() == ("", f"zulip-auth: {message}\n")
    assert code in exit_codes.EXIT_CODES
    assert handlers == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


def test_ignored_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command goes on under nohup."""

    def hang_up(_: object) -> str:
        signal.raise_signal(signal.SIGHUP)
        return "Done."

    saved = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(app, "_run", hang_up)
        assert _cli.main(["whoami"]) == 0
    finally:
        signal.signal(signal.SIGHUP, saved)


PROMPTS: dict[str, tuple[tuple[str, ...], str]] = {
    "password": ((USERNAME,), f"Password for {USERNAME}: "),
    "API key": ((USERNAME, "--api-key-stdin"), f"API key for {USERNAME}: "),
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
        *((name, "Ctrl-C") for name in PROMPTS),
        *(("password", ending) for ending in ENDINGS_OF_PROMPTS if ending != "Ctrl-C"),
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
        assert session.is_echoing == (prompt == "Choose [1-3]: ")
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
            assert session.wait() == 128 + signum


# ---- Output


@pytest.mark.parametrize(("error", "code"), [(None, 0), ("No space left on device", 74)])
def test_output_error(
    error: str | None,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def print_output(_: str) -> None:
        if error:
            raise output.OutputError(error)

    monkeypatch.setattr(app, "_run", lambda _: "Done.")
    monkeypatch.setattr(output, "print_output", print_output)
    assert _cli.main(["logout"]) == code
    message = f"zulip-auth: Done, but could not write the output: {error}.\n" if error else ""
    assert capsys.readouterr().err == message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_output(server: FakeZulip, home: CLIRunner) -> None:
    with Path("/dev/full").open("wb") as full:
        command: list[str | Path] = [COMMAND, "login", server.site, USERNAME, "--dev"]
        done = subprocess.run(command, stdout=full, stderr=PIPE, env=home.environment())
    assert done.returncode == 74
    assert done.stderr == (
        b"zulip-auth: Done, but could not write the output: No space left on device.\n"
    )


def test_ascii_output(server: FakeZulip, home: CLIRunner) -> None:
    server.add_user("iago@é.com", PASSWORD)
    code, out, _ = home.run("login", server.site, "iago@é.com", "--dev", PYTHONIOENCODING="ascii")
    assert code == 0
    assert "as iago@\\xe9.com" in out


def test_warning_is_one_line(home: CLIRunner, server: FakeZulip) -> None:
    home.run("login", server.site, USERNAME, "--dev")
    home.zuliprc.chmod(0o644)
    code, _, err = home.run("whoami")
    assert code == 0
    assert err.splitlines()[0] == (
        f"zulip-auth: {home.zuliprc} is readable by other users. Run: chmod 600 {home.zuliprc}"
    )
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


# ---- What it lets out


def arguments_of(pid: int) -> str:
    """Return what everyone on the machine can see of a process."""
    arguments = ""
    while COMMAND.name not in arguments:  # until it is that program
        arguments = Path(f"/proc/{pid}/cmdline").read_text()
    return arguments


HOSTILE = {
    "success": (raw_server.succeed, 0),
    "words": (faults.echo_as_message(401), 77),
    "page": (faults.echo_as_html, 76),
    "redirect": (faults.echo_as_location, 76),
    "garbage": (faults.garbage_with_the_password, 76),
    "malformed success": (faults.echo_in_a_malformed_success, 76),
}


@pytest.mark.parametrize(("scenario", "code"), HOSTILE.values(), ids=HOSTILE)
async def test_secrets_are_not_printed(
    scenario: raw_server.Scenario, code: int, home: CLIRunner
) -> None:
    async with raw_server.ScriptedServer(scenario) as server:
        process = await asyncio.create_subprocess_exec(
            *(COMMAND, "login", server.site, USERNAME, "--password-stdin"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=home.environment(),
        )
        arguments = arguments_of(process.pid)
        out, err = await process.communicate(PASSWORD.encode())
    assert process.returncode == code
    assert out or err.count(b"\n") == 1
    leaks = SecretScanner(PASSWORD, API_KEY)
    for where, text in (("stdout", out), ("stderr", err)):
        leaks.check(text.decode(), where)
    leaks.check(arguments, "the process's arguments")
    assert USERNAME in arguments
    assert home.zuliprc.exists() == (code == 0)


# ---- Errors


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (zulip_auth.APIStatusError("No.", **STATUS, message="Tea\u202eonly"), "Tea?only"),
        (zulip_auth.BadRequestError("No.", **STATUS, message="Tea only"), "Tea only"),
        (zulip_auth.BadRequestError("No.", **STATUS), None),
        (zulip_auth.InvalidApiKeyError("No.", **STATUS, message="Tea only"), None),
    ],
)
def test_server_message(
    error: Exception,
    text: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> str:
        raise error

    monkeypatch.setattr(app, "_run", fail)
    _cli.main(["whoami"])
    suffix = f" Server message: {text}" if text else ""
    assert capsys.readouterr().err == f"zulip-auth: No.{suffix}\n"


def test_each_warning_is_shown_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(_: object) -> str:
        for _ in range(2):
            warnings.warn("Mind the gap.", stacklevel=1)
        warnings.warn("Not for users.", DeprecationWarning, stacklevel=1)
        return "Done."

    monkeypatch.setattr(app, "_run", warn)
    assert _cli.main(["whoami"]) == 0
    assert capsys.readouterr() == ("Done.\n", "zulip-auth: Mind the gap.\n")


# ---- Imports

FAST = {
    "--version": 0,
    "login --dev --sso localhost": 64,
}


@pytest.mark.parametrize(("argv", "code"), FAST.items(), ids=FAST)
def test_fast_commands_import_little(argv: str, code: int) -> None:
    script = f"""
import sys, zulip_auth._cli
try:
    code = zulip_auth._cli.main({argv.split()!r})
except SystemExit as exit_:
    code = exit_.code or 0
print(code, *{{"asyncio", "httpx", "zulip_auth_client"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == str(code)
