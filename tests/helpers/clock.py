"""A clock for upper bounds that hold on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def clock() -> float:
    """Return the time in seconds, without the time in which others had the CPU (on Linux)."""
    path = Path("/proc/thread-self/schedstat")
    waited = int(path.read_text().split()[1]) if path.exists() else 0  # nanoseconds
    return time.monotonic() - waited / 1e9


@contextmanager
def seconds_between(minimum: float, maximum: float) -> Iterator[None]:
    """Check how long the block takes; the time in which others had the CPU does not delay it."""
    start, clock_start = time.monotonic(), clock()
    yield
    assert time.monotonic() - start >= minimum
    assert clock() - clock_start < maximum
