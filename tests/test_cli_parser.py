from __future__ import annotations

import pytest

import zulip_auth
from helpers.cli_runner import CLIRunner
from helpers.constants import USERNAME
from zulip_auth._cli.parser import EXIT_CODES, build_parser, parse

BAD_INPUT = {
    "no command": ((), b""),
    "another command": (("log-in",), b""),
    "no site": (("login",), b""),
    "insecure site": (("login", "http://chat.example.com", USERNAME, "--dev"), b""),
    "malformed site": (("login", "not a site", USERNAME, "--dev"), b""),
    "empty username": (("login", "localhost", "", "--dev"), b""),
    "no password": (("login", "localhost", USERNAME, "--password-stdin"), b""),
    "an empty line": (("login", "localhost", USERNAME, "--password-stdin"), b"\n"),
    "two lines": (("login", "localhost", USERNAME, "--password-stdin"), b"hunter2\nhunter2\n"),
    "invalid UTF-8": (("login", "localhost", USERNAME, "--password-stdin"), b"hunter2\xff"),
    "no terminal": (("login", "localhost", USERNAME), b"hunter2"),
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
def test_invalid_usage(home: CLIRunner, arguments: tuple[str, ...], stdin: bytes) -> None:
    code, out, err = home.run(*arguments, stdin=stdin)
    assert (code, out) == (64, "")
    assert err.startswith("zulip-auth: ")
    assert err.count("\n") == 1
    assert "hunter2" not in err


@pytest.mark.parametrize(("arguments", "stdin"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_invalid_usage_in_process(
    arguments: tuple[str, ...], stdin: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert parse(arguments).command == "login"  # what follows is looked at later
    except SystemExit as ended:
        assert ended.code == 64
        assert capsys.readouterr().err.endswith(" (see --help)\n")


def test_password_like_help_option(home: CLIRunner) -> None:
    _, out, err = home.run("login", "localhost", USERNAME, "-hunter2")  # newer Pythons do help
    assert "unter2" not in out + err


def test_no_password_option(home: CLIRunner) -> None:
    _, out, _ = home.run("login", "--help", COLUMNS="1000")
    taking = {line.split()[0]: line.split()[1] for line in out.splitlines() if line[:4] == "  --"}
    assert {name for name, value in taking.items() if value.isupper()} == {
        "--password-command",
        "--config",
        "--sso",
    }
    assert "--password-stdin" in taking


def test_version(home: CLIRunner) -> None:
    assert home.run("--version") == (0, f"zulip-auth {zulip_auth.__version__}\n", "")


def test_help(home: CLIRunner) -> None:
    code, out, err = home.run("--help")
    assert (code, err) == (0, "")
    for word in ("login", "whoami", "logout", "completion", "examples:", "exit codes:"):
        assert word in out
    for number in EXIT_CODES.values():
        assert f"\n  {number:3}  " in out
    for command in ("login", "whoami", "logout", "completion"):
        code, out, err = home.run(command, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"usage: zulip-auth {command} ")


def test_help_is_complete() -> None:
    parser = build_parser()
    [commands] = [each for each in parser._actions if isinstance(each.choices, dict)]
    assert isinstance(commands.choices, dict)
    for command in commands.choices.values():
        for action in command._actions:
            assert action.help, action
