"""Write to standard output and standard error."""

from __future__ import annotations

import os
import sys
import textwrap
from contextlib import suppress
from typing import IO

_RED, _RESET = "\x1b[31m", "\x1b[0m"


class OutputError(Exception):
    """Standard output is closed or full."""


def print_output(text: str) -> None:
    """Print to standard output.

    Raises:
        OutputError: If it is closed or full.
    """
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    if sys.stdout.isatty():
        text = "\n".join(map(sanitize, text.split("\n")))
    try:
        encoding = sys.stdout.encoding or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        with suppress(OSError):
            sys.stdout.close()  # or Python retries at exit, with a traceback
        raise OutputError(error.strerror) from None


def print_err(text: str, end: str = "\n") -> None:
    """Print to standard error."""
    if sys.stderr is not None:  # print() would use standard output
        with suppress(OSError):
            print(text, end=end, file=sys.stderr, flush=True)


def print_error(text: str) -> None:
    """Print an error to standard error, wrapped and in color on a terminal."""
    name, text = "zulip-auth:", sanitize(text)
    if is_terminal(sys.stderr):
        width = min(terminal_width(), 80) - 1
        text = textwrap.fill(
            f"{name} {text}", width, break_long_words=False, break_on_hyphens=False
        ).removeprefix(f"{name} ")
        if not os.environ.get("NO_COLOR"):
            name = f"{_RED}{name}{_RESET}"
    print_err(f"{name} {text}")


def sanitize(text: str) -> str:
    """Replace unprintable characters, which could control the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def is_interactive() -> bool:
    """Return whether the user can be prompted."""
    return sys.stdin is not None and sys.stdin.isatty()


def is_terminal(stream: IO[str] | None) -> bool:
    """Return whether a stream is a terminal that can move the cursor."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    """Return the number of columns of the terminal; 80 if unknown."""
    with suppress(OSError, ValueError):
        return int(os.environ.get("COLUMNS") or os.get_terminal_size(2).columns) or 80
    return 80
