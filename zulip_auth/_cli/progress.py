"""Show slow requests and retries on standard error."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .output import is_terminal, print_error, show_status

_INTERVAL = 0.1  # seconds between updates
_PATIENCE = 1.0  # seconds before a request counts as slow


class Progress(logging.Handler):
    """The status line of a command, fed by the retries that the library logs.

    Args:
        text: Shown while a request is slow.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self._slow_at = self._retry_at = 0.0
        self._retry = ""
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def log(self) -> Iterator[None]:
        """Receive what the library logs."""
        logger = logging.getLogger("zulip_auth")
        level = logger.level
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.setLevel(level)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Show a status line on a terminal, until the request ends."""
        if not is_terminal(sys.stderr):
            yield
            return
        self._slow_at = asyncio.get_running_loop().time() + _PATIENCE
        self._update()
        try:
            yield
        finally:
            self._stop()
            show_status("")

    def emit(self, record: logging.LogRecord) -> None:
        """Show a retry: as a countdown in `request`, else as a line."""
        if not isinstance(record.args, tuple) or len(record.args) != 4:
            print_error(record.getMessage())
            return
        _, delay, attempt, attempts = record.args
        sent = getattr(record, "sent", None)
        reason = {None: "server busy", True: "connection lost", False: "cannot connect"}[sent]
        self._retry = f"{reason}; retrying in {{:.1f}} s (attempt {attempt} of {attempts})"
        if self._timer is None:
            print_error(self._retry.format(delay))
        else:
            self._stop()
            self._retry_at = asyncio.get_running_loop().time() + float(str(delay))
            self._update()

    def _stop(self) -> None:
        assert self._timer is not None
        self._timer.cancel()
        self._timer = None

    def _update(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now < self._retry_at:
            show_status(self._retry.format(self._retry_at - now))
        else:
            show_status(self._text if now >= self._slow_at else "")
        self._timer = loop.call_later(_INTERVAL, self._update)
