"""The fixture `fake_zulip`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from zulip_auth.testing import FakeZulip

TEST_FILE = """
import asyncio
import zulip_auth

def test_login(fake_zulip):
    fake_zulip.add_user("bot@example.com", "secret")
    credentials = asyncio.run(zulip_auth.login(fake_zulip.site, "bot@example.com", "secret"))
    assert credentials.email == "bot@example.com"
"""

UNUSED = """
import sys

def test_imports():
    assert "uvicorn" not in sys.modules
"""


def run_pytest(directory: Path, test_file: str) -> str:
    (directory / "test_user.py").write_text(test_file)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=directory,
        capture_output=True,
        text=True,
    )
    return result.stdout + result.stderr


def test_fixture(fake_zulip: FakeZulip) -> None:
    assert fake_zulip.site.startswith("http://127.0.0.1:")
    assert fake_zulip.realm.accounts == []


def test_fixture_in_other_project(tmp_path: Path) -> None:
    output = run_pytest(tmp_path, TEST_FILE)
    assert "1 passed" in output, output


def test_unused_fixture_imports_nothing(tmp_path: Path) -> None:
    output = run_pytest(tmp_path, UNUSED)
    assert "1 passed" in output, output
