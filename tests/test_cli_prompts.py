from __future__ import annotations

import argparse
import getpass
import io
import sys
import warnings

import pytest

from helpers.cli_runner import FakeTTY
from helpers.constants import PASSWORD, USERNAME
from helpers.errors import error_message
from zulip_auth._cli.prompts import prompt, read_password


def read(
    *,
    stdin: bool = False,
    command: str | None = None,
    api_key: bool = False,
    timeout: float | None = None,
) -> str:
    options = argparse.Namespace(
        password_stdin=stdin, password_command=command, api_key_stdin=api_key, timeout=timeout
    )
    return read_password(options, USERNAME)


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# ---- Standard input


def test_password_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    for end in (b"", b"\n", b"\r\n"):
        piped(monkeypatch, PASSWORD.encode() + end)
        assert read(stdin=True) == PASSWORD
    piped(monkeypatch, b"k3y\n")
    assert read(api_key=True) == "k3y"


def test_password_stdin_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    def error() -> str:
        return error_message(lambda: read(stdin=True), secrets=("hunter2",))

    piped(monkeypatch, b"hunter2\xff")
    assert error() == "The password is not valid UTF-8."
    monkeypatch.setattr(sys, "stdin", FakeTTY("hunter2\n"))
    assert error() == "Omit --password-stdin to be prompted."
    monkeypatch.setattr(sys, "stdin", None)
    assert error() == "Standard input is closed."


# ---- A command


@pytest.mark.parametrize(
    ("command", "password"),
    [
        ("printf 'hunter3\\r\\nuser: iago\\n'", "hunter3"),
        ("printf '%s' 'a|b > c; d & e < f `g` $HOME'", "a|b > c; d & e < f `g` $HOME"),
        ('printf %s "a|b > c; d & e \\" f"', 'a|b > c; d & e " f'),
        ("""printf %s "it's" """, "it's"),
        ("sh -c 'echo hunter3 | tr 3 4'", "hunter4"),
    ],
)
def test_password_command(command: str, password: str) -> None:
    assert read(command=command) == password


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("sh -c 'echo hunter2; exit 3'", "exited with status 3"),
        ("no-such-command hunter2", "could not be started"),
        ("'hunter2", "could not be started"),
        ("a\0b", "could not be started"),
        ("sh -c 'echo hunter2; exec sleep 60'", "still running after 0.2 seconds"),
    ],
)
def test_password_command_fails(command: str, reason: str) -> None:
    """The command is not repeated, since it may be the password itself."""
    message = error_message(lambda: read(command=command, timeout=0.2), secrets=("hunter2",))
    assert message == f"Password command failed: {reason}."


@pytest.mark.parametrize(
    "command",
    [
        "pass zulip | head -1",
        'echo "$PASSWORD"',
        'echo "\\$PASSWORD"',  # without a shell, the backslash stays
        'echo "`cat password`"',
        "echo hunter2\necho hunter3",
    ],
)
def test_password_command_with_shell_syntax(command: str) -> None:
    message = error_message(lambda: read(command=command), secrets=("hunter2",))
    assert message == "--password-command uses no shell: use sh -c '…'"


# ---- A prompt. tests/test_cli.py has those of a real terminal.


def test_prompt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", FakeTTY("\n \n iago@zulip.com \nmore\n"))
    assert prompt("Username: ") == "iago@zulip.com"
    assert capsys.readouterr().err == "Username: " * 3
    stdin = io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8")
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert error_message(lambda: prompt("Username: ")) == "No input, or not in UTF-8."
    for without in (None, io.StringIO("hunter2\n")):
        monkeypatch.setattr(sys, "stdin", without)
        message = error_message(lambda: prompt("Username: "), secrets=("hunter2",))
        assert message == "Cannot prompt without a terminal. Pass USERNAME."


def test_hidden_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(prompt: str) -> str:
        warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, 2)
        raise AssertionError("it went on to read")

    monkeypatch.setattr(getpass, "getpass", lambda text: text)
    assert read() == f"Password for {USERNAME}: "
    monkeypatch.setattr(sys, "stdin", FakeTTY())
    assert read(api_key=True) == f"API key for {USERNAME}: "
    monkeypatch.setattr(getpass, "getpass", warn)
    assert "Use --password-stdin or --password-command." in error_message(read)


@pytest.mark.parametrize(
    "error", [EOFError(), UnicodeDecodeError("utf-8", b"hunter2\xff", 7, 8, "x")], ids=str
)
def test_prompt_fails(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raise_error(text: str) -> str:
        raise error

    monkeypatch.setattr(getpass, "getpass", raise_error)
    message = error_message(read, secrets=("hunter2",))
    assert message == "No password entered, or not in UTF-8."
    assert capsys.readouterr().err == "\n"
