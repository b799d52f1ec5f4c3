from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.cli_runner import CLIRunner
from zulip_auth import APIConnectionError, InvalidInputError
from zulip_auth._cli import url_handler
from zulip_auth._cli.url_handler import forward_url, install, redirect_listener, uninstall

URL = "zulip://login?otp_encrypted_api_key=e5e3&email=hamlet%40zulip.com"


async def test_forward_url(runtime_dir: Path) -> None:
    taken: asyncio.Queue[bytes] = asyncio.Queue()
    async with redirect_listener(taken.put_nowait) as is_listening:
        assert is_listening
        [path] = runtime_dir.iterdir()
        assert path.stat().st_mode & 0o777 == 0o600
        for url in (URL, "", "x" * 100_000):
            assert (
                await asyncio.to_thread(forward_url, url)
                == "Login completed; return to the terminal."
            )
            assert (await taken.get()).decode() == url[: 64 * 1024]
    with pytest.raises(APIConnectionError) as caught:
        forward_url(URL)
    assert str(caught.value) == "No login in progress. Start one with: zulip-auth login SITE --sso"


async def test_latest_listener_wins(runtime_dir: Path) -> None:
    taken: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
    async with (
        redirect_listener(lambda data: taken.put_nowait((1, data))),
        redirect_listener(lambda data: taken.put_nowait((2, data))) as is_listening,
    ):
        assert is_listening
        await asyncio.to_thread(forward_url, URL)
        assert await taken.get() == (2, URL.encode())


async def test_unfinished_client_is_dropped(runtime_dir: Path) -> None:
    taken: list[bytes] = []
    async with redirect_listener(taken.append):
        reader, writer = await asyncio.open_unix_connection(runtime_dir / "zulip-auth-sso.socket")
        writer.write(b"zulip://")
        await writer.drain()
        await asyncio.sleep(0.05)  # in which it is accepted
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    assert taken == []


@pytest.mark.parametrize("mode", [0o755, 0o711, 0o770, None])
async def test_runtime_dir_must_be_private(mode: int | None, runtime_dir: Path) -> None:
    runtime_dir.rmdir() if mode is None else runtime_dir.chmod(mode)
    async with redirect_listener(lambda _: None) as is_listening:
        assert not is_listening
    with pytest.raises(APIConnectionError):
        forward_url(URL)


async def test_missing_runtime_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    async with redirect_listener(lambda _: None) as is_listening:
        assert not is_listening


async def test_socket_cannot_be_created(runtime_dir: Path) -> None:
    (runtime_dir / "zulip-auth-sso.socket").mkdir()
    async with redirect_listener(lambda _: None) as is_listening:
        assert not is_listening


# ---- The desktop


@pytest.fixture
def desktop(home: CLIRunner, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where a stand-in for xdg-mime notes what it is told."""
    tools, told = home.path / "bin", home.path / "told"
    tools.mkdir()
    tool = tools / "xdg-mime"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {told}\nexit ${{XDG_MIME_EXIT:-0}}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(home.path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return told


def test_install_and_uninstall(desktop: Path, home: CLIRunner) -> None:
    entry = home.path / ".local/share/applications/zulip-auth.desktop"
    assert uninstall() == "The handler is not installed."
    assert install() == f"zulip-auth now handles zulip:// URLs ({entry})."
    assert desktop.read_text() == "default zulip-auth.desktop x-scheme-handler/zulip\n"
    lines = entry.read_text().splitlines()
    assert lines[0] == "[Desktop Entry]"
    assert "MimeType=x-scheme-handler/zulip;" in lines
    assert f'Exec="{sys.executable}" "-P" "-m" "zulip_auth" "sso-handler" %u' in lines
    assert uninstall() == f"Removed {entry}."
    assert not entry.exists()


def test_desktop_entry_quoting(
    desktop: Path, home: CLIRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", '/a b/$x"%`\\python')
    monkeypatch.setenv("XDG_DATA_HOME", str(home.path / "data"))
    install()
    text = (home.path / "data/applications/zulip-auth.desktop").read_text()
    assert 'Exec="/a b/\\\\$x\\\\"%%\\\\`\\\\\\\\python" "-P" "-m"' in text


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
    monkeypatch.setenv("XDG_DATA_HOME", "~nobody-of-that-name")
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
    assert url_handler._DESKTOP_FILE_NAME in desktop.read_text()
