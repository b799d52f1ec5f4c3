"""Wait for a request: with a status line while it is slow, and a line for each retry."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import socket
import sys
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from zulip_auth._event_loop import run_in_thread, start_thread
from zulip_auth._retry import RetryPolicy

from .output import is_terminal, print_error, show_status

T = TypeVar("T")
_INTERVAL = 0.1  # seconds between updates
_ATTEMPTS = RetryPolicy().attempts
_PATIENCE = 1.0  # seconds before a request counts as slow
_GRACE = 1.0  # seconds for the cleanup after a signal


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that is not held up by a host name that cannot be resolved."""

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
        return await run_in_thread(partial(socket.getaddrinfo, *args, **kwargs))


def wait(coroutine: Coroutine[Any, Any, T], text: str = "Waiting…") -> T:
    """Run a coroutine in a thread, and return its result.

    A signal is raised here, in the main thread, and cancels the coroutine. If it
    were raised at any point of the event loop, tasks could be left that never end.

    Args:
        coroutine: The coroutine.
        text: Shown on a terminal while it is slow.
    """
    loop = _Loop()

    def cancel() -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    def run() -> T:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(coroutine)

    logger, progress = logging.getLogger("zulip_auth"), _Progress(text)
    level = logger.level
    logger.addHandler(progress)
    logger.setLevel(logging.INFO)
    future = start_thread(run)
    try:
        while not concurrent.futures.wait([future], _INTERVAL).done:
            progress.show()
        return future.result()
    except SystemExit:
        with suppress(RuntimeError):  # it has just ended
            loop.call_soon_threadsafe(cancel)
        concurrent.futures.wait([future], _GRACE)
        raise
    finally:
        show_status("")
        logger.removeHandler(progress)
        logger.setLevel(level)


class _Progress(logging.Handler):
    """The status line of a request, fed by the retries that the library logs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self._slow_at = monotonic() + _PATIENCE
        self._retry = ""
        self._retry_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Begin a countdown on a terminal; else print a line."""
        fields = vars(record)
        if "delay" not in fields:
            print_error(record.getMessage())
            return
        reasons = {None: "server busy", True: "connection lost", False: "cannot connect"}
        self._retry_at = monotonic() + fields["delay"]
        self._retry = (
            f"{reasons[fields['sent']]}; retrying in {{:.1f}} s "
            f"(attempt {fields['attempt'] + 1} of {_ATTEMPTS})"
        )
        if not is_terminal(sys.stderr):
            print_error(self._retry.format(fields["delay"]))

    def show(self) -> None:
        """Update the status line, if standard error is a terminal."""
        if is_terminal(sys.stderr):
            remaining = self._retry_at - monotonic()
            text = self._text if monotonic() >= self._slow_at else ""
            show_status(self._retry.format(remaining) if remaining > 0 else text)
