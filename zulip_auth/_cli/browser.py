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
import re
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from html import escape
from pathlib import Path
from urllib.parse import unquote

from zulip_auth._client import AuthClient
from zulip_auth._credentials import Credentials
from zulip_auth._exceptions import InvalidInputError, SSOFlowEndedError
from zulip_auth._models import ExternalMethod
from zulip_auth._redaction import hide_locals
from zulip_auth._sso import FLOW_TIMEOUT, SSOFlow

from .output import is_interactive, print_err, print_error, wrap
from .url_handler import redirect_listener

_MAX_BYTES = 32 * 1024
_PAGE = '<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={}">\n'
_CONSOLE_BROWSERS = {"elinks", "links", "lynx", "w3m", "www-browser"}
_OPENING = "Opening your browser to log in. If it does not open, visit:"
_NOT_OPENING = "Could not open a browser. To log in, visit:"
_INSTRUCTIONS = """\
{}

  {}

After you log in, your browser is redirected to a zulip://login?… URL that it \
cannot open. Copy the full URL (from the address bar or the "open the app" \
link) and paste it here. Input is hidden. Press Ctrl-C to cancel.
With `zulip-auth sso-handler --install`, this happens automatically.
"""
_PROMPT = "Redirect URL: "
_URL_RE = re.compile(r"zulip://[^\s\"'<>]+")
_COMPLETE_RE = re.compile(
    r"(?=.*[?&]otp_encrypted_api_key=[^&]{64})(?=.*[?&]email=[^&])(?=.*[?&]realm=[^&])"
)


async def login_with_browser(client: AuthClient, method: ExternalMethod) -> Credentials:
    """Open the browser, wait for the redirect, and verify the credentials in it.

    Raises:
        ZulipAuthError: If the login fails.
    """
    credentials = await _wait_for_redirect(client.start_sso(method))
    # The account in the redirect is not authenticated.
    await client.verify(credentials)
    return credentials


async def _wait_for_redirect(flow: SSOFlow) -> Credentials:
    """Return the credentials from the first valid redirect URL, pasted or forwarded."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Credentials] = loop.create_future()
    is_listening = has_failed = False

    def on_url(text: str, show_error: bool = True) -> None:
        nonlocal has_failed
        if result.done():
            return
        try:
            result.set_result(_finish(flow, text))
        except SSOFlowEndedError as error:
            result.set_exception(error)
        except InvalidInputError as error:
            has_failed = True
            if show_error:
                _interrupt_prompt(str(error))
            raise

    def on_line(line: bytes) -> None:
        with suppress(InvalidInputError):
            on_url(line.decode("utf-8", "replace"))

    def on_eof() -> None:
        # No other source is left, or the only one was wrong.
        if not result.done() and (has_failed or not is_listening or is_interactive()):
            result.set_exception(InvalidInputError("No valid redirect URL received."))

    # An expired flow raises for any input.
    expiry = loop.call_later(FLOW_TIMEOUT, on_line, b"")
    try:
        async with redirect_listener(on_url) as is_listening:
            with _redirect_page(flow.url) as page, _echo_disabled():
                browser = page and _find_browser()
                opening = _OPENING if browser else _NOT_OPENING
                print_err(wrap(_INSTRUCTIONS.format(opening, flow.url)))
                _prompt(_PROMPT)
                _start_thread(_read_stdin, loop, on_line, on_eof)
                if page and browser:  # some commands block until the browser exits
                    _start_thread(_open_browser, browser, page.as_uri())
                await asyncio.wait([result])
                _prompt("\n")
                return result.result()
    finally:
        expiry.cancel()


@hide_locals
def _finish(flow: SSOFlow, text: str) -> Credentials:
    """Finish a flow with what the user pasted, or explain what is wrong with that."""
    match = _URL_RE.search(text.replace("&amp;", "&"))
    with suppress(InvalidInputError):
        return flow.finish(match[0] if match else text)
    if match is None and "://" in text:
        reason = "is the URL of a web page. Log in there, then copy the zulip://login?… URL."
    elif match is None:
        reason = "is not a URL. Copy the full zulip://login?… URL."
    elif not _COMPLETE_RE.search(match[0]):
        reason = "URL is incomplete. Copy all of it."
    elif flow.site not in unquote(match[0]):
        reason = f"URL is for a different organization, not {flow.site}."
    else:
        reason = "URL is from a different login. Copy the latest one."
    raise InvalidInputError(f"That {reason}")


def _prompt(text: str) -> None:
    if is_interactive():
        print_err(text, end="")


def _interrupt_prompt(message: str) -> None:
    _prompt("\n")
    print_error(message)
    _prompt(_PROMPT)


def _start_thread(target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, daemon=True).start()


def _find_browser() -> webbrowser.BaseBrowser | None:
    """Return the default browser, unless it would run in this terminal."""
    with suppress(webbrowser.Error):
        browser = webbrowser.get()
        if Path(getattr(browser, "name", "")).name not in _CONSOLE_BROWSERS:
            return browser
    return None


def _open_browser(browser: webbrowser.BaseBrowser, url: str) -> None:
    if not browser.open(url):
        _interrupt_prompt("Could not open a browser.")


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


def _read_stdin(
    loop: asyncio.AbstractEventLoop, on_line: Callable[[bytes], None], on_eof: Callable[[], None]
) -> None:
    """Pass the lines of standard input to the loop, without the lock of sys.stdin."""
    buffer = b""
    with suppress(OSError, RuntimeError):  # the loop may be closed
        while sys.stdin is not None and (data := os.read(sys.stdin.fileno(), _MAX_BYTES)):
            *lines, buffer = (buffer + data)[-_MAX_BYTES:].split(b"\n")
            for line in filter(bytes.strip, lines):
                loop.call_soon_threadsafe(on_line, line)
        if buffer.strip():
            loop.call_soon_threadsafe(on_line, buffer)
        loop.call_soon_threadsafe(on_eof)


@contextmanager
def _echo_disabled() -> Iterator[None]:
    """Hide the input on the terminal."""
    if not is_interactive() or os.name != "posix":
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
