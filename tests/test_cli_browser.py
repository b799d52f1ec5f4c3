"""A login through a browser, with a script in the place of the browser."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from subprocess import PIPE

import httpx
import pytest

import zulip_auth
from helpers.cli_runner import COMMAND, CLIRunner
from helpers.secret_scanner import SecretScanner
from zulip_auth import AuthClient, Credentials, InvalidInputError, SSOFlowEndedError
from zulip_auth._cli import browser, url_handler
from zulip_auth._cli.browser import login_with_browser
from zulip_auth.testing import ExternalMethod, FakeZulip

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
    return httpx.get(f"{url}&email={HAMLET.replace('@', '%40')}").headers["location"]


def test_login_with_url_handler(server: FakeZulip, home: CLIRunner, runtime_dir: Path) -> None:
    script = home.path / "browser.py"
    script.write_text(BROWSER)
    code, shown = home.run_in_pty(
        *("login", server.site, "--sso"),
        BROWSER=f"{sys.executable} {script} %s &",
        NO_COLOR="1",
    )
    assert code == 0, shown
    assert f"Logged in to {server.site} as {HAMLET} (user 10)." in shown
    credentials = Credentials.load(home.zuliprc)
    assert credentials.api_key == server.account(HAMLET).api_key
    assert [path.name for path in home.path.glob("zulip-auth-*")] == []


def test_pasted_url_is_hidden(server: FakeZulip, home: CLIRunner) -> None:
    pasted: list[str] = []

    def paste(shown: str) -> str:
        [url] = re.findall(r"\n  (http://\S+)", shown)
        pasted.append(end_of(url))
        return pasted[0]

    code, shown = home.run_in_pty(
        *("login", server.site, "--sso", "google"),
        inputs={"Redirect URL: ": paste},
        BROWSER="true",
        XDG_RUNTIME_DIR="",
    )
    assert code == 0, shown
    assert f"as {HAMLET}" in shown
    assert "otp_encrypted_api_key" not in shown
    SecretScanner(server.account(HAMLET).api_key).check(shown, "the terminal")


def test_redirect_url_from_pipe(server: FakeZulip, home: CLIRunner) -> None:
    seen = home.path / "seen"
    browser = home.path / "browser.sh"
    browser.write_text(f'#!/bin/sh\necho "$@" > {seen}\n')
    browser.chmod(0o755)
    command: list[str | Path] = [COMMAND, "login", server.site, "--sso", "--no-save"]
    environment = home.environment(BROWSER=f"{browser} %s", XDG_RUNTIME_DIR="")
    with subprocess.Popen(
        command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, env=environment
    ) as process:
        assert process.stdin
        assert process.stderr
        assert process.stdout
        url = ""
        while not url.startswith("  http://"):
            url = process.stderr.readline()
        process.stdin.write(end_of(url.strip()))
        process.stdin.close()
        assert f"as {HAMLET}" in process.stdout.read()
    assert process.returncode == 0
    # Everyone on the machine could have seen this.
    assert re.fullmatch(r"file:///\S+/login\.html\n", seen.read_text())


# ---- In this process


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Make standard input a pipe, and return where to write to it."""
    readable, writable = os.pipe()
    with open(readable) as file:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", file)
        yield writable
        os.close(writable)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, home: CLIRunner) -> list[str]:
    """Return the addresses at which the browser was opened."""
    found: list[str] = []

    class Browser:
        name = "/usr/bin/firefox"

        def open(self, uri: str) -> bool:
            page = Path(uri.removeprefix("file://")).read_text()
            found.append(unescape(re.findall('url=(.*?)"', page)[0]))
            return False

    monkeypatch.setattr(webbrowser, "get", Browser)
    monkeypatch.setenv("HOME", str(home.path))
    return found


async def begin(server: FakeZulip, opened: list[str]) -> asyncio.Task[Credentials]:
    """Begin a login, and return once the browser has been opened."""
    client = AuthClient(server.site)
    [method] = (await client.server_settings()).external_methods
    task = asyncio.create_task(login_with_browser(client, method))
    async with asyncio.timeout(10):
        while not opened:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    return task


