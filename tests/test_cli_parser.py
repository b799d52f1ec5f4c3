from __future__ import annotations

import io
import sys
from typing import Any

import pytest

import zulip_auth
from helpers.cli_runner import CLIRunner
from helpers.constants import USERNAME
from zulip_auth._cli import main
from zulip_auth._cli.exit_codes import EXIT_CODES
from zulip_auth._cli.parser import COMMANDS, OPTIONS, parse

BAD_INPUT = {
    "another command": (("log-in",), b""),
    "no site": (("login",), b""),
    "insecure site": (("login", "http://chat.example.com", USERNAME, "--dev"), b""),
    "malformed site": (("login", "not a site", USERNAME, "--dev"), b""),
    "empty username": (("login", "localhost", "", "--dev"), b""),
    "no password": (("login", "localhost", USERNAME, "--password-stdin"), b""),
    "an empty line": (("login", "localhost", USERNAME, "--password-stdin"), b"\n"),
    "two lines": (("login", "localhost", USERNAME, "--password-stdin"), b"hunter2\nhunter2\n"),
    "invalid UTF-8": (("login", "localhost", USERNAME, "--password-stdin"), b"hunter2\xff"),
    "nowhere and somewhere": (("login", "localhost", USERNAME, "--no-save", "--keyring"), b""),
    "no shell": (("completion",), b""),
    "another shell": (("completion", "hunter2"), b""),
    "both ways": (("login", "localhost", USERNAME, "--dev", "--password-stdin"), b""),
    "a password as an argument": (("login", "localhost", USERNAME, "hunter2"), b""),
    "a password as an option": (("login", "localhost", USERNAME, "--password=hunter2"), b""),
    "a password behind an option": (("login", "localhost", USERNAME, "--dev=hunter2"), b""),
    "a password as an option's letters": (("login", "localhost", USERNAME, "-xhunter2"), b""),
    "a password as a command": (("hunter2",), b""),
    "an option cut short": (("login", "localhost", USERNAME, "--password"), b""),
}


@pytest.mark.parametrize(("arguments", "stdin"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_invalid_usage(
    arguments: tuple[str, ...],
    stdin: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    try:
        code: object = main(list(arguments))
    except SystemExit as ended:
        code = ended.code
    out, err = capsys.readouterr()
    assert (code, out) == (64, "")
    assert err.startswith("zulip-auth: ")
    assert err.count("\n") == 1
    assert "hunter2" not in err


def test_invalid_usage_without_terminal(home: CLIRunner) -> None:
    code, out, err = home.run("login", "localhost", USERNAME, stdin=b"hunter2")
    assert (code, out) == (64, "")
    assert err.startswith("zulip-auth: Cannot prompt without a terminal.")
    assert err.count("\n") == 1


def test_password_like_help_option(home: CLIRunner) -> None:
    _, out, err = home.run("login", "localhost", USERNAME, "-hunter2")  # newer Pythons do help
    assert "unter2" not in out + err


COMMAND_NAMES = "login, whoami, bots, api-key, rotate, logout, sso-handler, fake-server, completion"
MESSAGES = {
    "hunter2": f"argument COMMAND: invalid choice (choose from {COMMAND_NAMES})",
    "a'b\"c": f"argument COMMAND: invalid choice (choose from {COMMAND_NAMES})",
    "(choose from hunter2)": f"argument COMMAND: invalid choice (choose from {COMMAND_NAMES})",
    "login": "the following arguments are required: SITE",
    "completion": "the following arguments are required: SHELL",
    "completion hunter2": "argument SHELL: invalid choice (choose from bash, fish, zsh)",
    "login x --config": "argument --config: expected one argument",
    "login x --timeout hunter2": "argument --timeout: invalid float value",
    "login x --dev=hunter2": "argument --dev: ignored explicit argument",
    "login x --dev --sso": "argument --sso: not allowed with argument --dev",
    "login x --sso=y --password-stdin": (
        "argument --password-stdin: not allowed with argument --sso"
    ),
    "login x --no-save --keyring": "argument --keyring: not allowed with argument --no-save",
    "sso-handler --install --uninstall": (
        "argument --uninstall: not allowed with argument --install"
    ),
    "login x --passwrod=hunter2": "unknown option --passwrod, did you mean --password-stdin?",
    "login x y --jsno": "unknown option --jsno, did you mean --json?",
    "login x y --qqq": "unknown option --qqq",
    "login x y -xhunter2": "unknown option",
    "login x y --Hunter2": "unknown option",
    "--qqq": "unknown option --qqq",
    "--json whoami": "pass --json after whoami",
    "login x y hunter2": "too many arguments; a password is not an argument",
    "logn": "argument COMMAND: invalid choice, did you mean login?",
    "completion zhs": "argument SHELL: invalid choice, did you mean zsh?",
}


@pytest.mark.parametrize(("argv", "message"), MESSAGES.items(), ids=MESSAGES)
def test_usage_message(argv: str, message: str) -> None:
    """Argparse's own text is kept, up to the value, which may be a password."""
    spaced = [argv] if argv.startswith("(") else argv.split()
    with pytest.raises(zulip_auth.InvalidInputError) as caught:
        parse(spaced)
    assert str(caught.value) == f"{message} (see --help)"


def test_no_arguments_in_process(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse([])
    assert not caught.value.code
    assert capsys.readouterr().out.startswith("usage: zulip-auth [-h] [--version] COMMAND ...\n")


def test_version(home: CLIRunner) -> None:
    assert home.run("--version") == (0, f"zulip-auth {zulip_auth.__version__}\n", "")


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    out = capsys.readouterr().out
    for word in (*COMMANDS, "examples:", "exit codes:"):
        assert word in out
    for code, (text, _) in EXIT_CODES.items():
        assert f"\n  {code:3}  {text}\n" in out


def test_help_is_complete() -> None:
    names = [name.split()[0] for group in OPTIONS.values() for name in group]
    assert len(names) == len(set(names))
    used = {name for options, _ in COMMANDS.values() for name in options.split()}
    assert used == set(names)


@pytest.mark.parametrize("columns", [None, 200, 80, 40])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_width(
    command: str, columns: int | None, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        parse([*command.split(), "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= min(columns or 80, 80) - 1
