"""Show the retries of the library on standard error."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .output import is_terminal, print_err, print_error, terminal_width

_INTERVAL = 0.1  # seconds


@contextmanager
def show_retries() -> Iterator[None]:
    """Show the retries that the library logs on standard error."""
    logger = logging.getLogger("zulip_auth")
    handler = _CountdownHandler() if is_terminal(sys.stderr) else logging.StreamHandler()
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

    _line = ""

    def emit(self, record: logging.LogRecord) -> None:
        if not isinstance(record.args, tuple) or len(record.args) != 4:
            self._show("")
            print_error(record.getMessage())
            return
        _, delay, attempt, attempts = record.args
        deadline = asyncio.get_running_loop().time() + float(str(delay))
        sent = getattr(record, "sent", None)
        reason = {None: "server busy", True: "connection lost", False: "cannot connect"}[sent]
        self._tick(reason, deadline, f"attempt {attempt} of {attempts}")

    def _tick(self, reason: str, deadline: float, suffix: str) -> None:
        loop = asyncio.get_running_loop()
        remaining = deadline - loop.time()
        self._show(f"{reason}; retrying in {remaining:.1f} s ({suffix})" if remaining > 0 else "")
        if remaining > 0:
            loop.call_later(min(remaining, _INTERVAL), self._tick, reason, deadline, suffix)

    def _show(self, line: str) -> None:
        if line or self._line:
            print_err("\r\x1b[K" + line[: terminal_width() - 1], end="")
        self._line = line

    def close(self) -> None:
        self._show("")
        super().close()
