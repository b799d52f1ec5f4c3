"""The pytest plugin with the fixture `fake_zulip`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import FakeZulip


@pytest.fixture
def fake_zulip() -> Iterator[FakeZulip]:
    """Start a `FakeZulip` without users: `fake_zulip.add_user(email, password)`."""
    # Import lazily: runs without the fixture must not require the extra.
    from .testing import FakeZulip

    with FakeZulip() as server:
        yield server
