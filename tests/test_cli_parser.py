from __future__ import annotations

import subprocess
import sys

import pytest

import zulip_auth
from helpers.cli_runner import CLIRunner
from helpers.constants import USERNAME
from zulip_auth._cli import main
from zulip_auth._cli.exit_codes import EXIT_CODES
from zulip_auth._cli.parser import COMMANDS, OPTIONS

COMMAND_NAMES = "login, whoami, bots, api-key, rotate, logout, sso-handler, fake-server, completion"
COMMAND_CHOICES = f"argument COMMAND: invalid choice (choose from {COMMAND_NAMES})"
# Argparse's own text is kept, up to the value, which may be a password.
MESSAGES = {
    "hunter2": COMMAND_CHOICES,
    "a'hunter2\"c": COMMAND_CHOICES,
    "(choose\xa0from\xa0hunter2)": COMMAND_CHOICES,
    "login": "the following arguments are required: SITE",
    "completion": "the following arguments are required: SHELL",
    "completion hunter2": "argument SHELL: invalid choice (choose from bash, fish, zsh)",
    "login x --config": "argument --config: expected one argument",
    "login x --timeout hunter2": "argument --timeout: invalid float value",
    "login x --dev=hunter2": "argument --dev: ignored explicit argument",
    "login x --dev --sso": "argument --sso: not allowed with argument --dev",
    "login x --no-save --keyring": "argument --keyring: not allowed with argument --no-save",
    "login x --passwrod=hunter2": "unknown option --passwrod, did you mean --password-stdin?",
    "login x --password=hunter2": "unknown option --password, did you mean --password-stdin?",
    "login x y --Hunter2": "unknown option",
    "--qqq": "unknown option --qqq",
    "--config whoami": "pass --config after whoami",
    "login x y hunter2": "too many arguments; a password is not an argument",
    "logn": "argument COMMAND: invalid choice, did you mean login?",
}


@pytest.mark.parametrize(("argv", "message"), MESSAGES.items(), ids=MESSAGES)
def test_usage_message(argv: str, message: str, cli: CLIRunner) -> None:
    arguments = [argument.replace("\xa0", " ") for argument in argv.split(" ")]
    assert cli.fail(64, *arguments) == f"{message} (see --help)"


def test_password_like_help_option(cli: CLIRunner, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        _, out, err = cli.main("login", "localhost", USERNAME, "-hunter2")
    except SystemExit:  # newer Pythons show the help
        out, err = capsys.readouterr()
    assert "unter2" not in out + err


def show(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Return what the command prints before it exits."""
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert not caught.value.code
    return capsys.readouterr().out


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    out = show(capsys, "--help")
    assert out == show(capsys)
    assert out.startswith("usage: zulip-auth [-h] [--version] COMMAND ...\n")
    for word in (*COMMANDS, "examples:", "exit codes:"):
        assert word in out
    for code, (text, _) in EXIT_CODES.items():
        assert f"\n  {code:3}  {text}\n" in out
    used = {name for options, _ in COMMANDS.values() for name in options.split()}
    assert used == {name.split()[0] for group in OPTIONS.values() for name in group}


@pytest.mark.parametrize("columns", ["", "200", "40"])
def test_help_width(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for command in {"", *COMMANDS} - {"fake-server"}:
        lines = show(capsys, *command.split(), "--help").splitlines()
        assert max(map(len, lines)) <= min(int(columns or 80), 80) - 1


def test_fake_server(
    cli: CLIRunner, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/test_testing_program.py runs the server."""
    shown = show(capsys, "fake-server", "--help")
    assert shown.startswith("usage: zulip-auth fake-server [-h] [--host HOST]")
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, show(capsys, "fake-server", "--help").splitlines())) < 40
    monkeypatch.setitem(sys.modules, "zulip_auth.testing.program", None)
    # With the extra missing, the message names it: see tests/test_testing.py.
    assert cli.fail(78, "fake-server").startswith("import of zulip_auth.testing.program")


@pytest.mark.slow
def test_fast_commands_import_little() -> None:
    script = """
import sys
from zulip_auth._cli import main
for argv in ("login --dev --sso localhost", "completion zsh", "--version"):
    try:
        main(argv.split())
    except SystemExit:
        print(*{"asyncio", "httpx", "zulip_auth_client"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.endswith(f"\nzulip-auth {zulip_auth.__version__}\n\n")
