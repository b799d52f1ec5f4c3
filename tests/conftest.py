from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from helpers.cli_runner import CLIRunner
from zulip_auth import RetryPolicy

# One login is a few milliseconds, but the machine may be busy.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

# What a developer's machine sets must not change what is tested.
for name in list(os.environ):
    if name.lower().endswith("_proxy") or name.startswith("SSL_CERT_"):
        del os.environ[name]

# This process may run in development mode; those that it starts are looked at
# for what they write, and asyncio would add remarks on slow machines.
os.environ.pop("PYTHONDEVMODE", None)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what tests have measured, each with the name of its test."""
    measured = [
        f"{report.nodeid.partition('::')[2]}: {name}: {value}"
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
    ]
    if measured:
        terminalreporter.section("measured")
        terminalreporter.write("".join(f"{line}\n" for line in sorted(measured)))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def home(tmp_path: Path) -> CLIRunner:
    return CLIRunner(tmp_path)


@pytest.fixture
def no_backoff() -> RetryPolicy:
    """The default policy, without its waits."""
    return RetryPolicy(wait_initial=0, wait_max=0)
