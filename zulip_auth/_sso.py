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
from ._site import is_secure_url, try_normalize_site
from ._validation import validate_type

FLOW_TIMEOUT = 600.0
"""Time limit of a browser login, in seconds.

Enough for a password, a second factor and a slow email, but not for a terminal
left open over lunch."""

_KEY_LENGTH = 32
_REDIRECT_RE = re.compile(r"(?=.{,8192}\Z)zulip://login/?\?((?:[^%#\s]|%[0-9A-Fa-f]{2})+)")
# A key decrypted with another pad matches with a probability below 1 in 10^19.
_KEY_RE = re.compile(rf"[A-Za-z0-9]{{{_KEY_LENGTH}}}".encode())
# The parameters of a redirect, and the checks of their values.
_CHECKS: dict[str, Callable[[str], object]] = {
    "otp_encrypted_api_key": re.compile(rf"[0-9a-f]{{{2 * _KEY_LENGTH}}}").fullmatch,
    "email": is_email,
    "realm": bool,
    "user_id": USER_ID_RE.fullmatch,
}


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

    Raises:
        InvalidInputError: If *method* is not an `ExternalMethod`, or uses plain
            http and *allow_http* is False.

    Source: https://zulip.com/api/changelog (feature level 108), and the
    recorded redirect of a real server.
    """

    def __init__(self, site: str, method: ExternalMethod, *, allow_http: bool = False) -> None:
        self._site = site
        url = validate_type("method", method, ExternalMethod).login_url
        self._login_url = validate_type("method.login_url", url, str)
        if not is_secure_url(url, allow_http=allow_http):
            raise InvalidInputError(
                "method.login_url must use https:// (http:// only for localhost)."
            )
        self._expires_at = time.monotonic() + FLOW_TIMEOUT
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
        if time.monotonic() >= self._expires_at:
            raise SSOFlowEndedError("This SSO flow expired after 10 minutes. Start a new one.")
        return self._get_pad()


def _parse_redirect(url: str, pad: str, site: str) -> Credentials:
    params = _parse_params(validate_type("redirect_url", url, str))
    if params is None:
        raise InvalidInputError(
            "redirect_url is not a complete zulip://login URL with a valid otp_encrypted_api_key, "
            "email and realm. Copy the full URL."
        )
    # Otherwise a server could direct the login to another one and get its key.
    if try_normalize_site(params["realm"], allow_http=True) != site:
        raise InvalidInputError(
            f"redirect_url is for a different organization, not {site}. "
            "Use the server's realm_url as the site."
        )
    key = (int(params["otp_encrypted_api_key"], 16) ^ int(pad, 16)).to_bytes(_KEY_LENGTH)
    if not _KEY_RE.fullmatch(key):
        raise InvalidInputError(
            "redirect_url does not belong to this SSO flow. Copy the latest redirect URL."
        )
    user_id = params.get("user_id")  # servers before Zulip 5.0 omit it
    return Credentials(site, params["email"], key.decode(), int(user_id) if user_id else None)


def _parse_params(url: str) -> dict[str, str] | None:
    """Return the known parameters of a redirect, if each is valid and there once."""
    match = _REDIRECT_RE.fullmatch(url)
    if match is None:
        return None
    try:
        pairs = parse_qsl(match[1], keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:  # the base class of UnicodeDecodeError
        return None
    known = [(name, value) for name, value in pairs if name in _CHECKS]
    params = dict(known)
    is_complete = len(params) == len(known) and params.keys() | {"user_id"} == _CHECKS.keys()
    is_valid = is_complete and all(_CHECKS[name](value) for name, value in known)
    return params if is_valid else None
