"""The command as a whole: its endings, and what it lets out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

import zulip_auth
from helpers import faults, raw_server
from helpers.cli_runner import COMMAND, CLIRunner
from helpers.constants import API_KEY, PASSWORD, USERNAME
from helpers.secret_scanner import SecretScanner
from zulip_auth import __main__, _cli
from zulip_auth._cli import commands, output
from zulip_auth.testing import FakeZulip


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
    assert __main__.main is _cli.main


def test_wrong_password(server: FakeZulip, home: CLIRunner) -> None:
    code, out, err = home.run("login", server.site, USERNAME, "--password-stdin", stdin="a guess")
    assert (code, out) == (77, "")
    assert err.startswith("zulip-auth: ")
    assert "4 attempts remaining." in err
    assert err.count("\n") == 1


def test_retries_on_stderr(home: CLIRunner) -> None:
    code, out, err = home.run("login", "127.0.0.1:1", USERNAME, "--dev")
    assert (code, out) == (69, "")
    lines = err.splitlines()
    assert len(lines) == 5
    assert lines[0].endswith("attempt 2 of 5).")
    assert lines[-1].startswith("zulip-auth: Could not connect to http://127.0.0.1:1")


# ---- How it ends

STATUS: dict[str, Any] = {"status_code": 400}
ENDINGS: dict[type[zulip_auth.ZulipAuthError], tuple[dict[str, Any], int]] = {
    zulip_auth.InvalidInputError: ({}, 64),
    zulip_auth.InvalidSiteError: ({}, 64),
    zulip_auth.InsecureSiteError: ({}, 64),
    zulip_auth.ConfigurationError: ({}, 78),
    zulip_auth.CredentialStoreError: ({}, 78),
    zulip_auth.ZuliprcError: ({}, 78),
    zulip_auth.NotLoggedInError: ({}, 78),
    zulip_auth.KeyringError: ({}, 78),
    zulip_auth.APIConnectionError: ({"sent": False}, 69),
    zulip_auth.APITimeoutError: ({"sent": True}, 69),
    zulip_auth.TLSError: ({"sent": False}, 69),
    zulip_auth.InvalidResponseError: ({"status_code": 200}, 76),
    zulip_auth.APIStatusError: (STATUS, 77),
    zulip_auth.BadRequestError: (STATUS, 77),
    zulip_auth.AuthenticationFailedError: (STATUS, 77),
    zulip_auth.UserDeactivatedError: (STATUS, 77),
    zulip_auth.RealmDeactivatedError: (STATUS, 77),
    zulip_auth.PasswordAuthDisabledError: (STATUS, 77),
    zulip_auth.PasswordResetRequiredError: (STATUS, 77),
    zulip_auth.InvalidApiKeyError: (STATUS, 77),
    zulip_auth.InvalidSubdomainError: (STATUS, 77),
    zulip_auth.SubdomainRequiredError: (STATUS, 77),
    zulip_auth.DevAuthDisabledError: (STATUS, 77),
    zulip_auth.RateLimitedError: (STATUS, 75),
    zulip_auth.ServerError: (STATUS, 69),
    zulip_auth.SSOFlowEndedError: ({}, 75),
}


def test_exit_code_table_is_complete() -> None:
    errors = {getattr(zulip_auth, name) for name in zulip_auth.__all__ if name.endswith("Error")}
    assert ENDINGS.keys() == errors - {zulip_auth.ZulipAuthError}


@pytest.mark.parametrize("kind", ENDINGS)
def test_exit_code_of_error(
    kind: type[zulip_auth.ZulipAuthError],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, code = ENDINGS[kind]

    def fail(_: object) -> str:
        raise kind("No.", **arguments)

    monkeypatch.setattr(_cli, "run", fail)
    assert _cli.main(["logout"]) == code
    assert capsys.readouterr() == ("", "zulip-auth: No.\n")


def test_keyboard_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(_cli, "run", interrupt)
    assert _cli.main(["whoami"]) == 130
    assert capsys.readouterr() == ("", "\nzulip-auth: Interrupted.\n")


@pytest.mark.parametrize(("problem", "code"), [(None, 0), ("No space left on device", 74)])
def test_output_error(
    problem: str | None,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_cli, "run", lambda _: "Done.")
    monkeypatch.setattr(output, "print_output", lambda _: problem)
    assert _cli.main(["logout"]) == code
    said = f"zulip-auth: Done, but could not write the output: {problem}.\n" if problem else ""
    assert capsys.readouterr().err == said


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
    server.add_user("é@zulip.com", PASSWORD)
    code, out, _ = home.run("login", server.site, "é@zulip.com", "--dev", PYTHONIOENCODING="ascii")
    assert code == 0
    assert "as \\xe9@zulip.com" in out


def test_warning_is_one_line(home: CLIRunner, server: FakeZulip) -> None:
    home.run("login", server.site, USERNAME, "--dev")
    home.zuliprc.chmod(0o644)
    code, _, err = home.run("whoami")
    assert code == 0
    assert err.splitlines()[0] == (
        f"zulip-auth: Others than the owner of {home.zuliprc} may read it. "
        f"Take that from them: chmod 600 {home.zuliprc}"
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


def test_command_table() -> None:
    assert commands.COMMANDS.keys() == {
        *("login", "whoami", "logout", "sso-handler", "completion"),
    }
