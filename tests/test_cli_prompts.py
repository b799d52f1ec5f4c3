from __future__ import annotations

import argparse
import getpass
import io
import sys
import warnings

import pytest

from helpers.cli_runner import CLIRunner, FakeTTY
from helpers.constants import PASSWORD, USERNAME
from helpers.errors import error_message
from zulip_auth import InvalidInputError
from zulip_auth._cli import prompts
from zulip_auth._cli.prompts import prompt, read_password
from zulip_auth.testing import FakeZulip


def options(
    *,
    stdin: bool = False,
    command: str | None = None,
    api_key: bool = False,
    timeout: float | None = None,
) -> argparse.Namespace:
    return argparse.Namespace(
        password_stdin=stdin, password_command=command, api_key_stdin=api_key, timeout=timeout
    )


def password_error(given: argparse.Namespace) -> str:
    """Return the message of the error that reading the password fails with."""
    return error_message(lambda: read_password(given, USERNAME), secrets=("hunter2",))


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# ---- Standard input


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_password_stdin(end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, PASSWORD.encode() + end)
    assert read_password(options(stdin=True), USERNAME) == PASSWORD


def test_password_stdin_invalid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    piped(monkeypatch, b"hunter2\xff")
    assert password_error(options(stdin=True)) == "The password is not valid UTF-8."
    monkeypatch.setattr(sys, "stdin", None)
    assert password_error(options(stdin=True)) == "Standard input is closed."


def test_password_stdin_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, b"hunter2\n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert "Omit --password-stdin" in password_error(options(stdin=True))


def test_api_key_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, b"k3y\n")
    assert read_password(options(api_key=True), USERNAME) == "k3y"
    monkeypatch.setattr(sys, "stdin", FakeTTY())
    monkeypatch.setattr(getpass, "getpass", lambda text: f"{text}?")
    assert read_password(options(api_key=True), USERNAME) == f"API key for {USERNAME}: ?"


# ---- A command


@pytest.mark.parametrize(
    ("command", "password"),
    [
        ("echo hunter3", "hunter3"),
        ("printf 'hunter3'", "hunter3"),
        ("printf 'hunter3\\r\\nuser: iago\\n'", "hunter3"),
        ("printf '%s' 'two words; $HOME'", "two words; $HOME"),
        ("yes", "y"),
        ("printf '%s' 'a|b > c; d & e < f `g`'", "a|b > c; d & e < f `g`"),
        ('printf %s "a|b > c; d & e \\" f"', 'a|b > c; d & e " f'),
        ("printf %s a\\|b\\$c\\;", "a|b$c;"),
        ("""printf %s "it's" """, "it's"),
        ("sh -c 'echo hunter3 | tr 3 4'", "hunter4"),
        # A child keeps the output open.
        ("sh -c 'echo hunter3; sleep 5 &'", "hunter3"),
        ("head -c 70000 /dev/zero", "\0" * 65536),
    ],
)
def test_password_command(command: str, password: str) -> None:
    assert read_password(options(command=command), USERNAME) == password


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("sh -c 'echo hunter2; exit 3'", "exited with status 3"),
        ("no-such-command hunter2", "could not be started"),
        ("'hunter2", "could not be started"),
        ("", "could not be started"),
        ("a\0b", "could not be started"),
    ],
)
def test_password_command_fails(command: str, reason: str) -> None:
    # What was given for a command may have been the password itself.
    with pytest.raises(InvalidInputError) as caught:
        read_password(options(command=command), USERNAME)
    assert str(caught.value) == f"Password command failed: {reason}."


@pytest.mark.parametrize(
    "command",
    [
        "pass zulip | head -1",
        "pass zulip > /dev/null",
        "cd secrets; cat zulip",
        "echo $PASSWORD",
        'echo "$PASSWORD"',
        'echo "\\$PASSWORD"',  # without a shell, the backslash stays
        'echo "`cat password`"',
        "echo hunter2\necho hunter3",
    ],
)
def test_password_command_with_shell_syntax(command: str) -> None:
    message = password_error(options(command=command))
    assert message == "--password-command uses no shell: use sh -c '…'"


def test_password_command_child_without_newline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "_PIPE_GRACE", 0.2)
    command = "sh -c 'printf hunter3; sleep 5 &'"
    assert read_password(options(command=command), USERNAME) == "hunter3"


def test_password_command_timeout() -> None:
    message = password_error(options(command="sleep 60", timeout=0.05))
    assert message == "Password command failed: still running after 0.05 seconds."


def test_password_command_prompts(home: CLIRunner, fake_zulip: FakeZulip) -> None:
    fake_zulip.add_user(USERNAME, "hunter3")
    asking = "sh -c 'read -p \"PIN: \" pin; echo hunter$pin'"
    code, shown = home.run_in_pty(
        *("login", fake_zulip.site, USERNAME, "--no-save", "--password-command", asking),
        inputs={"PIN: ": "3"},
    )
    assert code == 0
    assert "Logged in to" in shown


# ---- A prompt


def test_prompt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", FakeTTY("\n \n iago@zulip.com \nmore\n"))
    assert prompt("Username: ") == "iago@zulip.com"
    assert capsys.readouterr().err == "Username: " * 3


def test_prompt_not_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8")
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert error_message(lambda: prompt("Username: ")) == "No input, or not in UTF-8."


def test_prompt_without_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for stdin in (None, io.StringIO("hunter2\n")):
        monkeypatch.setattr(sys, "stdin", stdin)
        message = error_message(lambda: prompt("Username: "), secrets=("hunter2",))
        assert message == "Cannot prompt without a terminal. Pass USERNAME."


def test_prompt_is_hidden(home: CLIRunner, fake_zulip: FakeZulip) -> None:
    """A real terminal must not echo the input."""
    fake_zulip.add_user(USERNAME, PASSWORD)
    code, shown = home.run_in_pty(
        *("login", fake_zulip.site, USERNAME), inputs={f"Password for {USERNAME}: ": PASSWORD}
    )
    assert code == 0
    assert "Logged in to" in shown
    assert "horse" not in shown


def test_prompt_without_echo_control(monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(prompt: str) -> str:
        warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, 2)
        raise AssertionError("it went on to read")

    monkeypatch.setattr(getpass, "getpass", warn)
    assert "Use --password-stdin or --password-command." in password_error(options())


@pytest.mark.parametrize(
    "error", [EOFError(), UnicodeDecodeError("utf-8", b"hunter2\xff", 7, 8, "x")], ids=str
)
def test_prompt_fails(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raise_error(text: str) -> str:
        raise error

    monkeypatch.setattr(getpass, "getpass", raise_error)
    assert password_error(options()) == "No password entered, or not in UTF-8."
    assert capsys.readouterr().err == "\n"
