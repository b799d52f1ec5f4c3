"""Log in with a browser: open it, and wait for the redirect.

The URL to open contains a one-time pad, and the redirect contains the key,
encrypted with that pad. Process arguments are visible to every user of the
machine, and the redirect is an argument of the handler of `zulip://`. So the
first URL must not be an argument also: the browser is given a private file
that redirects to it.
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
from zulip_auth._sso import FLOW_TIMEOUT, SSOFlow

from . import output
from .url_handler import redirect_listener

_MAX_BYTES = 32 * 1024
_PAGE = '<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={}">\n'
_INSTRUCTIONS = """\
Opening your browser to log in. If it does not open, visit:

  {url}

{hint}"""
_PASTE_HINT = """\
After you log in, your browser is redirected to a zulip://login?… URL that it
cannot open. Copy the full URL (from the address bar or the "open the app" link)
and paste it here. Input is hidden. Press Ctrl-C to cancel.
"""
_HANDLER_HINT = "With `zulip-auth sso-handler --install`, this happens automatically.\n"


async def login_with_browser(client: AuthClient, method: ExternalMethod) -> Credentials:
    """Open the browser, wait for the redirect, and verify the credentials in it.

    Raises:
        ZulipAuthError: If the login fails.
    """
    flow = client.start_sso(method)
    with _redirect_page(flow.url) as page:
        output.print_err(_INSTRUCTIONS.format(url=flow.url, hint=_PASTE_HINT + _HANDLER_HINT))
        if page is None or not webbrowser.open(page.as_uri()):
            output.print_err("Could not open a browser.")
        credentials = await _wait_for_redirect(flow)
    # The account in the redirect is not authenticated.
    await client.verify(credentials)
    return credentials


@contextmanager
def _redirect_page(url: str) -> Iterator[Path | None]:
    """Create a private page that redirects to *url*; None without a home directory.

    It is in the home directory since sandboxed browsers cannot read others.
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
    """Return the credentials from the first valid redirect URL, pasted or forwarded."""
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
        # No other source is left, or the only one was wrong.
        if not result.done() and (errors or not is_listening or output.is_interactive()):
            result.set_result(InvalidInputError("No valid redirect URL received."))

    # An expired flow raises for any input.
    expiry = loop.call_later(FLOW_TIMEOUT, on_url, b"")
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
    """Read standard input in a daemon thread, without the lock of sys.stdin."""

    def read() -> None:
        buffer = b""
        with suppress(OSError, RuntimeError):  # the loop may be closed
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
    """Hide the input on the terminal."""
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
