"""Bots of other libraries against FakeZulip. `make interop` installs them and runs the tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.program import Program
from zulip_auth.testing import FakeZulip


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with FakeZulip() as server:
        yield Program(server, tmp_path)


@pytest.fixture
def bin_directory() -> Path:
    return Path(sys.executable).parent
