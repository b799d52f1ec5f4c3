"""The desktop's handler for `zulip://`: it hands an address to the command that waits for it.

The way is a socket in the directory of this login to the machine, which nobody
else can enter. What comes over it is trusted no more than what is pasted.
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
Comment=Finish a login to Zulip that was begun with zulip-auth
Exec={command}
MimeType={mime_type};
NoDisplay=true
Terminal=false
"""


def _socket_path() -> Path | None:
    """Return where the socket is; None where there is no private place for it."""
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
    """Pass on what handlers send, meanwhile; tell whether that is possible here."""
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
            # The newest login gets what comes; an older one can still be pasted to.
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
            await asyncio.sleep(0)  # in which what was aborted is closed


def forward_url(url: str) -> str:
    """Send an address to the command that waits for it.

    Raises:
        APIConnectionError: No command waits.
    """
    path = _socket_path()
    if path is not None:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(os.fsencode(url))
            return "Handed over."
    raise APIConnectionError(
        "No login waits for this. Start one: zulip-auth login SITE --sso", sent=False
    )


def install() -> str:
    """Make this command the desktop's handler for `zulip://`.

    Raises:
        InvalidInputError: This is no desktop that could be told.
    """
    xdg_mime = shutil.which("xdg-mime")
    if xdg_mime is None:
        raise InvalidInputError("There is no xdg-mime here, and so no desktop to tell.")
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
        reason = f"xdg-mime ended with exit code {error.returncode}"
    if reason is not None:
        raise InvalidInputError(f"The handler cannot be installed: {reason}.")
    return f"zulip:// now leads to zulip-auth ({entry})."


def uninstall() -> str:
    """Remove what `install` has written."""
    entry = _desktop_file()
    try:
        entry.unlink()
    except FileNotFoundError:
        return "The handler is not installed."
    except OSError as error:
        reason = error.strerror
    else:
        return f"Removed {entry}."
    raise InvalidInputError(f"{entry} cannot be removed: {reason}.")


def _desktop_file() -> Path:
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    with suppress(RuntimeError):
        return Path(data).expanduser() / "applications" / _DESKTOP_FILE_NAME
    raise InvalidInputError("There is no home directory to install the handler in.")


def _command() -> str:
    """Return how to start this again, quoted as the format of such files wants it."""
    # -P keeps the directory that the browser is in from being searched for modules.
    argv = [sys.executable, "-P", "-m", "zulip_auth", "sso-handler"]
    return " ".join([*map(_quote_exec_arg, argv), "%u"])


def _quote_exec_arg(arg: str) -> str:
    # A backslash before each special character, and then each backslash twice.
    escaped = re.sub(r'["`$\\]', r"\\\g<0>", arg).replace("\\", "\\\\")
    return '"' + escaped.replace("%", "%%") + '"'
