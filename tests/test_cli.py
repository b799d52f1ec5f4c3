from __future__ import annotations

import asyncio
import getpass
import io
import json
import logging
import os
import pty
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import faults
import pytest
import wire
from leaks import Leaks

import zulip_auth
from zulip_auth import __main__, _cli
from zulip_auth.testing import FakeZulip

USERNAME, PASSWORD = "iago@zulip.com", "correct horse & battery=+%é"
COMMAND = Path(sys.executable).parent / "zulip-auth"


@pytest.fixture(scope="module")
def server() -> Iterator[FakeZulip]:
    with FakeZulip(users={USERNAME: PASSWORD}) as server:
        yield server


def run(*arguments: str, stdin: str | bytes = b"") -> tuple[int, str, str]:
    """Run the installed command, and return its exit code and what it wrote."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [COMMAND, *arguments], input=data, capture_output=True, start_new_session=True
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def key(server: FakeZulip) -> str:
    return server.account(USERNAME).api_key


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_it_says_who_logged_in_and_masks_the_key(server: FakeZulip, end: str) -> None:
    code, out, err = run("login", server.site, USERNAME, "--password-stdin", stdin=PASSWORD + end)
    assert (code, err) == (0, "")
    assert out == (
        f"Logged in to {server.site} as {USERNAME} (user 10).\n"
        "API key: ******** (--show-key shows it)\n"
    )


def test_it_shows_the_key_when_asked_to(server: FakeZulip) -> None:
    _, out, _ = run("login", server.site, USERNAME, "--dev", "--show-key")
    assert out.endswith(f"\nAPI key: {key(server)}\n")


def test_it_talks_to_machines(server: FakeZulip) -> None:
    code, out, _ = run("login", server.site, USERNAME, "--dev", "--json")
    assert code == 0
    assert json.loads(out) == {"site": server.site, "email": USERNAME, "user_id": 10}
    _, out, _ = run("login", server.site, USERNAME, "--dev", "--json", "--show-key")
    assert json.loads(out)["api_key"] == key(server)


def test_it_runs_as_a_module_and_names_itself_to_the_server(server: FakeZulip) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zulip_auth", "login", server.site, USERNAME, "--dev"],
        capture_output=True,
        check=True,
    )
    assert b"Logged in" in done.stdout
    agent = server.requests[-1].headers["user-agent"]
    assert agent == f"zulip-auth-cli zulip-auth/{zulip_auth.__version__}"


def test_a_refusal_is_one_line_and_exit_code_1(server: FakeZulip) -> None:
    code, out, err = run("login", server.site, USERNAME, "--password-stdin", stdin="a guess")
    assert (code, out) == (1, "")
    assert err.startswith("zulip-auth: ")
    assert "4 attempts are left." in err
    assert err.count("\n") == 1


def test_retries_are_said_on_standard_error() -> None:
    code, out, err = run("login", "127.0.0.1:1", USERNAME, "--dev")
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert len(lines) == 5
    assert lines[0].endswith("attempt 2 of 5.")
    assert lines[-1].startswith("zulip-auth: http://127.0.0.1:1 could not be reached")


BAD_INPUT = {
    "no command": ((), b""),
    "another command": (("logout",), b""),
    "no site": (("login",), b""),
    "no username": (("login", "localhost"), b""),
    "insecure site": (("login", "http://chat.example.com", USERNAME, "--dev"), b""),
    "malformed site": (("login", "not a site", USERNAME, "--dev"), b""),
    "empty username": (("login", "localhost", "", "--dev"), b""),
    "no password": (("login", "localhost", USERNAME, "--password-stdin"), b""),
    "an empty line": (("login", "localhost", USERNAME, "--password-stdin"), b"\n"),
    "two lines": (("login", "localhost", USERNAME, "--password-stdin"), b"hunter2\nhunter2\n"),
    "invalid UTF-8": (("login", "localhost", USERNAME, "--password-stdin"), b"hunter2\xff"),
    "no terminal": (("login", "localhost", USERNAME), b"hunter2"),
    "both ways": (("login", "localhost", USERNAME, "--dev", "--password-stdin"), b""),
    "a password as an argument": (("login", "localhost", USERNAME, "hunter2"), b""),
    "a password as an option": (("login", "localhost", USERNAME, "--password=hunter2"), b""),
    "a password behind an option": (("login", "localhost", USERNAME, "--dev=hunter2"), b""),
    "a password as an option's letters": (("login", "localhost", USERNAME, "-xhunter2"), b""),
    "a password as a command": (("hunter2",), b""),
    "an option cut short": (("login", "localhost", USERNAME, "--password"), b""),
}


@pytest.mark.parametrize(("arguments", "stdin"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], stdin: bytes) -> None:
    code, out, err = run(*arguments, stdin=stdin)
    assert (code, out) == (2, "")
    assert err.startswith("zulip-auth: ")
    assert err.count("\n") == 1
    assert "hunter2" not in err


def test_a_password_that_looks_like_a_call_for_help_is_not_repeated() -> None:
    _, out, err = run("login", "localhost", USERNAME, "-hunter2")  # newer Pythons do help
    assert "unter2" not in out + err


def test_no_option_takes_a_password() -> None:
    _, out, _ = run("login", "--help")
    options = [word.strip("[],") for word in out.split() if word.startswith(("-", "[-"))]
    assert set(options) == {
        *("-h", "--help", "--password-stdin", "--dev", "--json", "--show-key"),
    }
    assert "--password-stdin " in out  # and nothing behind it


def test_it_knows_its_version() -> None:
    assert run("--version") == (0, f"zulip-auth {zulip_auth.__version__}\n", "")


def test_the_password_is_asked_for_without_echo(server: FakeZulip) -> None:
    """On a real terminal: what is typed must not come back on it."""
    master, slave = pty.openpty()
    on_the_terminal = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", on_the_terminal, str(COMMAND), "login", server.site, USERNAME]
    process = subprocess.Popen(command, stdin=slave)
    os.close(slave)
    shown = b""
    while b"Password of iago@zulip.com: " not in shown:
        shown += os.read(master, 1024)
    os.write(master, PASSWORD.encode() + b"\n")
    while True:
        try:
            data = os.read(master, 1024)
        except OSError:  # how Linux says that the other side is gone
            break
        if not data:
            break
        shown += data
    os.close(master)
    assert process.wait(10) == 0
    assert b"Logged in to" in shown
    assert b"horse" not in shown


# ---- What it lets out


def arguments_of(pid: int) -> str:
    """Return what everyone on the machine can see of a process."""
    arguments = ""
    while COMMAND.name not in arguments:  # until it is that program
        arguments = Path(f"/proc/{pid}/cmdline").read_text()
    return arguments


HOSTILE = {
    "success": wire.succeed,
    "words": faults.echo_as_message(401),
    "page": faults.echo_as_html,
    "redirect": faults.echo_as_location,
    "garbage": faults.garbage_with_the_password,
    "malformed success": faults.echo_in_a_malformed_success,
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_nothing_secret_is_written_and_no_argument_is_secret(name: str) -> None:
    async with wire.WireServer(HOSTILE[name]) as server:
        process = await asyncio.create_subprocess_exec(
            *(COMMAND, "login", server.site, USERNAME, "--password-stdin"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        arguments = arguments_of(process.pid)
        out, err = await process.communicate(PASSWORD.encode())
    assert process.returncode == (0 if name == "success" else 1)
    assert out or err.count(b"\n") == 1
    leaks = Leaks(PASSWORD, wire.API_KEY)
    for where, text in (("stdout", out), ("stderr", err)):
        leaks.check(text.decode(), where)
    leaks.check(arguments, "the process's arguments")
    assert USERNAME in arguments


# ---- In this process, for what cannot be had otherwise


def test_ctrl_c_is_one_line_and_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(getpass, "getpass", interrupt)
    assert _cli.main(["login", "localhost", USERNAME]) == 130
    assert capsys.readouterr() == ("", "\nzulip-auth: Interrupted.\n")


def test_a_terminal_that_would_echo_is_not_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(prompt: str) -> str:
        warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, 2)
        raise AssertionError("it went on to read")

    monkeypatch.setattr(getpass, "getpass", warn)
    assert _cli.main(["login", "localhost", USERNAME]) == 2
    assert "Use --password-stdin." in capsys.readouterr().err


@pytest.mark.parametrize("way", ["--dev", "--password-stdin"])
def test_the_same_in_this_process(
    way: str,
    server: FakeZulip,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(PASSWORD.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert _cli.main(["login", server.site, USERNAME, way]) == 0
    assert "Logged in" in capsys.readouterr().out


ENDINGS: dict[str, tuple[object, int]] = {
    "credentials": (zulip_auth.Credentials("https://chat.example.com", USERNAME, "key"), 0),
    "refused": (zulip_auth.AuthenticationFailedError("No.", status_code=401), 1),
    "not reached": (zulip_auth.APIConnectionError("No.", sent=False), 1),
    "bad input": (zulip_auth.InvalidInputError("No."), 2),
}


@pytest.mark.parametrize(("ending", "code"), ENDINGS.values(), ids=ENDINGS)
def test_each_ending_has_its_exit_code(
    ending: object, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def log_in(options: object) -> object:
        if isinstance(ending, Exception):
            raise ending
        return ending

    # CPython 3.11 does not trace a function any further once it has called
    # asyncio.run, so that what follows would count as not covered.
    monkeypatch.setattr(_cli, "_log_in", log_in)
    assert _cli.main(["login", "localhost", USERNAME]) == code


def test_a_closed_standard_input_is_bad_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert _cli.main(["login", "localhost", USERNAME, "--password-stdin"]) == 2
    assert capsys.readouterr().err == "zulip-auth: Standard input is closed.\n"


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (EOFError(), "No password was given."),
        (UnicodeDecodeError("utf-8", b"hunter2\xff", 7, 8, "x"), "not written in UTF-8"),
    ],
)
def test_what_is_typed_may_be_no_password(
    trouble: Exception,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def typed(prompt: str) -> str:
        raise trouble

    monkeypatch.setattr(getpass, "getpass", typed)
    assert _cli.main(["login", "localhost", USERNAME]) == 2
    assert words in capsys.readouterr().err


def test_an_output_that_cannot_write_the_address_gets_it_escaped(server: FakeZulip) -> None:
    server.add_user("é@zulip.com", PASSWORD)
    done = subprocess.run(
        [COMMAND, "login", server.site, "é@zulip.com", "--dev"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0
    assert b"as \\xe9@zulip.com" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_output_that_is_full_is_one_line_and_exit_code_1(server: FakeZulip) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [COMMAND, "login", server.site, USERNAME, "--dev"], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert done.stderr == b"zulip-auth: Logged in, but cannot say so: No space left on device.\n"


class Broken(io.StringIO):
    """An output that fails in one way or another."""

    encoding = "ascii"

    def __init__(self, trouble: Exception) -> None:
        super().__init__()
        self._troubles = [trouble]

    def write(self, text: str, /) -> int:
        if self._troubles and text.strip():
            raise self._troubles.pop()
        return super().write(text)


def test_the_same_in_this_process_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = Broken(UnicodeEncodeError("ascii", "é", 0, 1, "x"))
    monkeypatch.setattr(sys, "stdout", odd)
    assert _cli._write("é") == 0
    assert odd.getvalue() == "\\xe9\n"
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError(32, "Broken pipe")))
    assert _cli._write("é") == 1


def test_the_module_is_the_command() -> None:
    assert __main__.main is _cli.main


def test_a_server_that_does_not_give_the_user_id() -> None:
    credentials = zulip_auth.Credentials("https://chat.example.com", USERNAME, "key")
    options = _cli._parse(["login", "localhost", USERNAME])
    assert _cli._describe(credentials, options).startswith(
        "Logged in to https://chat.example.com as iago@zulip.com.\n"
    )


def test_the_log_has_one_handler_however_often_it_runs() -> None:
    for _ in range(2):
        _cli.main(["login", "not a site", USERNAME, "--dev"])
    assert len(logging.getLogger("zulip_auth").handlers) == 1
