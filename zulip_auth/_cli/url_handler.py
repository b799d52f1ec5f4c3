"""The desktop's handler for `zulip://`: forward a redirect URL to the waiting login.

It is sent over Unix sockets in the user's private runtime directory, one for
each waiting login. A forwarded URL is trusted no more than a pasted one.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from zulip_auth._exceptions import APIConnectionError, InvalidInputError

_TIMEOUT = 5.0  # seconds
_MAX_BYTES = 64 * 1024
ACCEPTED = "accepted"
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


@contextmanager
def redirect_listener() -> Iterator[socket.socket | None]:
    """Listen for forwarded URLs; None if that is not possible."""
    with ExitStack() as stack:
        listener = None
        with suppress(OSError):
            if directory := _runtime_dir():
                path = directory / f"zulip-auth-{secrets.token_hex(4)}.socket"
                server = stack.enter_context(socket.socket(socket.AF_UNIX))
                server.bind(str(path))
                stack.callback(path.unlink, missing_ok=True)
                path.chmod(0o600)
                server.listen()
                listener = server
        yield listener


def receive_url(listener: socket.socket) -> Iterator[tuple[str, Callable[[str], None]]]:
    """Yield a forwarded URL, and a function that replies to its handler.

    The reply is ACCEPTED, or the reason why the URL is rejected.
    """
    with suppress(OSError), listener.accept()[0] as connection:
        connection.settimeout(_TIMEOUT)
        with connection.makefile("rb") as file:
            line = file.readline(_MAX_BYTES)

        def reply(text: str) -> None:
            with suppress(OSError):
                connection.sendall(text.encode())

        if line.endswith(b"\n"):
            yield line.decode("utf-8", "replace"), reply


def forward_url(url: str) -> str:
    """Send a redirect URL to the waiting logins, one of which it belongs to.

    Raises:
        APIConnectionError: If no login is waiting.
        InvalidInputError: If all of them reject it.
    """
    reason, directory = "", _runtime_dir()
    for path in directory.glob("zulip-auth-*.socket") if directory else ():
        # A killed login leaves its socket, which no process accepts from.
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(str(path))
            connection.sendall(os.fsencode(url) + b"\n")
            reason = connection.recv(1024).decode() or reason
            if reason == ACCEPTED:
                return "Login completed; return to the terminal."
    if reason:
        raise InvalidInputError(f"No login in progress accepts the URL: {reason}")
    raise APIConnectionError(
        "No login in progress. Start one with: zulip-auth login SITE --sso", sent=False
    )


def _runtime_dir() -> Path | None:
    """Return the user's private directory for sockets, if there is one."""
    with suppress(KeyError, OSError, ValueError):
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
    with _desktop_entry() as path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_DESKTOP_ENTRY.format(command=_command()), encoding="utf-8")
        status = subprocess.call([xdg_mime, "default", path.name, _MIME_TYPE])  # noqa: S603
    if status:
        raise InvalidInputError(f"xdg-mime exited with status {status}.")
    return f"zulip-auth now handles zulip:// URLs ({path})."


def uninstall() -> str:
    """Unregister the handler.

    Raises:
        InvalidInputError: If its file cannot be removed.
    """
    with _desktop_entry() as path:
        is_installed = path.exists()
        path.unlink(missing_ok=True)
    return f"Removed {path}." if is_installed else "The handler is not installed."


@contextmanager
def _desktop_entry() -> Iterator[Path]:
    """Yield the path of the file that registers the handler."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    try:
        yield Path(data).expanduser() / "applications" / "zulip-auth.desktop"
    except (OSError, RuntimeError) as error:  # a RuntimeError if there is no home directory
        reason = getattr(error, "strerror", None) or "no home directory"
        raise InvalidInputError(f"Could not change the handler: {reason}.") from None


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
