from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.cli_runner import CLIRunner
from zulip_auth import APIConnectionError, InvalidInputError
from zulip_auth._cli import url_handler
from zulip_auth._cli.url_handler import forward_url, install, redirect_listener, uninstall

URL = "zulip://login?otp_encrypted_api_key=e5e3&email=hamlet%40zulip.com"


class Waiting:
    """A login that accepts URLs that contain a text."""

    def __init__(self, accepts: str) -> None:
        self.accepts = accepts
        self.calls: list[tuple[str, bool]] = []

    def on_url(self, url: str, show_error: bool) -> None:
        self.calls.append((url, show_error))
        if self.accepts not in url:
            raise InvalidInputError(f"not for {self.accepts}")


async def forward(url: str) -> str:
    return await asyncio.to_thread(forward_url, url)


async def test_forward_url(runtime_dir: Path) -> None:
    login = Waiting("zulip:")
    async with redirect_listener(login.on_url) as is_listening:
        assert is_listening
        [path] = runtime_dir.iterdir()
        assert path.stat().st_mode & 0o777 == 0o600
        assert await forward(URL) == "Login completed; return to the terminal."
        assert login.calls == [(f"{URL}\n", False)]
    assert not list(runtime_dir.iterdir())
    with pytest.raises(APIConnectionError) as caught:
        forward_url(URL)
    assert str(caught.value) == (
        "No login in progress. Start one with: zulip-auth login SITE --sso"
    )


async def test_forward_url_of_no_login(runtime_dir: Path) -> None:
    """The logins show why, since the output of a handler is invisible."""
    logins = [Waiting("one"), Waiting("two")]
    async with redirect_listener(logins[0].on_url), redirect_listener(logins[1].on_url):
        with pytest.raises(InvalidInputError) as caught:
            await forward("zulip://three")
    assert str(caught.value).startswith("No login in progress accepts the URL: not for ")
    for login in logins:
        assert login.calls == [("zulip://three\n", False), ("zulip://three\n", True)]


async def test_forward_too_long_url(runtime_dir: Path) -> None:
    login = Waiting("x")
    async with redirect_listener(login.on_url):
        with pytest.raises(APIConnectionError):
            await forward("x" * 100_000)
    assert login.calls == []


async def test_socket_of_killed_login(runtime_dir: Path) -> None:
    stale = runtime_dir / "zulip-auth-dead.socket"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(stale))
    (runtime_dir / "zulip-auth-no.socket").touch()
    login = Waiting("zulip:")
    async with redirect_listener(login.on_url):
        assert await forward(URL) == "Login completed; return to the terminal."
        with pytest.raises(InvalidInputError):
            await forward("x")


async def test_unfinished_client_is_dropped(
    runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(url_handler, "_TIMEOUT", 0.05)
    login = Waiting("")
    async with redirect_listener(login.on_url):
        [path] = runtime_dir.iterdir()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"!zulip://")
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
    assert login.calls == []


@pytest.mark.parametrize("mode", [0o755, 0o711, 0o770, None])
async def test_runtime_dir_must_be_private(mode: int | None, runtime_dir: Path) -> None:
    runtime_dir.rmdir() if mode is None else runtime_dir.chmod(mode)
    async with redirect_listener(Waiting("").on_url) as is_listening:
        assert not is_listening
    with pytest.raises(APIConnectionError):
        forward_url(URL)


async def test_missing_runtime_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    async with redirect_listener(Waiting("").on_url) as is_listening:
        assert not is_listening


async def test_socket_cannot_be_created(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "x" * 200)
    async with redirect_listener(Waiting("").on_url) as is_listening:
        assert not is_listening


# ---- The desktop


@pytest.fixture
def desktop(home: CLIRunner, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which a stand-in for xdg-mime records its arguments."""
    tools, calls = home.path / "bin", home.path / "calls"
    tools.mkdir()
    tool = tools / "xdg-mime"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexit ${{XDG_MIME_EXIT:-0}}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(home.path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return calls


def test_install_and_uninstall(desktop: Path, home: CLIRunner) -> None:
    entry = home.path / ".local/share/applications/zulip-auth.desktop"
    assert uninstall() == "The handler is not installed."
    assert install() == f"zulip-auth now handles zulip:// URLs ({entry})."
    assert desktop.read_text() == "default zulip-auth.desktop x-scheme-handler/zulip\n"
    lines = entry.read_text().splitlines()
    assert lines[0] == "[Desktop Entry]"
    assert "MimeType=x-scheme-handler/zulip;" in lines
    assert f'Exec="{sys.executable}" -P -m zulip_auth sso-handler %u' in lines
    assert uninstall() == f"Removed {entry}."
    assert not entry.exists()


def test_desktop_entry_quoting(
    desktop: Path, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", '/a b/$x"%`\\python')
    monkeypatch.setenv("XDG_DATA_HOME", str(home.path / "data"))
    install()
    text = (home.path / "data/applications/zulip-auth.desktop").read_text()
    assert 'Exec="/a b/\\\\$x\\\\"%%\\\\`\\\\\\\\python" -P -m ' in text


def test_install_fails(desktop: Path, home: CLIRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_MIME_EXIT", "3")
    with pytest.raises(InvalidInputError, match="xdg-mime exited with status 3"):
        install()
    (home.path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(home.path / "file"))
    with pytest.raises(InvalidInputError, match="Could not install the handler: Not a directory"):
        install()
    monkeypatch.setenv("PATH", str(home.path))
    with pytest.raises(InvalidInputError, match="xdg-mime not found"):
        install()


def test_uninstall_fails(desktop: Path, home: CLIRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = home.path / ".local/share/applications/zulip-auth.desktop"
    entry.mkdir(parents=True)
    with pytest.raises(InvalidInputError, match=r"Could not remove .*: Is a directory"):
        uninstall()
    monkeypatch.setenv("XDG_DATA_HOME", "~unknown-user")
    for call in (install, uninstall):
        with pytest.raises(InvalidInputError, match="Could not find the home directory"):
            call()


def test_desktop_entry_command(desktop: Path, home: CLIRunner, runtime_dir: Path) -> None:
    install()
    entry = (home.path / ".local/share/applications/zulip-auth.desktop").read_text()
    [line] = [line for line in entry.splitlines() if line.startswith("Exec=")]
    command = line.removeprefix("Exec=").replace('"', "").replace("%u", URL).split()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 69
    assert done.stderr.startswith("zulip-auth: No login in progress.")
    assert "e5e3" not in done.stderr
    assert "zulip-auth.desktop" in desktop.read_text()


@pytest.mark.parametrize("packed_by", ["zipapp", "PyInstaller"])
def test_desktop_entry_of_a_packed_command(packed_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/program")
    if packed_by == "zipapp":
        monkeypatch.setattr(url_handler.__loader__, "archive", "/a b.pyz", raising=False)
        assert url_handler._command() == '"/usr/bin/program" "/a b.pyz" sso-handler %u'
    else:
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        assert url_handler._command() == '"/usr/bin/program" sso-handler %u'
