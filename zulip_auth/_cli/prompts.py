"""Where a password comes from. It is never an argument, and never shown."""

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
    """Return the password, from where the options say.

    Raises:
        InvalidInputError: There is none, or it cannot be read.
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
            "Standard input is a terminal, which would show the password. "
            "Leave --password-stdin out, and it is asked for."
        )
    return sys.stdin.buffer.read(_MAX_BYTES)


def _read_command(command: str) -> bytes:
    reason = None
    try:
        # Without a shell, so that nothing but the command itself is run.
        argv = shlex.split(command)
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdout is not None
            line = process.stdout.readline(_MAX_BYTES)
            process.stdout.read(_MAX_BYTES)
            process.stdout.close()  # which ends one that goes on for ever
    except (OSError, ValueError, IndexError):
        reason = "it cannot be started"
    else:
        if process.returncode in (0, -signal.SIGPIPE):
            return line
        reason = f"it ended with exit code {process.returncode}"
    # The command is not repeated: somebody may have taken the option for the password.
    raise InvalidInputError(f"The password command gave no password: {reason}.")


def _decode(data: bytes) -> str:
    # What is caught here holds the password, so it is not what is raised.
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        del data
    raise InvalidInputError("The password is not written in UTF-8.")


def _prompt(username: str) -> str:
    reason = "The password is not written in UTF-8."
    try:
        with warnings.catch_warnings():
            # It warns before it reads with echo, which must not happen.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"Password of {username}: ")
    except getpass.GetPassWarning:
        reason = (
            "There is no terminal to ask for the password on. "
            "Use --password-stdin or --password-command."
        )
    except EOFError:
        reason = "No password was given."
    except UnicodeDecodeError:  # which holds the password
        pass
    raise InvalidInputError(reason)
