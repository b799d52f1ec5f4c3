"""Read the password: from standard input, a command or a prompt."""

from __future__ import annotations

import argparse
import getpass
import shlex
import signal
import subprocess
import sys
import warnings

from zulip_auth._exceptions import InvalidInputError
from zulip_auth._redaction import hide_locals

_MAX_BYTES = 64 * 1024


@hide_locals
def read_password(options: argparse.Namespace, username: str) -> str:
    """Return the password from the source that the options name.

    Raises:
        InvalidInputError: If there is none, or it cannot be read.
    """
    try:
        if options.password_stdin:
            return _decode(_read_stdin())
        if options.password_command is not None:
            return _decode(_read_command(options.password_command))
        return _prompt(username)
    except UnicodeDecodeError:
        raise InvalidInputError("The password is not valid UTF-8.") from None


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise InvalidInputError("Standard input is closed.")
    if sys.stdin.isatty():
        raise InvalidInputError(
            "Standard input is a terminal. Omit --password-stdin to be prompted."
        )
    return sys.stdin.buffer.read(_MAX_BYTES)


def _read_command(command: str) -> bytes:
    # The command is not repeated, since it may be a misplaced password.
    try:
        # Without a shell, which would expand more than the user expects.
        argv = shlex.split(command)
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdout is not None
            line = process.stdout.readline(_MAX_BYTES)
            process.stdout.read(_MAX_BYTES)
            process.stdout.close()  # which ends an endless writer by SIGPIPE
    except (OSError, ValueError, IndexError):
        raise InvalidInputError("Password command failed: could not be started.") from None
    if process.returncode not in (0, -signal.SIGPIPE):
        raise InvalidInputError(
            f"Password command failed: exited with status {process.returncode}."
        )
    return line


def _decode(data: bytes) -> str:
    return data.decode().removesuffix("\n").removesuffix("\r")


def _prompt(username: str) -> str:
    try:
        with warnings.catch_warnings():
            # It warns before it reads with echo, which must not happen.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"Password for {username}: ")
    except getpass.GetPassWarning:
        raise InvalidInputError(
            "Cannot prompt for a password without a terminal. "
            "Use --password-stdin or --password-command."
        ) from None
    except EOFError:
        raise InvalidInputError("No password entered.") from None
