"""Read input: from standard input, a command or a prompt."""

from __future__ import annotations

import argparse
import getpass
import re
import shlex
import subprocess
import sys
import warnings
from contextlib import suppress

from zulip_auth._exceptions import InvalidInputError
from zulip_auth._redaction import hide_locals

from .output import is_interactive, print_err

# Quoted text is skipped, unless a shell would expand it; group 1 is shell syntax.
_SHELL_SYNTAX_RE = re.compile(r"""'[^']*'|\\.|"(?:\\[^$`]|[^"\\$`])*"|([|&;<>$`"\n])""", re.DOTALL)


def prompt(text: str) -> str:
    """Return a line of input, which is shown. Prompt again if it is empty.

    Raises:
        InvalidInputError: If there is none.
    """
    if not is_interactive():  # piped input may be the password
        raise InvalidInputError("Cannot prompt without a terminal. Pass USERNAME.")
    while True:
        print_err(text, end="")
        line = ""
        with suppress(UnicodeDecodeError):
            line = sys.stdin.readline()
        if not line:
            print_err("")
            raise InvalidInputError("No input, or not in UTF-8.")
        if line.strip():
            return line.strip()


@hide_locals
def read_password(options: argparse.Namespace, username: str) -> str:
    """Return the password, or the API key, from the source that the options name.

    Raises:
        InvalidInputError: If there is none, or it cannot be read.
    """
    if options.password_command is not None:
        data = _read_command(options.password_command, options.timeout)
    elif options.password_stdin or (options.api_key_stdin and not is_interactive()):
        data = _read_stdin()
    else:
        what = "API key" if options.api_key_stdin else "Password"
        return _prompt_hidden(f"{what} for {username}: ")
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InvalidInputError("The password is not valid UTF-8.") from None


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise InvalidInputError("Standard input is closed.")
    if sys.stdin.isatty():
        raise InvalidInputError("Omit --password-stdin to be prompted.")
    return sys.stdin.buffer.read()


def _read_command(command: str, timeout: float | None) -> bytes:
    """Return the first line of a command's output."""
    # The command is not repeated, since it may be a misplaced password.
    if any(match[1] for match in _SHELL_SYNTAX_RE.finditer(command)):
        raise InvalidInputError("--password-command uses no shell: use sh -c '…'")
    try:
        argv = shlex.split(command)
        done = subprocess.run(argv, stdout=subprocess.PIPE, timeout=timeout, check=False)  # noqa: S603
    except (OSError, ValueError, IndexError):
        reason = "could not be started"
    except subprocess.TimeoutExpired:
        reason = f"still running after {timeout:g} seconds"
    else:
        if done.returncode == 0:
            return done.stdout.partition(b"\n")[0]
        reason = f"exited with status {done.returncode}"
    raise InvalidInputError(f"Password command failed: {reason}.")


def _prompt_hidden(text: str) -> str:
    try:
        with warnings.catch_warnings():
            # It warns before it reads with echo, which must not happen.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(text)
    except getpass.GetPassWarning:
        hint = "Use --password-stdin or --password-command."
        raise InvalidInputError(f"Cannot prompt without a terminal. {hint}") from None
    except (EOFError, UnicodeDecodeError):
        print_err("")
        raise InvalidInputError("No password entered, or not in UTF-8.") from None
