"""Bots of other libraries against the program `zulip-auth fake-server`, by their own commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from interop.program import PROGRAMS

ROOT = Path(__file__).parent.parent.parent
BOT = "echo-bot@zulipdev.com"


class FakeServer:
    """A running program, and a person who has an account on it."""

    def __init__(self, site: str, accounts: Path) -> None:
        self.site, self.zuliprc = site, accounts / f"{BOT}.zuliprc"
        login = {"username": "iago@zulip.com", "password": "secret"}
        key = httpx.post(f"{site}/api/v1/fetch_api_key", data=login).json()["api_key"]
        self.person = httpx.Client(base_url=f"{site}/api/v1", auth=(login["username"], key))

    def wait_for(self, path: str) -> None:
        """Wait for a request."""
        url, deadline = f"{self.site}/fake-zulip/requests", time.monotonic() + 30
        while path not in {r["path"] for r in httpx.get(url).json()["requests"]}:
            assert time.monotonic() < deadline, path
            time.sleep(0.05)

    def ask(self, **message: str) -> str:
        """Send a message and return the content of the bot's response."""
        queue = self.person.post("/register", data={"event_types": '["message"]'}).json()
        assert self.person.post("/messages", data=message).json()["result"] == "success"
        query: dict[str, Any] = {"queue_id": queue["queue_id"], "last_event_id": -1}
        while True:
            for event in self.person.get("/events", params=query, timeout=30).json()["events"]:
                query["last_event_id"] = event["id"]
                if event["message"]["sender_email"] == BOT:
                    return str(event["message"]["content"])


@pytest.fixture
def fake_server(tmp_path: Path, bin_directory: Path) -> Iterator[FakeServer]:
    command: list[str | Path] = [bin_directory / "zulip-auth", "fake-server", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--write", tmp_path / "accounts"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout:
        lines = list(iter(process.stdout.readline, "Press Ctrl-C to stop.\n"))
        server = FakeServer(lines[0].split()[-1], tmp_path / "accounts")
        with server.person:
            yield server
        process.terminate()
        assert process.wait(10) == 143


@contextmanager
def running(*command: str | Path, directory: Path, **variables: str) -> Iterator[None]:
    environment = {"HOME": str(directory), "PATH": os.environ["PATH"], **variables}
    with subprocess.Popen(command, cwd=directory, env=environment) as process:
        try:
            yield
        finally:
            process.terminate()


def check_answers(server: FakeServer) -> None:
    server.wait_for("/api/v1/events")
    assert server.ask(type="direct", to=BOT, content="hello") == "beep boop"
    mention = {"to": "general", "topic": "greetings", "content": "@**Echo** hello"}
    assert server.ask(type="channel", **mention) == "beep boop"


def test_zulip_bots(fake_server: FakeServer, tmp_path: Path, bin_directory: Path) -> None:
    pytest.importorskip("zulip_bots", reason="zulip_bots is not installed: run make interop")
    command = bin_directory / "zulip-run-bot"
    arguments = ["helloworld", "--config-file", str(fake_server.zuliprc)]
    with running(command, *arguments, directory=tmp_path):
        check_answers(fake_server)


@pytest.fixture
def node_path(bin_directory: Path) -> str:
    modules = bin_directory.parent / "interop" / "node_modules"
    if not shutil.which("node") or not (modules / "zulip-js").exists():
        pytest.skip("zulip-js is not installed: it needs node and npm")
    return str(modules)


def test_zulip_js(fake_server: FakeServer, tmp_path: Path, node_path: str) -> None:
    arguments = [PROGRAMS / "echo.js", fake_server.zuliprc]
    with running("node", *arguments, directory=tmp_path, NODE_PATH=node_path):
        check_answers(fake_server)


def test_documented_javascript(fake_server: FakeServer, tmp_path: Path, node_path: str) -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^```javascript\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "page.js").write_text(code)
    environment = {"PATH": os.environ["PATH"], "NODE_PATH": node_path}
    result = subprocess.run(
        ["node", "page.js"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (result.stdout, result.stderr) == ("Echo\nsuccess\n", "")
