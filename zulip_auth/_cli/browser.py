"""A login through a browser: opening it, and waiting for where it ends.

The address to open holds a one-time pad, and the one that the browser ends at
holds the key under that pad. Everyone on the machine can see the arguments of
processes, and the second one is an argument of whatever handles `zulip://`. So
the first one must not be: the browser is given a file that leads there.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from html import escape
from pathlib import Path

from zulip_auth._client import AuthClient
from zulip_auth._credentials import Credentials
from zulip_auth._exceptions import InvalidInputError, ZulipAuthError
from zulip_auth._models import ExternalMethod
from zulip_auth._sso import LIFETIME, SSOFlow

from . import output
from .url_handler import redirect_listener

_MAX_BYTES = 32 * 1024
_PAGE = '<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={}">\n'
_INSTRUCTIONS = """\
Log in in the browser. If it does not open, open this address yourself:

  {url}

{then}"""
_PASTE_HINT = """\
The browser will end at an address that begins with zulip://login? and that it
cannot show. Copy that whole address (from the address bar, or the link that says
"open the app") and paste it here; it is not shown. Ctrl-C gives up.
"""
_HANDLER_HINT = "Where `zulip-auth sso-handler --install` was run, nothing needs to be pasted.\n"


async def login_with_browser(client: AuthClient, method: ExternalMethod) -> Credentials:
    """Open the browser, wait for where it ends, and ask the server about what comes of it.

    Raises:
        ZulipAuthError: What went wrong.
    """
    flow = client.start_sso(method)
    with _redirect_page(flow.url) as page:
        output.print_err(_INSTRUCTIONS.format(url=flow.url, then=_PASTE_HINT + _HANDLER_HINT))
        if page is None or not webbrowser.open(page.as_uri()):
            output.print_err("The browser could not be opened.")
        credentials = await _wait_for_redirect(flow)
    # Nothing but the address itself vouches for whose key it is.
    await client.verify(credentials)
    return credentials


@contextmanager
def _redirect_page(url: str) -> Iterator[Path | None]:
    """Make a page that only its owner can read, and that leads to an address, if there is a home.

    It is there because browsers in a sandbox see no other place.
    """
    with ExitStack() as stack:
        page = None
        with suppress(OSError, RuntimeError):
            tmp_dir = tempfile.TemporaryDirectory(prefix="zulip-auth-", dir=Path.home().absolute())
            page = Path(stack.enter_context(tmp_dir), "login.html")
            page.touch(mode=0o600)
            page.write_text(_PAGE.format(escape(url)), encoding="utf-8")
        yield page


async def _wait_for_redirect(flow: SSOFlow) -> Credentials:
    """Return the credentials from the first address that answers, wherever it comes from."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Credentials | ZulipAuthError] = loop.create_future()
    errors: list[InvalidInputError] = []

    def on_url(data: bytes) -> None:
        try:
            outcome: Credentials | ZulipAuthError = flow.finish(
                data.decode("utf-8", "replace").strip()
            )
        except InvalidInputError as error:
            output.print_error(str(error))
            errors.append(error)
            return
        except ZulipAuthError as error:
            outcome = error
        if not result.done():
            result.set_result(outcome)

    def on_eof(is_listening: bool) -> None:
        # Where nothing more can come, or something came and was wrong.
        if not result.done() and (errors or not is_listening or output.is_interactive()):
            result.set_result(InvalidInputError("No address came that answers this login."))

    # When its time is over, the flow says so, whatever it is given.
    expiry = loop.call_later(LIFETIME, on_url, b"")
    try:
        async with redirect_listener(on_url) as is_listening:
            with _echo_disabled():
                _read_stdin_lines(loop, on_url, partial(on_eof, is_listening))
                outcome = await result
    finally:
        expiry.cancel()
    if isinstance(outcome, ZulipAuthError):
        raise outcome
    return outcome


def _read_stdin_lines(
    loop: asyncio.AbstractEventLoop, on_url: Callable[[bytes], None], on_eof: Callable[[], None]
) -> None:
    """Read standard input in a thread that ends with the program, without keeping a lock."""

    def read() -> None:
        buffer = b""
        with suppress(OSError, RuntimeError):  # the loop may have gone meanwhile
            while data := os.read(descriptor, _MAX_BYTES):
                *lines, buffer = (buffer + data)[-_MAX_BYTES:].split(b"\n")
                for line in filter(bytes.strip, lines):
                    loop.call_soon_threadsafe(on_url, line)
            if buffer.strip():
                loop.call_soon_threadsafe(on_url, buffer)
            loop.call_soon_threadsafe(on_eof)

    if sys.stdin is None:
        on_eof()
        return
    descriptor = sys.stdin.fileno()
    threading.Thread(target=read, daemon=True).start()


@contextmanager
def _echo_disabled() -> Iterator[None]:
    """Show nothing of what is typed or pasted meanwhile."""
    if not output.is_interactive() or os.name != "posix":
        yield
        return
    import termios

    saved = termios.tcgetattr(sys.stdin)
    attrs = [*saved]
    attrs[3] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, attrs)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
