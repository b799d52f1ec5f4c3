from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from zulip_auth.testing import FakeZulip

USERS_TEST = """
import asyncio
import zulip_auth

def test_my_bot_logs_in(fake_zulip):
    fake_zulip.add_user("bot@example.com", "secret")
    credentials = asyncio.run(zulip_auth.login(fake_zulip.site, "bot@example.com", "secret"))
    assert credentials.email == "bot@example.com"
"""


def test_the_fixture_is_there_without_being_asked_for(fake_zulip: FakeZulip) -> None:
    assert fake_zulip.site.startswith("http://127.0.0.1:")
    assert fake_zulip.realm.accounts == []


def test_a_users_own_test_file_passes(tmp_path: Path) -> None:
    (tmp_path / "test_bot.py").write_text(USERS_TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_run_that_does_not_use_it_does_not_import_the_server(tmp_path: Path) -> None:
    (tmp_path / "test_none.py").write_text(
        "import sys\ndef test_none():\n    assert 'uvicorn' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