async def test_wrong_url_then_valid_url(
    server: FakeZulip, opened: list[str], stdin: int, capsys: pytest.CaptureFixture[str]
) -> None:
    task = await begin(server, opened)
    os.write(stdin, b"\n  zulip://login?email=x\nhunter2\xff\n")
    os.write(stdin, (await asyncio.to_thread(end_of, opened[0])).encode() + b" \nmore\n")
    credentials = await task
    assert credentials.basic_auth == (HAMLET, server.account(HAMLET).api_key)
    shown = capsys.readouterr().err
    assert "zulip-auth: That URL is incomplete. Copy all of it.\n" in shown
    assert "zulip-auth: That is not a URL. Copy the full zulip://login?… URL.\n" in shown
    assert "zulip-auth: Could not open a browser.\n" in shown
    assert "hunter2" not in shown
    assert opened[0] in shown


PASTED: dict[str, tuple[Callable[[str], str], str | None]] = {
    "quoted": (lambda end: f'"{end}"', None),
    "with other text": (lambda end: f"Failed to launch '{end}' because", None),
    "login page": (
        lambda _: "https://chat.example.com/accounts/login/",
        "That is the URL of a web page. Log in there, then copy the zulip://login?… URL.",
    ),
    "password": (lambda _: "hunter2", "That is not a URL. Copy the full zulip://login?… URL."),
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


@pytest.mark.parametrize(("change", "message"), PASTED.values(), ids=PASTED)
async def test_pasted_text(
    change: Callable[[str], str],
    message: str | None,
    server: FakeZulip,
    opened: list[str],
    stdin: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pasted text is understood, or explained without names of parameters."""
    task = await begin(server, opened)
    end = await asyncio.to_thread(end_of, opened[0])
    os.write(stdin, change(end).encode() + b"\n")
    if message:
        async with asyncio.timeout(10):
            while "zulip-auth: That" not in (shown := capsys.readouterr().err):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert f"zulip-auth: {message.format(site=server.site)}\n" in shown
        os.write(stdin, end.encode() + b"\n")
    assert (await task).email == HAMLET


@pytest.mark.parametrize("given", [b"", b"\n", b"zulip://wrong", b"zulip://wrong\n"])
async def test_eof_without_valid_url(
    given: bytes, server: FakeZulip, opened: list[str], stdin: int
) -> None:
    task = await begin(server, opened)
    os.write(stdin, given)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stdin)  # which ends the pipe
    os.close(nothing)
    with pytest.raises(InvalidInputError, match="No valid redirect URL received"):
        await task


async def test_login_without_stdin(
    server: FakeZulip, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(webbrowser, "get", raise_no_browser)
    monkeypatch.setenv("HOME", str(home.path))
    client = AuthClient(server.site)
    [method] = (await client.server_settings()).external_methods
    with pytest.raises(InvalidInputError, match="No valid redirect URL"):
        await login_with_browser(client, method)


def raise_no_browser() -> webbrowser.BaseBrowser:
    raise webbrowser.Error("could not locate runnable browser")


async def test_login_without_stdin_with_url_handler(
    server: FakeZulip, opened: list[str], runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    task = await begin(server, opened)
    end = await asyncio.to_thread(end_of, opened[0])
    with pytest.raises(InvalidInputError, match="That URL is incomplete"):
        await asyncio.to_thread(url_handler.forward_url, "zulip://wrong")
    done = await asyncio.to_thread(url_handler.forward_url, end)
    assert done == "Login completed; return to the terminal."
    assert (await task).email == HAMLET


async def test_expired_flow(server: FakeZulip, stdin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "FLOW_TIMEOUT", 0.05)
    monkeypatch.setattr("zulip_auth._sso.FLOW_TIMEOUT", 0.05)
    monkeypatch.setattr(browser, "_start_thread", lambda *_args: None)  # no browser, no input
    client = AuthClient(server.site)
    [method] = (await client.server_settings()).external_methods
    with pytest.raises(SSOFlowEndedError):
        await login_with_browser(client, method)


async def test_redirect_is_verified(server: FakeZulip, opened: list[str], stdin: int) -> None:
    task = await begin(server, opened)
    end = await asyncio.to_thread(end_of, opened[0])
    os.write(stdin, end.replace("user_id=10", "user_id=11").encode() + b"\n")
    with pytest.raises(zulip_auth.InvalidApiKeyError):
        await task


async def test_cancelled_login_removes_page(
    server: FakeZulip, opened: list[str], stdin: int, home: CLIRunner
) -> None:
    task = await begin(server, opened)
    assert len(list(home.path.glob("zulip-auth-*"))) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(home.path.glob("zulip-auth-*")) == []


async def test_redirect_url_from_terminal(
    server: FakeZulip,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import pty

    fail_to_open = webbrowser.get.open  # type: ignore[attr-defined]
    succeed = lambda self, url: not fail_to_open(self, url)  # noqa: E731
    monkeypatch.setattr(webbrowser.get, "open", succeed)
    master, slave = pty.openpty()
    with open(slave) as terminal:  # noqa: ASYNC230, PTH123
        monkeypatch.setattr(sys, "stdin", terminal)
        task = await begin(server, opened)
        os.write(master, (await asyncio.to_thread(end_of, opened[0])).encode() + b"\n")
        assert (await task).email == HAMLET
    os.close(master)
    shown = capsys.readouterr().err
    assert "\nRedirect URL: " in shown
    assert "Could not open a browser" not in shown


def test_echo_is_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import pty
    import termios

    master, slave = pty.openpty()
    with open(slave) as terminal:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", terminal)
        before = termios.tcgetattr(terminal)
        with browser._echo_disabled():
            assert not termios.tcgetattr(terminal)[3] & termios.ECHO
        assert termios.tcgetattr(terminal) == before
    os.close(master)


# ---- Browsers


def test_console_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "get", lambda: webbrowser.GenericBrowser("/usr/bin/lynx"))
    assert browser._find_browser() is None


@pytest.mark.parametrize("browser", ["lynx", None])
def test_console_browser_is_not_started(
    browser: str | None, server: FakeZulip, home: CLIRunner
) -> None:
    """It would fight with the prompt over the terminal."""
    tools = home.path / "bin"
    tools.mkdir()
    if browser:
        (tools / browser).write_text(f"#!/bin/sh\ntouch {home.path}/started\n")
        (tools / browser).chmod(0o755)
    with home.session(
        *("login", server.site, "--sso"),
        BROWSER="",
        DISPLAY="",
        WAYLAND_DISPLAY="",
        PATH=str(tools),
        TERM="xterm",
    ) as session:
        session.expect("Could not open a browser. To log in, visit:\n")
        session.expect("Redirect URL: ")
        session.send("\x03")
        assert session.wait() == 130
    assert not (home.path / "started").exists()


def test_browser_that_blocks(server: FakeZulip, home: CLIRunner) -> None:
    """A first Firefox does not return before it is closed."""
    with home.session(*("login", server.site, "--sso"), BROWSER="sh -c 'sleep 5' %s") as session:
        session.expect("Opening your browser")
        session.expect("Redirect URL: ")
        [url] = re.findall(r"\n  (http://\S+)", session.screen)
        session.send_line(end_of(url))
        session.expect(f"Logged in to {server.site} as {HAMLET}")
        assert session.wait() == 0


def test_browser_starts_when_all_is_ready(
    server: FakeZulip, home: CLIRunner, runtime_dir: Path
) -> None:
    """A browser that is logged in already redirects immediately."""
    seen = home.path / "seen"
    script = home.path / "browser.sh"
    script.write_text(
        f"#!/bin/sh\n{{ ls {runtime_dir}; stty -a < /dev/tty; }} > {seen}.tmp\n"
        f"mv {seen}.tmp {seen}\n"
    )
    script.chmod(0o755)
    with home.session(*("login", server.site, "--sso"), BROWSER=str(script)) as session:
        session.expect("Redirect URL: ")
        while not seen.exists():
            pass
        session.send("\x03")
        assert session.wait() == 130
    text = seen.read_text()
    assert re.search(r"^zulip-auth-\w+\.socket$", text, re.MULTILINE)
    assert re.search(r" -echo\b", text)


def test_two_logins_get_their_own_redirects(
    server: FakeZulip, home: CLIRunner, runtime_dir: Path
) -> None:
    argv = ("login", server.site, "--sso", "--no-save")
    with (
        home.session(*argv, BROWSER="true", NO_COLOR="1") as first,
        home.session(*argv, BROWSER="true", NO_COLOR="1") as second,
    ):
        for session in (first, second):
            session.expect("Redirect URL: ")
        # In the order in which neither comes last.
        for session in (first, second):
            [url] = re.findall(r"\n  (http://\S+)", session.screen)
            code, out, err = home.run("sso-handler", end_of(url))
            assert (code, out, err) == (0, "Login completed; return to the terminal.\n", "")
            assert session.wait() == 0
            assert f"as {HAMLET}" in session.screen
            assert "zulip-auth:" not in session.screen
    code, out, err = home.run("sso-handler", "zulip://login?x")
    assert (code, out) == (69, "")
