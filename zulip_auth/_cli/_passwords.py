"""Where a password comes from. It is never an argument, and never shown."""

from __future__ import annotations

import argparse
import getpass
import shlex
import subprocess
import sys
import warnings

from zulip_auth._errors import InvalidInputError

_MOST_BYTES = 64 * 1024


def read_password(options: argparse.Namespace, username: str) -> str:
    """Return the password, from where the options say.

    Raises:
        InvalidInputError: There is none, or it cannot be read.
    """
    if options.password_stdin:
        return _decoded(_read_stdin())
    if options.password_command is not None:
        return _decoded(_read_command(options.password_command).partition(b"\n")[0])
    return _ask(username)


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise InvalidInputError("Standard input is closed.")
    return sys.stdin.buffer.read(_MOST_BYTES)


def _read_command(command: str) -> bytes:
    problem = None
    try:
        # Without a shell, so that nothing but the command itself is run.
        done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, check=False)  # noqa: S603
    except (OSError, ValueError, IndexError):
        problem = "it cannot be started"
    else:
        if done.returncode == 0:
            return done.stdout
        problem = f"it ended with exit code {done.returncode}"
    # The command is not repeated: somebody may have taken the option for the password.
    raise InvalidInputError(f"The password command gave no password: {problem}.")


def _decoded(data: bytes) -> str:
    # What is caught here holds the password, so it is not what is raised.
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        del data
    raise InvalidInputError("The password is not written in UTF-8.")


def _ask(username: str) -> str:
    problem = "The password is not written in UTF-8."
    try:
        with warnings.catch_warnings():
            # It warns before it reads with echo, which must not happen.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"Password of {username}: ")
    except getpass.GetPassWarning:
        problem = (
            "There is no terminal to ask for the password on. "
            "Use --password-stdin or --password-command."
        )
    except EOFError:
        problem = "No password was given."
    except UnicodeDecodeError:  # which holds the password
        pass
    raise InvalidInputError(problem)
