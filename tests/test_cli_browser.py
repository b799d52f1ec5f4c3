"""A login through a browser, with a script in the place of the browser."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import sys
import termios
import time
import webbrowser
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from helpers.cli_runner import CLIRunner, TerminalSession
from helpers.secret_scanner import SecretScanner
from zulip_auth import AuthClient, Credentials, InvalidInputError, SSOFlow, SSOFlowEndedError
from zulip_auth._cli import browser, url_handler
from zulip_auth.testing import ExternalMethod, FakeZulip

Stdin = io.FileIO
HAMLET = "hamlet@zulip.com"

# Follows the page that it is given, chooses an account, and starts the handler.
BROWSER = """
import re, subprocess, sys
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit
import httpx
page = Path(urlsplit(sys.argv[1]).path)
assert page.stat().st_mode & 0o077 == 0 and page.parent.stat().st_mode & 0o077 == 0
url = unescape(re.search('url=(.*?)"', page.read_text())[1])
end = httpx.get(url + "&email=hamlet%40zulip.com").headers["location"]
subprocess.run([sys.executable, "-m", "zulip_auth", "sso-handler", end], check=True)
"""


@pytest.fixture
def server(fake_zulip: FakeZulip) -> FakeZulip:
    fake_zulip.add_user(HAMLET, "secret")
    fake_zulip.realm.external_methods.append(ExternalMethod("google", "Google"))
    return fake_zulip


def end_of(url: str) -> str:
    """Do in the browser what a user does, and return where it ends."""
    return str(httpx.get(f"{url}&email={HAMLET.replace('@', '%40')}").headers["location"])


def shown_url(session: TerminalSession) -> str:
    session.expect("Redirect URL: ")
    [url] = re.findall(r"\n  (http://\S+)", session.screen)
    return str(url)


# ---- On a terminal


def test_login_with_url_handler(server: FakeZulip, home: CLIRunner, runtime_dir: Path) -> None:
    script = home.path / "browser.py"
    script.write_text(BROWSER)
    command = f"'{sys.executable}' '{script}' %s &"
    with home.session("login", server.site, "--sso", BROWSER=command) as session:
        session.expect(f"Logged in to {server.site} as {HAMLET} (user 10).")
        assert session.wait() == 0
    credentials = Credentials.load(home.zuliprc)
    assert credentials.api_key == server.account(HAMLET).api_key
    assert list(home.path.glob("zulip-auth-*")) == []


def test_pasted_url_is_hidden(server: FakeZulip, home: CLIRunner) -> None:
    """It is read while the browser blocks, as a first Firefox does until it is closed."""
    seen = home.path / "seen"
    script = home.path / "browser.sh"
    script.write_text(f'#!/bin/sh\necho "$@" > "{seen}"\nsleep 5\n')
    script.chmod(0o755)
    environment: Any = {"BROWSER": f"'{script}' %s", "XDG_RUNTIME_DIR": ""}
    with home.session("login", server.site, "--sso", "google", **environment) as session:
        session.expect("Opening your browser")
        url = shown_url(session)
        session.send_line(end_of(url))
        session.expect(f"as {HAMLET}")
        assert session.wait() == 0
    assert "otp_encrypted_api_key" not in session.screen
    SecretScanner(server.account(HAMLET).api_key).check(session.screen, "the terminal")
    # Everyone on the machine could have seen this.
    assert re.fullmatch(r"file:///\S+/login\.html\n", seen.read_text())


def test_closed_terminal(server: FakeZulip, home: CLIRunner) -> None:
    with home.session("login", server.site, "--sso", BROWSER="", DISPLAY="") as session:
        shown_url(session)
    assert session.process.returncode == 129
    assert list(home.path.iterdir()) == []


# ---- In this process


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stdin]:
    """Make standard input a pipe, and return its other end."""
    readable, writable = os.pipe()
    with open(readable) as file, open(writable, "wb", buffering=0) as other:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", file)
        yield other


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, cli: CLIRunner) -> list[str]:
    """Return the addresses at which the browser was opened."""
    found: list[str] = []

    class Browser:
        name = "/usr/bin/firefox"

        def open(self, uri: str) -> bool:
            page = Path(uri.removeprefix("file://")).read_text()
            found.append(unescape(re.findall('url=(.*?)"', page)[0]))
            return False

    monkeypatch.setattr(webbrowser, "get", Browser)
    monkeypatch.setenv("HOME", str(cli.path))
    return found


def start_flow(server: FakeZulip) -> SSOFlow:
    client = AuthClient(server.site)
    [method] = asyncio.run(client.server_settings()).external_methods
    return client.start_sso(method)


def begin(server: FakeZulip, opened: list[str]) -> tuple[Future[Credentials], str]:
    """Begin a login in a thread; return it, and where the browser ends."""
    flow = start_flow(server)
    future = ThreadPoolExecutor(1).submit(browser.login_with_browser, flow)
    wait_for(lambda: opened)
    return future, end_of(opened[0])


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


WRONG: dict[str, tuple[Callable[[str], str], str]] = {
    "login page": (
        lambda _: "https://chat.example.com/accounts/login/",
        "That is the URL of a web page. Log in there, then copy the zulip://login?… URL.",
    ),
    "password": (lambda _: "hunter2\xff", "That is not a URL. Copy the full zulip://login?… URL."),
    "first half": (lambda end: end[:60], "That URL is incomplete. Copy all of it."),
    "without realm": (
        lambda end: re.sub("realm=[^&]+", "realm=", end),
        "That URL is incomplete. Copy all of it.",
    ),
    "other organization": (
        lambda end: re.sub("realm=[^&]+", "realm=https%3A%2F%2Fx.example.com", end),
        "That URL is for a different organization, not {site}.",
    ),
    "earlier login": (
        lambda end: re.sub("otp_encrypted_api_key=[^&]+", f"otp_encrypted_api_key={'0' * 64}", end),
        "That URL is from a different login. Copy the latest one.",
    ),
}


def test_wrong_texts_then_valid_url(
    server: FakeZulip, opened: list[str], stdin: Stdin, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are explained, without names of parameters."""
    login, end = begin(server, opened)
    lines = [b" ", *(change(end).encode("latin-1") for change, _ in WRONG.values()), end.encode()]
    stdin.write(b"\n".join([*lines, b"more\n"]))
    assert login.result(10).basic_auth == (HAMLET, server.account(HAMLET).api_key)
    shown = capsys.readouterr().err
    assert re.findall("^zulip-auth: (That .*)$", shown, re.MULTILINE) == [
        message.format(site=server.site) for _, message in WRONG.values()
    ]
    assert "zulip-auth: Could not open a browser.\n" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("text", ['"{}"', "Failed to launch '{}' because\nmore", "\n  \n {}"])
