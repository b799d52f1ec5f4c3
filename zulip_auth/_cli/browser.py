"""Log in with a browser: open it, and wait for the redirect.

The URL to open contains a one-time pad, and the redirect contains the key,
encrypted with that pad. Process arguments are visible to every user of the
machine, and the redirect is an argument of the handler of `zulip://`. So the
first URL must not be an argument also: the browser is given a private file
that redirects to it.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
import termios
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from html import escape
from pathlib import Path
from select import select
from time import monotonic
from urllib.parse import unquote

from zulip_auth._credentials import Credentials
from zulip_auth._exceptions import InvalidInputError
from zulip_auth._redaction import hide_locals
from zulip_auth._sso import FLOW_TIMEOUT, SSOFlow

from .output import is_interactive, print_err, print_error, wrap
from .url_handler import ACCEPTED, receive_url, redirect_listener

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


@hide_locals
def login_with_browser(flow: SSOFlow) -> Credentials:
    """Open the browser, and return the credentials that it is redirected with.

    The account in them is not authenticated.

    Args:
        flow: The login.

    Raises:
        InvalidInputError: If the input ends without a valid redirect URL.
        SSOFlowEndedError: If the login has expired.
    """
    with redirect_listener() as listener, _redirect_page(flow.url) as page, _echo_disabled():
        browser = page and _find_browser()
        print_err(wrap(_INSTRUCTIONS.format(_OPENING if browser else _NOT_OPENING, flow.url)))
        _prompt(_PROMPT)
        if page and browser:  # some commands block until the browser exits
            target = (browser, page.as_uri())
            threading.Thread(target=_open_browser, args=target, daemon=True).start()
        return _wait_for_redirect(flow, listener)


def _wait_for_redirect(flow: SSOFlow, listener: socket.socket | None) -> Credentials:
    """Return the credentials from the first valid redirect URL."""
    for text, reply in _received_texts(listener):
        try:
            credentials = _finish(flow, text)
        except InvalidInputError as error:
            _interrupt_prompt(str(error))
            reply(str(error))
        else:
            reply(ACCEPTED)
            _prompt("\n")
            return credentials
    _prompt("\n")
    raise InvalidInputError("No valid redirect URL received.")


def _received_texts(
    listener: socket.socket | None,
) -> Iterator[tuple[str, Callable[[str], None]]]:
    """Yield each pasted line and each forwarded URL, with a function that replies to it."""
    deadline = monotonic() + FLOW_TIMEOUT
    sources = [source for source in (sys.stdin, listener) if source is not None]
    unfinished, has_line = b"", False
    while sources:
        ready, _, _ = select(sources, [], [], max(0.0, deadline - monotonic()))
        if listener is not None and listener in ready:
            yield from receive_url(listener)
        if sys.stdin in ready:
            data = b""
            with suppress(OSError):  # nohup makes it unreadable
                data = os.read(sys.stdin.fileno(), _MAX_BYTES)
            *lines, unfinished = (unfinished + data + b"\n" * (not data)).split(b"\n")
            for line in filter(bytes.strip, lines):
                has_line = True
                yield line.decode("utf-8", "replace"), _ignore
            if not data and (has_line or is_interactive()):
                return
            if not data:  # the URL may be forwarded
                sources.remove(sys.stdin)
        if not ready:
            _prompt("\n")
            yield "", _ignore  # the flow has expired, and raises


def _ignore(_reply: str) -> None:
    """Do nothing: the user has seen the reply."""


def _finish(flow: SSOFlow, text: str) -> Credentials:
    """Finish a flow with a redirect URL, or explain what is wrong with the text."""
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
            path = Path(stack.enter_context(tmp_dir), "login.html")
            path.touch(mode=0o600)
            path.write_text(_PAGE.format(escape(url)), encoding="utf-8")
            page = path
        yield page


@contextmanager
def _echo_disabled() -> Iterator[None]:
    """Hide the input on the terminal."""
    with ExitStack() as stack:
        if is_interactive():
            saved = termios.tcgetattr(sys.stdin)
            attrs = [*saved]
            attrs[3] &= ~termios.ECHO

            def restore() -> None:
                with suppress(termios.error):  # the terminal may be closed
                    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)

            stack.callback(restore)
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, attrs)
        yield
