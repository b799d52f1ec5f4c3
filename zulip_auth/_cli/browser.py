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
from .url_handler import listening

_MOST_BYTES = 32 * 1024
_PAGE = '<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={}">\n'
_HOW = """\
Log in in the browser. If it does not open, open this address yourself:

  {url}

{then}"""
_THEN = """\
The browser will end at an address that begins with zulip://login? and that it
cannot show. Copy that whole address (from the address bar, or the link that says
"open the app") and paste it here; it is not shown. Ctrl-C gives up.
"""
_THEN_HANDLER = "Where `zulip-auth sso-handler --install` was run, nothing needs to be pasted.\n"


async def log_in_through_browser(client: AuthClient, method: ExternalMethod) -> Credentials:
    """Open the browser, wait for where it ends, and ask the server about what comes of it.

    Raises:
        ZulipAuthError: What went wrong.
    """
    flow = client.start_sso(method)
    with _page(flow.url) as page:
        output.say(_HOW.format(url=flow.url, then=_THEN + _THEN_HANDLER))
        if page is None or not webbrowser.open(page.as_uri()):
            output.say("The browser could not be opened.")
        credentials = await _finished(flow)
    # Nothing but the address itself vouches for whose key it is.
    await client.verify(credentials)
    return credentials


@contextmanager
def _page(url: str) -> Iterator[Path | None]:
    """Make a page that only its owner can read, and that leads to an address, if there is a home.

    It is there because browsers in a sandbox see no other place.
    """
    with ExitStack() as stack:
        page = None
        with suppress(OSError, RuntimeError):
            scratch = tempfile.TemporaryDirectory(prefix="zulip-auth-", dir=Path.home().absolute())
            page = Path(stack.enter_context(scratch), "login.html")
            page.touch(mode=0o600)
            page.write_text(_PAGE.format(escape(url)), encoding="utf-8")
        yield page


async def _finished(flow: SSOFlow) -> Credentials:
    """Return the credentials from the first address that answers, wherever it comes from."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Credentials | ZulipAuthError] = loop.create_future()
    refused: list[InvalidInputError] = []

    def take(data: bytes) -> None:
        try:
            ended: Credentials | ZulipAuthError = flow.finish(
                data.decode("utf-8", "replace").strip()
            )
        except InvalidInputError as error:
            output.complain(str(error))
            refused.append(error)
            return
        except ZulipAuthError as error:
            ended = error
        if not result.done():
            result.set_result(ended)

    def end(listening: bool) -> None:
        # Where nothing more can come, or something came and was wrong.
        if not result.done() and (refused or not listening or output.can_ask()):
            result.set_result(InvalidInputError("No address came that answers this login."))

    # When its time is over, the flow says so, whatever it is given.
    expiry = loop.call_later(LIFETIME, take, b"")
    try:
        async with listening(take) as is_listening:
            with _without_echo():
                _read_lines(loop, take, partial(end, is_listening))
                ended = await result
    finally:
        expiry.cancel()
    if isinstance(ended, ZulipAuthError):
        raise ended
    return ended


def _read_lines(
    loop: asyncio.AbstractEventLoop, take: Callable[[bytes], None], end: Callable[[], None]
) -> None:
    """Read standard input in a thread that ends with the program, without keeping a lock."""

    def read() -> None:
        waiting = b""
        with suppress(OSError, RuntimeError):  # the loop may have gone meanwhile
            while data := os.read(descriptor, _MOST_BYTES):
                *lines, waiting = (waiting + data)[-_MOST_BYTES:].split(b"\n")
                for line in filter(bytes.strip, lines):
                    loop.call_soon_threadsafe(take, line)
            if waiting.strip():
                loop.call_soon_threadsafe(take, waiting)
            loop.call_soon_threadsafe(end)

    if sys.stdin is None:
        end()
        return
    descriptor = sys.stdin.fileno()
    threading.Thread(target=read, daemon=True).start()


@contextmanager
def _without_echo() -> Iterator[None]:
    """Show nothing of what is typed or pasted meanwhile."""
    if not output.can_ask() or os.name != "posix":
        yield
        return
    import termios

    before = termios.tcgetattr(sys.stdin)
    silent = [*before]
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
