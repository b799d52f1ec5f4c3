from __future__ import annotations

import os
import secrets
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.cli_runner import CLIRunner
from zulip_auth import APIConnectionError, InvalidInputError
from zulip_auth._cli import url_handler
from zulip_auth._cli.url_handler import (
    ACCEPTED,
    forward_url,
    install,
    receive_url,
    redirect_listener,
    uninstall,
)

URL = "zulip://login?otp_encrypted_api_key=e5e3&email=hamlet%40zulip.com"


@contextmanager
def waiting_login(accepts: str) -> Iterator[list[str]]:
    """Run a login that accepts URLs with a text, and return those that it receives."""
    received: list[str] = []

    def serve(listener: socket.socket) -> None:
        while True:
            for text, reply in receive_url(listener):
                if text == "end\n":
                    return
                received.append(text)
                reply(ACCEPTED if accepts in text else f"not for {accepts}")

    with redirect_listener() as listener:
        assert listener is not None
        path = listener.getsockname()
        assert Path(path).stat().st_mode & 0o777 == 0o600
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield received
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(b"end\n")
        thread.join()


def test_forward_url(runtime_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:  # a killed login leaves its socket
        killed.bind(str(runtime_dir / "zulip-auth-dead.socket"))
    (runtime_dir / "zulip-auth-no.socket").touch()
    with waiting_login("one"), waiting_login("zulip:") as received:
        assert forward_url(URL) == "Login completed; return to the terminal."
        assert received == [f"{URL}\n"]
        with pytest.raises(InvalidInputError, match=r"^No login in progress accepts the URL: not "):
            forward_url("three")
        with pytest.raises(APIConnectionError):  # too long
            forward_url("x" * 100_000)
        assert len(received) == 2
    assert len(list(runtime_dir.iterdir())) == 2
    with pytest.raises(APIConnectionError, match=r"^No login in progress\. Start one with: "):
        forward_url(URL)


def test_unfinished_client_is_dropped(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_handler, "_TIMEOUT", 0.05)
    with redirect_listener() as listener, socket.socket(socket.AF_UNIX) as connection:
        assert listener is not None
        connection.connect(listener.getsockname())
        connection.sendall(b"zulip://")
        assert list(receive_url(listener)) == []
        assert connection.recv(1) == b""
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(listener.getsockname())
            other.sendall(b"zulip://\n")
        for _, reply in receive_url(listener):
            reply(ACCEPTED)  # which the client does not read


@pytest.mark.parametrize("trouble", ["readable by others", "missing", "long name"])
def test_unusable_runtime_dir(
    trouble: str, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "missing":
        monkeypatch.delenv("XDG_RUNTIME_DIR")
    elif trouble == "long name":
        monkeypatch.setattr(secrets, "token_hex", lambda _: "x" * 200)
    else:
        runtime_dir.chmod(0o755)
    with redirect_listener() as listener:
        assert listener is None
    with pytest.raises(APIConnectionError):
        forward_url(URL)


# ---- The desktop


@pytest.fixture
def desktop(cli: CLIRunner, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which a stand-in for xdg-mime records its arguments."""
    tools, calls = cli.path / "bin", cli.path / "calls"
    tools.mkdir()
    tool = tools / "xdg-mime"
    tool.write_text(f'#!/bin/sh\necho "$@" >> "{calls}"\nexit ${{XDG_MIME_EXIT:-0}}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(cli.path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return calls


def test_install_and_uninstall(desktop: Path, cli: CLIRunner, runtime_dir: Path) -> None:
    entry = cli.path / ".local/share/applications/zulip-auth.desktop"
    assert uninstall() == "The handler is not installed."
    assert install() == f"zulip-auth now handles zulip:// URLs ({entry})."
    assert desktop.read_text() == "default zulip-auth.desktop x-scheme-handler/zulip\n"
    lines = entry.read_text().splitlines()
    assert lines[0] == "[Desktop Entry]"
    assert "MimeType=x-scheme-handler/zulip;" in lines
    command = f'"{sys.executable}" -P -m zulip_auth sso-handler %u'
    assert f"Exec={command}" in lines
    argv = [part.replace("%u", URL) for part in shlex.split(command)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 69
    assert done.stderr.startswith("zulip-auth: No login in progress.")
    assert "e5e3" not in done.stderr
    assert uninstall() == f"Removed {entry}."
    assert not entry.exists()


def test_install_fails(desktop: Path, cli: CLIRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_MIME_EXIT", "3")
    with pytest.raises(InvalidInputError, match="xdg-mime exited with status 3"):
        install()
    (cli.path / "file").touch()
    for directory, reason in (
        (str(cli.path / "file"), "Not a directory"),
        ("~unknown-user", "no home directory"),
    ):
        monkeypatch.setenv("XDG_DATA_HOME", directory)
        for call in (install, uninstall):
            with pytest.raises(InvalidInputError, match=f"Could not change the .*: {reason}\\.$"):
                call()
    monkeypatch.setenv("PATH", str(cli.path))
    with pytest.raises(InvalidInputError, match="xdg-mime not found"):
        install()


def test_desktop_entry_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", '/a b/$x"%`\\python')
    program = '"/a b/\\\\$x\\\\"%%\\\\`\\\\\\\\python"'
    assert url_handler._command() == f"{program} -P -m zulip_auth sso-handler %u"
    with monkeypatch.context() as zipapp:
        zipapp.setattr(url_handler.__loader__, "archive", "/a b.pyz", raising=False)
        assert url_handler._command() == f'{program} "/a b.pyz" sso-handler %u'
    monkeypatch.setattr(sys, "frozen", True, raising=False)  # by PyInstaller
    assert url_handler._command() == f"{program} sso-handler %u"
