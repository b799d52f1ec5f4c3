"""Bots of other libraries against the program `zulip-auth fake-server`, by their own commands."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from helpers.caller import Caller
from interop.program import PROGRAMS, direct_and_mention

PAGE = Path(__file__).parent.parent.parent / "docs" / "testing.md"
BIN = Path(sys.executable).parent
NODE_MODULES = BIN.parent / "interop" / "node_modules"
BOT = "echo-bot@zulipdev.com"


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Path]:
    """The directory with the zuliprcs of a running program."""
    command: list[str | Path] = [BIN / "zulip-auth", "fake-server", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--write", tmp_path / "accounts"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout:
        list(iter(process.stdout.readline, "Press Ctrl-C to stop.\n"))
        yield tmp_path / "accounts"
        process.terminate()
        assert process.wait(10) == 143


def log_in(zuliprc: Path) -> Caller:
    config = configparser.ConfigParser()
    config.read(zuliprc)
    api = config["api"]
    server: Any = SimpleNamespace(site=api["site"])
    account: Any = SimpleNamespace(email=api["email"], api_key=api["key"], user_id=0)
    return Caller(server, account)


@pytest.mark.parametrize("library", ["zulip_bots", "zulip-js"])
def test_bot(library: str, accounts: Path, tmp_path: Path) -> None:
    zuliprc = accounts / f"{BOT}.zuliprc"
    command: list[str | Path] = ["node", PROGRAMS / "echo.js", zuliprc]
    if library == "zulip_bots":
        pytest.importorskip(library, reason="zulip_bots is not installed: run make interop")
        command = [BIN / "zulip-run-bot", "helloworld", "--config-file", zuliprc]
    elif not shutil.which("node") or not (NODE_MODULES / library).exists():
        pytest.skip("zulip-js is not installed: it needs node and npm")
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "NODE_PATH": str(NODE_MODULES),
    }
    person = log_in(accounts / "iago@zulip.com.zuliprc")
    with person.http, subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        try:
            url, deadline = f"{person.server.site}/fake-zulip/requests", time.monotonic() + 30
            while "/api/v1/events" not in httpx.get(url).text:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            for message in direct_and_mention(BOT, "Echo"):
                assert person.ask(BOT, **message) == "beep boop"
        finally:
            process.terminate()


@pytest.mark.usefixtures("accounts")
def test_documented_javascript(tmp_path: Path) -> None:
    if not shutil.which("node") or not (NODE_MODULES / "zulip-js").exists():
        pytest.skip("zulip-js is not installed: it needs node and npm")
    [code] = re.findall(
        r"^```javascript\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "page.js").write_text(code)
    environment = {"PATH": os.environ["PATH"], "NODE_PATH": str(NODE_MODULES)}
    result = subprocess.run(
        ["node", "page.js"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (result.stdout, result.stderr) == ("Echo\nsuccess\n", "")
