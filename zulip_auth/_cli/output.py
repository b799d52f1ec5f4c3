"""What is written to standard output and standard error, and how it looks."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from zulip_auth._exceptions import APIConnectionError

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"
_TICK = 0.1  # seconds


def write(text: str) -> str | None:
    """Write to standard output, or return why that cannot be done."""
    if sys.stdout is None:
        return "it is closed"
    try:
        _print(text)
    except OSError as error:
        with suppress(OSError):
            sys.stdout.close()  # or Python would try, and complain, once more
        return error.strerror
    return None


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except UnicodeEncodeError:
        print(text.encode("ascii", "backslashreplace").decode(), flush=True)


def say(text: str, end: str = "\n") -> None:
    """Write to standard error what is meant for whoever sits at the terminal."""
    if sys.stderr is not None:  # or it would go to standard output
        with suppress(OSError):
            print(text, end=end, file=sys.stderr, flush=True)


def can_ask() -> bool:
    """Tell whether somebody can type an answer."""
    return sys.stdin is not None and sys.stdin.isatty()


def visible(text: str) -> str:
    """Return a server's words without what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text)


def complain(text: str) -> None:
    """Write an error to standard error."""
    name = "zulip-auth:"
    if _is_terminal(sys.stderr) and not os.environ.get("NO_COLOR"):
        name = f"{_RED}{name}{_PLAIN}"
    say(f"{name} {text}")


def warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Write a warning to standard error, in the place of Python's own way."""
    complain(str(message))


def _is_terminal(stream: IO[str] | None) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def retries_reported() -> Iterator[None]:
    """Let what the library logs about retries reach standard error, meanwhile."""
    log = logging.getLogger("zulip_auth")
    handler = _LiveLine() if _is_terminal(sys.stderr) else logging.StreamHandler()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        handler.close()
        log.removeHandler(handler)
        log.setLevel(level)


class _LiveLine(logging.Handler):
    """Counts down, on one line of a terminal, to the next attempt."""

    _shown = False

    def emit(self, record: logging.LogRecord) -> None:
        if not isinstance(record.args, tuple) or len(record.args) != 4:
            self._clear()
            complain(record.getMessage())
            return
        error, wait, attempt, attempts = record.args
        loop = asyncio.get_running_loop()
        tail = f"attempt {attempt} of {attempts}"
        self._tick(loop, _in_a_word(error), loop.time() + float(str(wait)), tail)

    def _tick(self, loop: asyncio.AbstractEventLoop, why: str, until: float, tail: str) -> None:
        left = until - loop.time()
        self._clear()
        if left > 0:
            sys.stderr.write(f"{why}, trying again in {left:.1f} s, {tail}")
            sys.stderr.flush()
            self._shown = True
            loop.call_later(min(left, _TICK), self._tick, loop, why, until, tail)

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False

    def close(self) -> None:
        self._clear()
        super().close()


def _in_a_word(error: object) -> str:
    if isinstance(error, APIConnectionError):
        return "lost" if error.sent else "not reached"
    return "busy"
