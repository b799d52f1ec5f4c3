"""The desktop's handler for `zulip://`: forward a redirect URL to the waiting login.

It is sent over a Unix socket in the user's private runtime directory. A
forwarded URL is trusted no more than a pasted one.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from zulip_auth._exceptions import APIConnectionError, InvalidInputError

_MAX_BYTES = 32 * 1024
_MIME_TYPE = "x-scheme-handler/zulip"
_DESKTOP_FILE_NAME = "zulip-auth.desktop"
_DESKTOP_ENTRY = """\
[Desktop Entry]
Type=Application
Name=zulip-auth
Comment=Complete a Zulip login started by zulip-auth
Exec={command}
MimeType={mime_type};
NoDisplay=true
Terminal=false
"""


def _socket_path() -> Path | None:
    """Return the path of the socket; None without a private directory for it."""
    directory = os.environ.get("XDG_RUNTIME_DIR")
    if not directory or not hasattr(socket, "AF_UNIX"):
        return None
    with suppress(OSError, ValueError):
        status = Path(directory).stat()
        if stat.S_IMODE(status.st_mode) & 0o077 == 0 and status.st_uid == os.getuid():
            return Path(directory, "zulip-auth-sso.socket")
    return None


@asynccontextmanager
async def redirect_listener(on_url: Callable[[bytes], None]) -> AsyncIterator[bool]:
    """Pass forwarded URLs to *on_url*; yield whether that is possible."""
    path = _socket_path()

    async def handle_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        client_tasks.add(task)
        try:
            with suppress(OSError):
                data = b""
                while len(data) <= _MAX_BYTES and (chunk := await reader.read(_MAX_BYTES)):
                    data += chunk
                on_url(data)
        finally:
            client_tasks.discard(task)
            writer.transport.abort()

    client_tasks: set[asyncio.Task[None]] = set()
    server = None
    if path is not None:
        with suppress(OSError):
            # The latest login receives the redirect; an earlier one still accepts a paste.
            server = await asyncio.start_unix_server(handle_client, path)
            path.chmod(0o600)
    try:
        yield server is not None
    finally:
        if server is not None:
            server.close()
            for task in client_tasks:
                task.cancel()
            await asyncio.gather(*client_tasks, return_exceptions=True)
            await asyncio.sleep(0)  # let aborted transports close


def forward_url(url: str) -> str:
    """Send a redirect URL to the waiting login.

    Raises:
        APIConnectionError: If no login is waiting.
    """
    path = _socket_path()
    if path is not None:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(os.fsencode(url))
            return "Login completed; return to the terminal."
    raise APIConnectionError(
        "No login in progress. Start one with: zulip-auth login SITE --sso", sent=False
    )


def install() -> str:
    """Register this command as the desktop's handler for `zulip://`.

    Raises:
        InvalidInputError: If the desktop does not support that.
    """
    xdg_mime = shutil.which("xdg-mime")
    if xdg_mime is None:
        raise InvalidInputError("xdg-mime not found; this requires a Linux desktop.")
    entry = _desktop_file()
    reason = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_text(
            _DESKTOP_ENTRY.format(command=_command(), mime_type=_MIME_TYPE), encoding="utf-8"
        )
        subprocess.run([xdg_mime, "default", _DESKTOP_FILE_NAME, _MIME_TYPE], check=True)  # noqa: S603
    except OSError as error:
        reason = error.strerror
    except subprocess.CalledProcessError as error:
        reason = f"xdg-mime exited with status {error.returncode}"
    if reason is not None:
        raise InvalidInputError(f"Could not install the handler: {reason}.")
    return f"zulip-auth now handles zulip:// URLs ({entry})."


def uninstall() -> str:
    """Unregister the handler."""
    entry = _desktop_file()
    try:
        entry.unlink()
    except FileNotFoundError:
        return "The handler is not installed."
    except OSError as error:
        reason = error.strerror
    else:
        return f"Removed {entry}."
    raise InvalidInputError(f"Could not remove {entry}: {reason}.")


def _desktop_file() -> Path:
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    with suppress(RuntimeError):
        return Path(data).expanduser() / "applications" / _DESKTOP_FILE_NAME
    raise InvalidInputError("Could not find the home directory.")


def _command() -> str:
    """Return the command that runs the handler, quoted for a desktop entry."""
    # -P: do not import modules from the working directory of the browser.
    argv = [sys.executable, "-P", "-m", "zulip_auth", "sso-handler"]
    return " ".join([*map(_quote_exec_arg, argv), "%u"])


def _quote_exec_arg(arg: str) -> str:
    # Escape special characters, then double each backslash, as the specification requires.
    escaped = re.sub(r'["`$\\]', r"\\\g<0>", arg).replace("\\", "\\\\")
    return '"' + escaped.replace("%", "%%") + '"'
