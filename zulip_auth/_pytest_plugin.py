"""The fixture that every test suite has in which this package is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import FakeZulip


@pytest.fixture
def fake_zulip() -> Iterator[FakeZulip]:
    """A running Zulip server without users: `fake_zulip.add_user(email, password)`."""
    # Not at the top: test suites that do not ask for it must not need it.
    from .testing import FakeZulip

    with FakeZulip() as server:
        yield server