def test_valid_text(text: str, server: FakeZulip, opened: list[str], stdin: Stdin) -> None:
    login, end = begin(server, opened)
    stdin.write(text.format(end.replace("&", "&amp;")).encode())
    stdin.close()
    assert login.result(10).email == HAMLET


@pytest.mark.parametrize("text", [b"", b"\n", b"zulip://wrong", b"zulip://wrong\n"])
def test_end_of_input(text: bytes, server: FakeZulip, opened: list[str], stdin: Stdin) -> None:
    login, _ = begin(server, opened)
    stdin.write(text)
    stdin.close()
    with pytest.raises(InvalidInputError, match="No valid redirect URL received"):
        login.result(10)


def test_unreadable_input(
    server: FakeZulip, cli: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nohup replaces a terminal by a file that is open for writing only."""
    monkeypatch.setenv("HOME", str(cli.path))
    monkeypatch.setattr(webbrowser, "get", Mock(side_effect=webbrowser.Error))
    with open(os.open(os.devnull, os.O_WRONLY)) as stdin:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(InvalidInputError, match="No valid redirect URL received"):
            browser.login_with_browser(start_flow(server))


def test_redirects_of_two_logins(
    server: FakeZulip,
    opened: list[str],
    stdin: Stdin,
    runtime_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The handler gives each login its own, also without an input."""
    logins = [begin(server, opened)]
    opened.clear()
    monkeypatch.setattr(sys, "stdin", None)
    logins.append(begin(server, opened))
    stdin.close()  # as of a program without input
    with pytest.raises(InvalidInputError, match="That URL is incomplete"):
        url_handler.forward_url("zulip://wrong")
    # The output of a handler is invisible.
    assert "zulip-auth: That URL is incomplete. Copy all of it.\n" in capsys.readouterr().err
    for login, end in logins:
        assert url_handler.forward_url(end) == "Login completed; return to the terminal."
        assert login.result(10).email == HAMLET
    assert list(runtime_dir.iterdir()) == []


def test_without_browser_and_input(
    server: FakeZulip,
    cli: CLIRunner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A browser in the terminal would fight with the prompt."""
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setenv("HOME", str(cli.path))
    (cli.path / "lynx").write_text(f'#!/bin/sh\ntouch "{cli.path}/started"\n')
    (cli.path / "lynx").chmod(0o755)
    found = [webbrowser.GenericBrowser(str(cli.path / "lynx")), webbrowser.Error("none")]
    for each in found:
        monkeypatch.setattr(webbrowser, "get", Mock(side_effect=[each]))
        with pytest.raises(InvalidInputError, match="No valid redirect URL"):
            browser.login_with_browser(start_flow(server))
        assert "Could not open a browser. To log in, visit:\n" in capsys.readouterr().err
    assert not (cli.path / "started").exists()


def test_expired_flow(
    server: FakeZulip, opened: list[str], stdin: Stdin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("_cli.browser", "_sso"):
        monkeypatch.setattr(f"zulip_auth.{module}.FLOW_TIMEOUT", 0.05)
    with pytest.raises(SSOFlowEndedError):
        browser.login_with_browser(start_flow(server))
    assert list(Path.home().glob("zulip-auth-*")) == []


def test_browser_starts_when_all_is_ready(
    server: FakeZulip,
    runtime_dir: Path,
    cli: CLIRunner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A browser that is logged in already redirects immediately."""
    master, slave = pty.openpty()
    seen: list[object] = []

    class Browser:
        def open(self, uri: str) -> bool:
            seen.append(termios.tcgetattr(slave)[3] & termios.ECHO)
            seen.append(len(list(runtime_dir.glob("zulip-auth-*.socket"))))
            return True

    monkeypatch.setattr(webbrowser, "get", Browser)
    monkeypatch.setenv("HOME", str(cli.path))
    with open(slave) as terminal:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", terminal)
        before = termios.tcgetattr(terminal)
        future = ThreadPoolExecutor(1).submit(browser.login_with_browser, start_flow(server))
        wait_for(lambda: len(seen) == 2)
        os.write(master, b"\x04")  # Ctrl-D
        with pytest.raises(InvalidInputError):
            future.result(10)
        assert termios.tcgetattr(terminal) == before
    os.close(master)
    assert seen == [0, 1]
    shown = capsys.readouterr().err
    assert shown.endswith("\nRedirect URL: \n")
    assert "Could not open a browser" not in shown
