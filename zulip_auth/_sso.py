"""A login through a browser: a one-time pad goes out, and the key comes back under it.

Nothing here waits or touches the network; the browser does.
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
from ._redaction import Secret
from ._urls import WHITESPACE_OR_CONTROL, is_secure_url, try_normalize_site
from ._validation import validate_type

LIFETIME = 600.0
"""How many seconds a login through a browser may take.

Time for a password, a second factor and an e-mail that is slow to come, but not
for a terminal that was left open over lunch."""

_KEY_LENGTH = 32
_MAX_LENGTH = 8 * 1024
_REDIRECT = re.compile(r"zulip://login/?\?((?:[^%#]|%[0-9A-Fa-f]{2})*)")
_ENCRYPTED_KEY = re.compile(rf"[0-9a-f]{{{2 * _KEY_LENGTH}}}")
# Without the pad, less than one in 10^19 hits this. So it also tells whose answer it is.
_KEY = re.compile(rf"[A-Za-z0-9]{{{_KEY_LENGTH}}}".encode())
_NEEDED = {"otp_encrypted_api_key", "email", "realm"}
_KNOWN = {*_NEEDED, "user_id"}


class SSOFlow:
    """One login through a browser, from `AuthClient.start_sso` to the credentials.

    Open `url` in a browser, where the user logs in. The browser then goes on to
    an address that begins with `zulip://login?`; `finish` turns it into the
    credentials. That takes 10 minutes at most.

    It is neither copied nor pickled, since its one-time pad is used once.

    Args:
        site: The organization's address, normalised.
        method: How the user logs in there.
        clock: Tells the time, in seconds.

    Raises:
        InvalidInputError: The method is no `ExternalMethod`, or leads to
            another machine unencrypted.

    Source: https://zulip.com/api/changelog (feature level 108), and the
    recorded redirect of a real server.
    """

    def __init__(
        self, site: str, method: ExternalMethod, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._site = site
        self._login_url = validate_type("method", method, ExternalMethod).login_url
        if not is_secure_url(self._login_url):
            raise InvalidInputError(
                "method has a login_url that is no address to send a secret to: it must be "
                "https://, or http:// to this machine."
            )
        self._clock = clock
        self._expires = clock() + LIFETIME
        self._pad: Secret | None = Secret(secrets.token_hex(_KEY_LENGTH))

    @property
    def site(self) -> str:
        """Return the organization's address."""
        return self._site

    @property
    def url(self) -> str:
        """Return the address to open in a browser.

        It holds the pad: who has it and the address that the browser ends at
        has the key. Show it to nobody but the user and the browser.

        Raises:
            SSOFlowEndedError: The flow was used, or has expired.
        """
        pad = self._living_pad()
        parts = urlsplit(self._login_url)
        query = f"{parts.query}&" if parts.query else ""
        return parts._replace(query=f"{query}mobile_flow_otp={pad.value}").geturl()

    def __repr__(self) -> str:
        # A traceback may show one whose method was refused.
        return f"<SSOFlow {self._site}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An SSOFlow is neither copied nor pickled, since its pad is used once.")

    def finish(self, redirect_url: str) -> Credentials:
        """Return the credentials that the browser came back with.

        What is no answer to this flow, such as the address of an earlier one,
        does not end it: the right one may still come. What is right ends it.
        Nothing vouches for the e-mail address and the number but that they came
        along; `AuthClient.verify` asks the server.

        Args:
            redirect_url: The whole address that the browser ended at, which
                begins with `zulip://login?`. Parameters that it has beside the
                known ones are ignored, since newer servers may add some.

        Returns:
            The credentials; without the account's number from servers before
            Zulip 5.0.

        Raises:
            InvalidInputError: It is not the answer to this flow, which goes on.
            SSOFlowEndedError: The flow was used, or has expired.
        """
        redirect = Secret(redirect_url)
        del redirect_url  # so that no traceback which shows variables shows it
        result = _read(redirect, self._living_pad(), self._site)
        if isinstance(result, str):
            raise InvalidInputError(result)
        self._pad = None
        return result

    def _living_pad(self) -> Secret:
        if self._pad is None:
            raise SSOFlowEndedError("This login in the browser was finished. Start another one.")
        if self._clock() >= self._expires:
            raise SSOFlowEndedError(
                f"This login in the browser took more than {LIFETIME / 60:.0f} minutes. "
                "Start another one."
            )
        return self._pad


def _read(redirect: Secret, pad: Secret, site: str) -> Credentials | str:
    """Return the credentials that an address holds, or what is wrong with it."""
    url = redirect.value
    if not isinstance(url, str):
        return f"redirect_url must be a str, not {type(url).__name__}."
    if len(url) > _MAX_LENGTH:
        return f"redirect_url is longer than {_MAX_LENGTH} characters."
    if WHITESPACE_OR_CONTROL.search(url):
        return (
            "redirect_url has white space or a control character in it. "
            "Copy the whole address, on one line."
        )
    match = _REDIRECT.fullmatch(url)
    values = match and _parameters(match[1])
    if not values:
        return (
            "redirect_url is not where a login in the browser ends: zulip://login? with "
            "otp_encrypted_api_key, email and realm, each once. Copy the whole address."
        )
    if not _ENCRYPTED_KEY.fullmatch(values["otp_encrypted_api_key"]):
        return (
            "redirect_url has an otp_encrypted_api_key that is not 64 lower-case hexadecimal "
            "digits. Copy the whole address."
        )
    # Else one server could have the user log in to another, and be sent that one's key.
    if try_normalize_site(values["realm"]) != site:
        return (
            f"redirect_url is for another organization than {site}. "
            "Log in to the address that the server has for itself, its realm_url."
        )
    email, number = values["email"], values.get("user_id")
    if not is_email(email) or not (number is None or USER_ID_RE.fullmatch(number)):
        return "redirect_url has an email or a user_id that cannot be one."
    key = _decrypted(values["otp_encrypted_api_key"], pad)
    if key is None:
        return (
            "redirect_url does not answer this login, but an earlier one or somebody else's. "
            "Copy the address that the browser ended at just now."
        )
    return Credentials(site, email, key, None if number is None else int(number))


def _parameters(query: str) -> dict[str, str] | None:
    """Return the parameters that matter, if each is there as often as it should be."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:  # which UnicodeDecodeError is
        return None
    known = [(name, value) for name, value in pairs if name in _KNOWN]
    values = dict(known)
    return values if len(values) == len(known) and values.keys() >= _NEEDED else None


def _decrypted(encrypted: str, pad: Secret) -> str | None:
    """Return the key, or None where the pad does not give one."""
    both = zip(bytes.fromhex(encrypted), bytes.fromhex(pad.value), strict=True)
    key = bytes(a ^ b for a, b in both)
    return key.decode() if _KEY.fullmatch(key) else None
