"""Write to standard output and standard error."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from contextlib import suppress
from typing import IO

_RED, _RESET = "\x1b[31m", "\x1b[0m"
_status = ""


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
    """Print to standard error, in place of the status line."""
    show_status("")
    _write(text + end)


def print_error(text: str) -> None:
    """Print an error to standard error, wrapped and in color on a terminal."""
    name, text = "zulip-auth:", sanitize(text)
    if is_terminal(sys.stderr):
        text = wrap(f"{name} {text}").removeprefix(f"{name} ")
        if not os.environ.get("NO_COLOR"):
            name = f"{_RED}{name}{_RESET}"
    print_err(f"{name} {text}")


def show_status(text: str) -> None:
    """Show a text on the last line of the terminal, in place of the previous one."""
    global _status
    text = text[: terminal_width() - 1]  # a longer one would scroll
    if text != _status:
        _status = text
        _write("\r\x1b[K" + text)


def _write(text: str) -> None:
    if sys.stderr is not None:  # print() would use standard output
        with suppress(OSError):
            print(text, end="", file=sys.stderr, flush=True)


def prose(text: str) -> str:
    """Wrap the text of a result on a terminal. What is piped must not have other line breaks."""
    return wrap(text) if is_terminal(sys.stdout) else text


def wrap(text: str) -> str:
    """Wrap each line at the width of the terminal, between words."""
    width = min(terminal_width(), 80) - 1
    wrapped = []
    for line in text.split("\n"):
        if " " not in line.strip():  # a URL keeps its margin
            wrapped.append(line)
            continue
        margin = re.match(r"( +\d* *)?", line)
        indent = " " * len(margin[0] if margin else "")
        wrapped += textwrap.wrap(
            line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
    return "\n".join(wrapped)


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
