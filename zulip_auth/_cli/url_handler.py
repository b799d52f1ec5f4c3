"""The desktop's handler for `zulip://`: forward a redirect URL to the waiting login.

It is sent over Unix sockets in the user's private runtime directory, one for
each waiting login. A forwarded URL is trusted no more than a pasted one.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

from zulip_auth._exceptions import APIConnectionError, InvalidInputError

_TIMEOUT = 5.0  # seconds
_QUIET, _SHOW, _ACCEPTED = b"?", b"!", "accepted"
_MIME_TYPE = "x-scheme-handler/zulip"
_DESKTOP_ENTRY = """\
[Desktop Entry]
Type=Application
Name=zulip-auth
Comment=Complete a Zulip login started by zulip-auth
Exec={command}
MimeType=x-scheme-handler/zulip;
NoDisplay=true
Terminal=false
"""


@asynccontextmanager
async def redirect_listener(on_url: Callable[[str, bool], None]) -> AsyncIterator[bool]:
    """Pass forwarded URLs to *on_url*; yield whether that is possible.

    Args:
        on_url: Called with a URL, and whether to show the user why it is
            rejected. Raises InvalidInputError to reject it.
    """

    async def on_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(_TIMEOUT):
                line = await reader.readline()
            reply = _ACCEPTED
            try:
                on_url(line[1:].decode("utf-8", "replace"), line[:1] == _SHOW)
            except InvalidInputError as error:
                reply = str(error)
            writer.write(reply.encode())

    server, path = None, Path(f"zulip-auth-{secrets.token_hex(4)}.socket")
    with suppress(OSError):
        if directory := _runtime_dir():
            path = directory / path
            server = await asyncio.start_unix_server(on_client, path)
            path.chmod(0o600)
    try:
        yield server is not None
    finally:
        if server is not None:
            server.close()
            path.unlink(missing_ok=True)


def forward_url(url: str) -> str:
    """Send a redirect URL to the waiting logins, one of which it belongs to.

    Raises:
        APIConnectionError: If no login is waiting.
        InvalidInputError: If all of them reject it.
    """
    reason, directory = "", _runtime_dir()
    for mark in (_QUIET, _SHOW):  # they show why when it belongs to none of them
        for path in directory.glob("zulip-auth-*.socket") if directory else ():
            # A killed login leaves its socket, which no process accepts from.
            with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_TIMEOUT)
                connection.connect(str(path))
                connection.sendall(mark + os.fsencode(url) + b"\n")
                reason = connection.recv(1024).decode() or reason
                if reason == _ACCEPTED:
                    return "Login completed; return to the terminal."
    if reason:
        raise InvalidInputError(f"No login in progress accepts the URL: {reason}")
    raise APIConnectionError(
        "No login in progress. Start one with: zulip-auth login SITE --sso", sent=False
    )


def _runtime_dir() -> Path | None:
    """Return the user's private directory for sockets, if there is one."""
    with suppress(AttributeError, KeyError, OSError, ValueError):
        path = Path(os.environ["XDG_RUNTIME_DIR"])
        status = path.stat()
        if stat.S_IMODE(status.st_mode) & 0o077 == 0 and status.st_uid == os.getuid():
            return path
    return None


def install() -> str:
    """Register this command as the desktop's handler for `zulip://`.

    Raises:
        InvalidInputError: If the desktop does not support that.
    """
    xdg_mime = shutil.which("xdg-mime")
    if xdg_mime is None:
        raise InvalidInputError("xdg-mime not found; this requires a Linux desktop.")
    path = _desktop_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_DESKTOP_ENTRY.format(command=_command()), encoding="utf-8")
        status = subprocess.call([xdg_mime, "default", path.name, _MIME_TYPE])  # noqa: S603
        reason = f"xdg-mime exited with status {status}"
    except OSError as error:
        status, reason = 1, str(error.strerror)
    if status:
        raise InvalidInputError(f"Could not install the handler: {reason}.")
    return f"zulip-auth now handles zulip:// URLs ({path})."


def uninstall() -> str:
    """Unregister the handler.

    Raises:
        InvalidInputError: If its file cannot be removed.
    """
    path = _desktop_file()
    try:
        path.unlink()
    except FileNotFoundError:
        return "The handler is not installed."
    except OSError as error:
        raise InvalidInputError(f"Could not remove {path}: {error.strerror}.") from None
    return f"Removed {path}."


def _desktop_file() -> Path:
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    with suppress(RuntimeError):
        return Path(data).expanduser() / "applications" / "zulip-auth.desktop"
    raise InvalidInputError("Could not find the home directory.")


def _command() -> str:
    """Return the command that runs the handler, quoted for a desktop entry."""
    program = _quote(sys.executable)
    if archive := getattr(__spec__.loader, "archive", None):  # of a zipapp
        program += f" {_quote(os.path.abspath(archive))}"  # noqa: PTH100
    elif not getattr(sys, "frozen", False):  # by PyInstaller
        # -P: do not import modules from the working directory of the browser.
        program += " -P -m zulip_auth"
    return f"{program} sso-handler %u"


def _quote(path: str) -> str:
    # Escape special characters, then double each backslash, as the specification requires.
    escaped = re.sub(r'["`$\\]', r"\\\g<0>", path).replace("\\", "\\\\")
    return f'"{escaped.replace("%", "%%")}"'
