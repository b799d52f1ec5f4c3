"""Log in with a browser: send a one-time pad, decrypt the returned API key.

Nothing here makes a request; the browser does.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import parse_qsl, urlsplit

from ._credentials import USER_ID_RE, Credentials, is_email
from ._exceptions import InvalidInputError, SSOFlowEndedError
from ._models import ExternalMethod
from ._redaction import hide_locals
from ._site import WHITESPACE_OR_CONTROL, is_secure_url, try_normalize_site
from ._validation import validate_type

FLOW_TIMEOUT = 600.0
"""Time limit of a browser login, in seconds.

Enough for a password, a second factor and a slow email, but not for a terminal
left open over lunch."""

_KEY_LENGTH = 32
_MAX_LENGTH = 8 * 1024
_REDIRECT_RE = re.compile(r"zulip://login/?\?((?:[^%#]|%[0-9A-Fa-f]{2})*)")
_ENCRYPTED_KEY_RE = re.compile(rf"[0-9a-f]{{{2 * _KEY_LENGTH}}}")
# A key decrypted with another pad matches with a probability below 1 in 10^19.
_KEY_RE = re.compile(rf"[A-Za-z0-9]{{{_KEY_LENGTH}}}".encode())
_REQUIRED_PARAMS = {"otp_encrypted_api_key", "email", "realm"}
_KNOWN_PARAMS = {*_REQUIRED_PARAMS, "user_id"}


class SSOFlow:
    """One browser login, from `AuthClient.start_sso` to the credentials.

    Open `url` in a browser, where the user logs in. The browser is then
    redirected to a `zulip://login?…` URL; `finish` turns it into credentials.
    The flow expires after 10 minutes. It cannot be copied or pickled, since its
    one-time pad must not be reused.

    Args:
        site: The normalized URL of the organization.
        method: The login method.
        allow_http: Whether *method* may use plain http to any host.
        clock: A function that returns the time, in seconds.

    Raises:
        InvalidInputError: If *method* is not an `ExternalMethod`, or uses plain
            http and *allow_http* is False.

    Source: https://zulip.com/api/changelog (feature level 108), and the
    recorded redirect of a real server.
    """

    def __init__(
        self,
        site: str,
        method: ExternalMethod,
        *,
        allow_http: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._site = site
        self._login_url = validate_type("method", method, ExternalMethod).login_url
        if not is_secure_url(self._login_url, allow_http=allow_http):
            raise InvalidInputError(
                "method.login_url must use https:// (http:// only for localhost)."
            )
        self._clock = clock
        self._expires_at = clock() + FLOW_TIMEOUT
        pad = secrets.token_hex(_KEY_LENGTH)
        # Behind a call, since error trackers evaluate attributes.
        self._get_pad: Callable[[], str] | None = lambda: pad

    @property
    def site(self) -> str:
        """Return the URL of the organization."""
        return self._site

    @property
    @hide_locals
    def url(self) -> str:
        """Return the URL to open in a browser.

        It contains the one-time pad, which together with the redirect URL
        reveals the API key. Pass it only to the user and the browser.

        Raises:
            SSOFlowEndedError: If the flow is complete or expired.
        """
        pad = self._active_pad()
        parts = urlsplit(self._login_url)
        query = f"{parts.query}&" if parts.query else ""
        return parts._replace(query=f"{query}mobile_flow_otp={pad}").geturl()

    def __repr__(self) -> str:
        return f"<SSOFlow {self._site}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot copy or pickle SSOFlow: its one-time pad must not be reused")

    @hide_locals
    def finish(self, redirect_url: str) -> Credentials:
        """Return the credentials from the URL that the browser was redirected to.

        A URL that does not belong to this flow is rejected and the flow
        continues; the right one completes it. The email address and the user ID
        are those of the URL; `AuthClient.verify` checks them with the server.

        Args:
            redirect_url: The full `zulip://login?…` URL. Unknown parameters are
                ignored, since newer servers may add some.

        Returns:
            The credentials, without the user ID from servers before Zulip 5.0.

        Raises:
            InvalidInputError: If the URL does not belong to this flow, which
                continues.
            SSOFlowEndedError: If the flow is complete or expired.
        """
        credentials = _parse_redirect(redirect_url, self._active_pad(), self._site)
        self._get_pad = None
        return credentials

    def _active_pad(self) -> str:
        if self._get_pad is None:
            raise SSOFlowEndedError("This SSO flow is already complete. Start a new one.")
        if self._clock() >= self._expires_at:
            raise SSOFlowEndedError(
                f"This SSO flow expired after {FLOW_TIMEOUT / 60:.0f} minutes. Start a new one."
            )
        return self._get_pad()


def _parse_redirect(url: str, pad: str, site: str) -> Credentials:
    if not isinstance(url, str):
        raise InvalidInputError(f"redirect_url must be a str, not {type(url).__name__}.")
    if len(url) > _MAX_LENGTH:
        raise InvalidInputError(f"redirect_url is longer than {_MAX_LENGTH} characters.")
    if WHITESPACE_OR_CONTROL.search(url):
        raise InvalidInputError(
            "redirect_url contains whitespace or control characters. Copy the full URL."
        )
    match = _REDIRECT_RE.fullmatch(url)
    params = _parse_query(match[1]) if match else {}
    if not params:
        raise InvalidInputError(
            "redirect_url is not a zulip://login URL with otp_encrypted_api_key, email and "
            "realm. Copy the full URL."
        )
    if not _ENCRYPTED_KEY_RE.fullmatch(params["otp_encrypted_api_key"]):
        raise InvalidInputError(
            "redirect_url has an invalid otp_encrypted_api_key (expected 64 lowercase hex "
            "digits). Copy the full URL."
        )
    # Otherwise a server could direct the login to another one and get its key.
    if try_normalize_site(params["realm"], allow_http=True) != site:
        raise InvalidInputError(
            f"redirect_url is for a different organization, not {site}. "
            "Use the server's realm_url as the site."
        )
    email, user_id = params["email"], params.get("user_id")
    if not is_email(email) or not (user_id is None or USER_ID_RE.fullmatch(user_id)):
        raise InvalidInputError("redirect_url has an invalid email or user_id.")
    api_key = _decrypt_key(params["otp_encrypted_api_key"], pad)
    return Credentials(site, email, api_key, None if user_id is None else int(user_id))


def _parse_query(query: str) -> dict[str, str]:
    """Return the known parameters, or none if one is missing or repeated."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:  # the base class of UnicodeDecodeError
        return {}
    known = [(name, value) for name, value in pairs if name in _KNOWN_PARAMS]
    params = dict(known)
    return params if len(params) == len(known) and params.keys() >= _REQUIRED_PARAMS else {}


def _decrypt_key(encrypted: str, pad: str) -> str:
    key = (int(encrypted, 16) ^ int(pad, 16)).to_bytes(_KEY_LENGTH)
    if not _KEY_RE.fullmatch(key):
        raise InvalidInputError(
            "redirect_url does not belong to this SSO flow. Copy the latest redirect URL."
        )
    return key.decode()
