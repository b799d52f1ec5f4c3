"""Write to standard output and standard error."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from zulip_auth._exceptions import APIConnectionError

_RED, _RESET = "\x1b[31m", "\x1b[0m"
_REFRESH_INTERVAL = 0.1  # seconds


def print_output(text: str) -> str | None:
    """Print to standard output; return the reason if that fails."""
    if sys.stdout is None:
        return "standard output is closed"
    try:
        _print(text)
    except OSError as error:
        with suppress(OSError):
            sys.stdout.close()  # or Python retries at exit, with a traceback
        return error.strerror
    return None


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except UnicodeEncodeError:
        print(text.encode("ascii", "backslashreplace").decode(), flush=True)


def print_err(text: str, end: str = "\n") -> None:
    """Print to standard error."""
    if sys.stderr is not None:  # print() would use standard output
        with suppress(OSError):
            print(text, end=end, file=sys.stderr, flush=True)


def is_interactive() -> bool:
    """Return whether the user can be prompted."""
    return sys.stdin is not None and sys.stdin.isatty()


def sanitize(text: str) -> str:
    """Replace unprintable characters, which could control the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def print_error(text: str) -> None:
    """Print an error to standard error."""
    name = "zulip-auth:"
    if _is_terminal(sys.stderr) and not os.environ.get("NO_COLOR"):
        name = f"{_RED}{name}{_RESET}"
    print_err(f"{name} {text}")


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one line; see `warnings.showwarning`."""
    print_error(str(message))


def _is_terminal(stream: IO[str] | None) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def show_retries() -> Iterator[None]:
    """Show the retries that the library logs on standard error."""
    logger = logging.getLogger("zulip_auth")
    handler = _CountdownHandler() if _is_terminal(sys.stderr) else logging.StreamHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        handler.close()
        logger.removeHandler(handler)
        logger.setLevel(level)


class _CountdownHandler(logging.Handler):
    """Show a countdown to the next attempt on one line of the terminal."""

    _shown = False

    def emit(self, record: logging.LogRecord) -> None:
        if not isinstance(record.args, tuple) or len(record.args) != 4:
            self._clear()
            print_error(record.getMessage())
            return
        error, wait, attempt, attempts = record.args
        loop = asyncio.get_running_loop()
        suffix = f"attempt {attempt} of {attempts}"
        self._tick(loop, _short_reason(error), loop.time() + float(str(wait)), suffix)

    def _tick(
        self, loop: asyncio.AbstractEventLoop, reason: str, deadline: float, suffix: str
    ) -> None:
        remaining = deadline - loop.time()
        self._clear()
        if remaining > 0:
            sys.stderr.write(f"{reason}; retrying in {remaining:.1f} s ({suffix})")
            sys.stderr.flush()
            self._shown = True
            loop.call_later(
                min(remaining, _REFRESH_INTERVAL), self._tick, loop, reason, deadline, suffix
            )

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False

    def close(self) -> None:
        self._clear()
        super().close()


def _short_reason(error: object) -> str:
    if isinstance(error, APIConnectionError):
        return "connection lost" if error.sent else "cannot connect"
    return "server busy"
