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

_MAX_BYTES = 64 * 1024


def read_password(options: argparse.Namespace, username: str) -> str:
    """Return the password from the source that the options name.

    Raises:
        InvalidInputError: If there is none, or it cannot be read.
    """
    if options.password_stdin:
        return _decode(_read_stdin())
    if options.password_command is not None:
        return _decode(_read_command(options.password_command))
    return _prompt(username)


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise InvalidInputError("Standard input is closed.")
    if sys.stdin.isatty():
        raise InvalidInputError(
            "Standard input is a terminal. Omit --password-stdin to be prompted."
        )
    return sys.stdin.buffer.read(_MAX_BYTES)


def _read_command(command: str) -> bytes:
    reason = None
    try:
        # Without a shell, which would expand more than the user expects.
        argv = shlex.split(command)
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdout is not None
            line = process.stdout.readline(_MAX_BYTES)
            process.stdout.read(_MAX_BYTES)
            process.stdout.close()  # which ends an endless writer by SIGPIPE
    except (OSError, ValueError, IndexError):
        reason = "could not be started"
    else:
        if process.returncode in (0, -signal.SIGPIPE):
            return line
        reason = f"exited with status {process.returncode}"
    # The command is not repeated, since it may be a misplaced password.
    raise InvalidInputError(f"Password command failed: {reason}.")


def _decode(data: bytes) -> str:
    # The exception contains the password.
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        del data
    raise InvalidInputError("The password is not valid UTF-8.")


def _prompt(username: str) -> str:
    reason = "The password is not valid UTF-8."
    try:
        with warnings.catch_warnings():
            # It warns before it reads with echo, which must not happen.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"Password for {username}: ")
    except getpass.GetPassWarning:
        reason = (
            "Cannot prompt for a password without a terminal. "
            "Use --password-stdin or --password-command."
        )
    except EOFError:
        reason = "No password entered."
    except UnicodeDecodeError:  # which contains the password
        pass
    raise InvalidInputError(reason)
