"""The fixture `fake_zulip`."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.pytest_run import run_pytest

TEST_FILE = """
import asyncio
import sys
import zulip_auth

def test_unused_fixture_imports_nothing():
    assert "uvicorn" not in sys.modules

def test_login(fake_zulip):
    fake_zulip.add_user("bot@example.com", "secret")
    credentials = asyncio.run(zulip_auth.login(fake_zulip.site, "bot@example.com", "secret"))
    assert credentials.email == "bot@example.com"
"""


@pytest.mark.slow
def test_fixture_in_other_project(tmp_path: Path) -> None:
    (tmp_path / "test_user.py").write_text(TEST_FILE)
    output = run_pytest(tmp_path)
    assert "2 passed" in output, output
