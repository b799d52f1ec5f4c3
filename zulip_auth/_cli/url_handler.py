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

_MOST_BYTES = 32 * 1024
_SCHEME = "x-scheme-handler/zulip"
_NAME = "zulip-auth.desktop"
_ENTRY = """\
[Desktop Entry]
Type=Application
Name=zulip-auth
Comment=Finish a login to Zulip that was begun with zulip-auth
Exec={command}
MimeType={scheme};
NoDisplay=true
Terminal=false
"""


def _socket_path() -> Path | None:
    """Return where the socket is; None where there is no private place for it."""
    directory = os.environ.get("XDG_RUNTIME_DIR")
    if not directory or not hasattr(socket, "AF_UNIX"):
        return None
    with suppress(OSError, ValueError):
        found = Path(directory).stat()
        if stat.S_IMODE(found.st_mode) & 0o077 == 0 and found.st_uid == os.getuid():
            return Path(directory, "zulip-auth-sso.socket")
    return None


@asynccontextmanager
async def listening(take: Callable[[bytes], None]) -> AsyncIterator[bool]:
    """Pass on what handlers send, meanwhile; tell whether that is possible here."""
    path = _socket_path()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        receiving.add(task)
        try:
            with suppress(OSError):
                data = b""
                while len(data) <= _MOST_BYTES and (more := await reader.read(_MOST_BYTES)):
                    data += more
                take(data)
        finally:
            receiving.discard(task)
            writer.transport.abort()

    receiving: set[asyncio.Task[None]] = set()
    server = None
    if path is not None:
        with suppress(OSError):
            # The newest login gets what comes; an older one can still be pasted to.
            server = await asyncio.start_unix_server(receive, path)
            path.chmod(0o600)
    try:
        yield server is not None
    finally:
        if server is not None:
            server.close()
            for task in receiving:
                task.cancel()
            await asyncio.gather(*receiving, return_exceptions=True)
            await asyncio.sleep(0)  # in which what was aborted is closed


def hand_over(url: str) -> str:
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
    tool = shutil.which("xdg-mime")
    if tool is None:
        raise InvalidInputError("There is no xdg-mime here, and so no desktop to tell.")
    entry = _entry_path()
    reason = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_text(_ENTRY.format(command=_command(), scheme=_SCHEME), encoding="utf-8")
        subprocess.run([tool, "default", _NAME, _SCHEME], check=True)  # noqa: S603
    except OSError as error:
        reason = error.strerror
    except subprocess.CalledProcessError as error:
        reason = f"xdg-mime ended with exit code {error.returncode}"
    if reason is not None:
        raise InvalidInputError(f"The handler cannot be installed: {reason}.")
    return f"zulip:// now leads to zulip-auth ({entry})."


def uninstall() -> str:
    """Remove what `install` has written."""
    entry = _entry_path()
    try:
        entry.unlink()
    except FileNotFoundError:
        return "The handler is not installed."
    except OSError as error:
        reason = error.strerror
    else:
        return f"Removed {entry}."
    raise InvalidInputError(f"{entry} cannot be removed: {reason}.")


def _entry_path() -> Path:
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    with suppress(RuntimeError):
        return Path(data).expanduser() / "applications" / _NAME
    raise InvalidInputError("There is no home directory to install the handler in.")


def _command() -> str:
    """Return how to start this again, quoted as the format of such files wants it."""
    # -P keeps the directory that the browser is in from being searched for modules.
    words = [sys.executable, "-P", "-m", "zulip_auth", "sso-handler"]
    return " ".join([*map(_quoted, words), "%u"])


def _quoted(word: str) -> str:
    # A backslash before each special character, and then each backslash twice.
    escaped = re.sub(r'["`$\\]', r"\\\g<0>", word).replace("\\", "\\\\")
    return '"' + escaped.replace("%", "%%") + '"'
