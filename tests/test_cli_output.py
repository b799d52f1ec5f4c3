from __future__ import annotations

import asyncio
import io
import logging
import re
import socket
import sys
import threading
from unittest.mock import Mock

import pytest

import zulip_auth
from helpers.cli_runner import CLIRunner, FakeTTY
from helpers.constants import PASSWORD, USERNAME
from zulip_auth._cli import main, output, waiting
from zulip_auth._cli.waiting import wait
from zulip_auth.testing import FakeZulip

BUSY = {"result": "error", "msg": "Busy", "code": "RATE_LIMIT_HIT"}


def use_fake_tty(monkeypatch: pytest.MonkeyPatch) -> FakeTTY:
    """Make both outputs a terminal. (Not a fixture, since pytest would replace them again.)"""
    terminal = FakeTTY()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return terminal


# ---- Standard output


def test_unencodable_output(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding="ascii"))
    output.print_output("é\nthe rest")
    assert data.getvalue() == b"\\xe9\nthe rest\n"


def test_missing_outputs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    output.print_err("The URL contains a pad.")
    output.print_error("No.")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(output.OutputError, match="standard output is closed"):
        output.print_output("key")


def test_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    controls = "\x1b[2J \x9b2J \u202eevil\u202c \u2066x\u2069 \u200f \r \t"
    output.print_output(controls)
    assert capsys.readouterr().out == f"{controls}\n"  # a file gets what it is meant to contain
    terminal = use_fake_tty(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    output.print_output(f"one\n{controls}")
    output.print_error(controls)
    shown = "?[2J ?2J ?evil? ?x? ? ? ?\n"
    assert terminal.getvalue() == f"one\n{shown}zulip-auth: {shown}"


# ---- Width and color


def test_errors_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_fake_tty(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    path = "/a-long/path/" * 5
    output.print_error(f"Could not read the file {path}: permission denied.")
    lines = terminal.getvalue().splitlines()
    assert lines == ["zulip-auth: Could not read the file", path + ":", "permission denied."]
    terminal = use_fake_tty(monkeypatch)
    monkeypatch.setenv("COLUMNS", "200")
    output.print_error("word " * 100)
    assert 74 <= max(map(len, terminal.getvalue().splitlines()[1:])) <= 79


def test_key_is_not_wrapped(
    server: FakeZulip, cli: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prose is (see test_narrow_terminal), what may be copied is not."""
    terminal = use_fake_tty(monkeypatch)
    monkeypatch.setenv("HOME", str(cli.path))
    monkeypatch.setenv("COLUMNS", "20")
    assert main(["login", server.site, USERNAME, "--dev", "--config", "-"]) == 0
    assert f"key = {server.account(USERNAME).api_key}" in terminal.getvalue().splitlines()
    server.add_bot(USERNAME, "A name of several words")
    assert main(["login", server.site, USERNAME, "--dev"]) == main(["bots"]) == 0
    assert terminal.getvalue().endswith("\nA name of several\nwords\n")


def test_error_color(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_fake_tty(monkeypatch)
    output.print_error("No.")
    monkeypatch.setenv("NO_COLOR", "1")
    output.print_error("No.")
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    output.print_error("No.")
    assert terminal.getvalue() == "\x1b[31mzulip-auth:\x1b[0m No.\n" + "zulip-auth: No.\n" * 2


# ---- Waiting


def log_in(server: FakeZulip) -> None:
    wait(zulip_auth.login(server.site, USERNAME, PASSWORD), "Logging in…")


def be_busy(server: FakeZulip, seconds: float) -> None:
    headers = {"Retry-After": str(seconds)}
    server.fail_next("/api/v1/fetch_api_key", status=429, json=BUSY, headers=headers)


def test_countdown(server: FakeZulip, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_fake_tty(monkeypatch)
    monkeypatch.setattr(waiting, "_PATIENCE", 60)
    be_busy(server, 0.35)
    log_in(server)
    first, *lines, last = terminal.getvalue().split("\r\x1b[K")
    assert (first, last) == ("", "")
    pattern = r"server busy; retrying in (0.[0-3]) s \(attempt 2 of 5\)"
    counted = [match[1] for line in lines if (match := re.fullmatch(pattern, line))]
    assert len(counted) == len(lines) >= 1
    assert counted == sorted(counted, reverse=True)


def test_retries_without_terminal(server: FakeZulip, capsys: pytest.CaptureFixture[str]) -> None:
    be_busy(server, 0.1)
    log = logging.getLogger("zulip_auth")
    before = (list(log.handlers), log.level)
    log_in(server)
    line = "zulip-auth: server busy; retrying in 0.1 s (attempt 2 of 5)\n"
    assert capsys.readouterr().err == line
    assert (log.handlers, log.level) == before

    async def warn() -> None:
        for sent, delay in ((False, 0.5), (True, 1.0)):
            log.info("Retrying.", extra={"sent": sent, "delay": delay, "attempt": 1})
        log.warning("Something %s.", "else")

    wait(warn())
    assert capsys.readouterr().err == (
        "zulip-auth: cannot connect; retrying in 0.5 s (attempt 2 of 5)\n"
        "zulip-auth: connection lost; retrying in 1.0 s (attempt 2 of 5)\n"
        "zulip-auth: Something else.\n"
    )


def test_signal_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that it locks are removed."""
    cleanup = Mock()

    async def lock() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleanup()

    monkeypatch.setattr(waiting._Progress, "show", Mock(side_effect=SystemExit(143)))
    with pytest.raises(SystemExit):
        wait(lock())
    cleanup.assert_called_once()


def test_host_name_that_is_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver of the system has a timeout of its own, which is longer."""
    is_resolved = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: is_resolved.wait(20) and [])
    client = zulip_auth.AuthClient("chat.example.com", timeout=0.1)
    with pytest.raises(zulip_auth.APIConnectionError, match="Timed out"):
        wait(client.server_settings())
    assert not is_resolved.is_set()
    assert "zulip-auth" in [thread.name for thread in threading.enumerate()]
    is_resolved.set()


def test_narrow_terminal(home: CLIRunner, server: FakeZulip) -> None:
    """A status line that is longer would scroll, and stay on the terminal."""
    path = "/api/v1/dev_fetch_api_key"
    server.fail_next(path, status=429, json=BUSY, headers={"Retry-After": "0.5"})
    server.fail_next(path, delay=1.5)
    argv = ("login", server.site, USERNAME, "--dev")
    with home.session(*argv, columns=40, TERM="xterm") as session:
        assert session.wait() == 0
    *status, prose = session.screen.split("\r\x1b[K")
    assert {len(line) for line in status if line.startswith("server busy")} == {39}
    assert status[-1] == "Logging in…"
    prose = prose.replace(str(home.zuliprc), "PATH")
    assert max(map(len, prose.splitlines())) < 40
    logged_in = f"Logged in to {server.site} as {USERNAME} (user 10). API key saved to PATH."
    assert " ".join(prose.split()) == logged_in
