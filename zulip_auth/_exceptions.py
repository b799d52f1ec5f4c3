"""The exception hierarchy.

ZulipAuthError
├── InvalidInputError (also ValueError)
│   └── InvalidSiteError
│       └── InsecureSiteError
├── SSOFlowEndedError
├── ConfigurationError
│   └── CredentialStoreError
│       ├── ZuliprcError
│       │   └── NotLoggedInError
│       └── KeyringError
├── APIConnectionError                        .sent
│   ├── APITimeoutError
│   └── TLSError
├── InvalidResponseError                      .status_code
└── APIStatusError                            .status_code  .code  .message
    ├── BadRequestError
    ├── AuthenticationFailedError             .attempts_remaining
    │   ├── UserDeactivatedError
    │   ├── RealmDeactivatedError
    │   ├── PasswordAuthDisabledError
    │   └── PasswordResetRequiredError
    ├── InvalidApiKeyError
    ├── InvalidSubdomainError
    ├── SubdomainRequiredError
    ├── DevAuthDisabledError
    ├── RateLimitedError                      .retry_after
    └── ServerError                           .attempts_remaining
"""

from __future__ import annotations

from typing import Any, Required, TypedDict, Unpack

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationFailedError",
    "BadRequestError",
    "ConfigurationError",
    "CredentialStoreError",
    "DevAuthDisabledError",
    "InsecureSiteError",
    "InvalidApiKeyError",
    "InvalidInputError",
    "InvalidResponseError",
    "InvalidSiteError",
    "InvalidSubdomainError",
    "KeyringError",
    "NotLoggedInError",
    "PasswordAuthDisabledError",
    "PasswordResetRequiredError",
    "RateLimitedError",
    "RealmDeactivatedError",
    "SSOFlowEndedError",
    "ServerError",
    "SubdomainRequiredError",
    "TLSError",
    "UserDeactivatedError",
    "ZulipAuthError",
    "ZuliprcError",
]


class ZulipAuthError(Exception):
    """Base class of all exceptions of this package.

    `str(error)` names what failed, why, and what to do. No exception holds a
    password, an API key or a request.

    Attributes:
        transient (bool): Whether the same call may succeed later without any
            change.
    """

    transient: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # BaseException.__reduce__ calls the class with `args` only, without
        # the keyword arguments that some classes require.
        return _new, (type(self), *self.args), self.__dict__


def _new(cls: type[ZulipAuthError], *args: object) -> ZulipAuthError:
    return cls.__new__(cls, *args)


class InvalidInputError(ZulipAuthError, ValueError):
    """An argument is invalid. No request was made. Fix the argument."""


class InvalidSiteError(InvalidInputError):
    """The site is not the URL of an organization. Use one such as `chat.example.com`."""


class InsecureSiteError(InvalidSiteError):
    """The site uses plain http, which would send the password unencrypted. Use https."""


class SSOFlowEndedError(ZulipAuthError):
    """The browser login is complete or expired. Start a new one.

    It is not an `InvalidInputError`: no other input can continue the flow.
    """


class ConfigurationError(ZulipAuthError):
    """The environment is misconfigured. Fix what the message names.

    Examples are a proxy variable, the CA certificates, or a missing extra.
    """


class CredentialStoreError(ConfigurationError):
    """Stored credentials cannot be read or written."""


class ZuliprcError(CredentialStoreError):
    """A zuliprc cannot be read, used or written.

    Fix the file, or run `zulip-auth login`. The message repeats nothing of the file's content.
    """


class NotLoggedInError(ZuliprcError):
    """No credentials are stored.

    Run `zulip-auth login`, or set the environment variables.
    """


class KeyringError(CredentialStoreError):
    """The system keyring cannot be used. Unlock it, or use a zuliprc."""


class APIConnectionError(ZulipAuthError):
    """The connection failed, or was lost before the response was complete.

    Retry later.

    Attributes:
        sent (bool): Whether the server may have received the password, in any
            attempt of this login. If so, it may have counted a failed login.
    """

    transient: bool = True

    def __init__(self, summary: str, *, sent: bool) -> None:
        super().__init__(summary)
        self.sent = sent


class APITimeoutError(APIConnectionError):
    """The timeout expired. Retry later, or increase `timeout`."""


class TLSError(APIConnectionError):
    """The TLS handshake failed, usually because of the certificate.

    Check the URL and the certificate. Pass an `ssl_context` for a private CA.
    """

    transient: bool = False


class InvalidResponseError(ZulipAuthError):
    """The response is not from Zulip's API, such as a web page or a redirect.

    Check the URL. The message names the target of a redirect.

    Attributes:
        status_code (int | None): The HTTP status code; None if the response
            was not valid HTTP.
    """

    def __init__(self, summary: str, *, status_code: int | None) -> None:
        super().__init__(summary)
        self.status_code = status_code
        self.transient: bool = is_transient_status(status_code)


class APIStatusError(ZulipAuthError):
    """The server returned an error response.

    Attributes:
        status_code (int): The HTTP status code.
        code (str | None): The server's error code, such as
            `AUTHENTICATION_FAILED`; None from servers before 5.0.
        message (str): The server's message, in its language, with secrets
            redacted; empty if there was none.
    """

    def __init__(
        self, summary: str, *, status_code: int, code: str | None = None, message: str = ""
    ) -> None:
        super().__init__(summary)
        self.status_code = status_code
        self.transient: bool = is_transient_status(status_code)
        self.code = code
        self.message = message


class _Response(TypedDict, total=False):
    """The arguments of APIStatusError that its subclasses pass on."""

    status_code: Required[int]
    code: str | None
    message: str


class BadRequestError(APIStatusError):
    """The server rejected the request as invalid (400).

    Check the username format, which `server_settings` reports.
    """


class AuthenticationFailedError(APIStatusError):
    """The server rejected the login (401; 403 before Zulip 5.0).

    This class itself stands for an incorrect username or password. Ask for the
    password again; the same one uses up another attempt.

    Attributes:
        attempts_remaining (int | None): Remaining attempts before the server
            blocks logins for this username; None if unknown.
    """

    def __init__(
        self, summary: str, *, attempts_remaining: int | None = None, **response: Unpack[_Response]
    ) -> None:
        super().__init__(summary, **response)
        self.attempts_remaining = attempts_remaining


class UserDeactivatedError(AuthenticationFailedError):
    """The account is deactivated. Ask an organization administrator."""


class RealmDeactivatedError(AuthenticationFailedError):
    """The organization is deactivated. Ask its owners or the server administrator."""


class PasswordAuthDisabledError(AuthenticationFailedError):
    """Password login is disabled in the organization.

    Log in with a browser, or copy the API key from the Zulip settings.
    """


class PasswordResetRequiredError(AuthenticationFailedError):
    """The password must be reset first, on the organization's login page."""


class InvalidApiKeyError(APIStatusError):
    """The server rejected the API key (401).

    It is invalid or revoked, or belongs to another account. Log in again, which
    returns the current key.
    """


class InvalidSubdomainError(APIStatusError):
    """The organization does not exist, or the account is in another one. Check the URL."""


class SubdomainRequiredError(APIStatusError):
    """The site is the root domain of a server with many organizations.

    Use the URL of one of them.
    """


class DevAuthDisabledError(APIStatusError):
    """The server does not offer development logins. Log in with a password."""


class RateLimitedError(APIStatusError):
    """Too many requests or login attempts (429). No password was checked.

    Wait. Until then, even the correct password is rejected.

    Attributes:
        retry_after (float | None): Seconds until the server accepts the next
            request; None if unknown.
    """

    def __init__(
        self, summary: str, *, retry_after: float | None = None, **response: Unpack[_Response]
    ) -> None:
        super().__init__(summary, **response)
        self.retry_after = retry_after


class ServerError(APIStatusError):
    """The server, or a proxy in front of it, failed (5xx). Retry later.

    Attributes:
        attempts_remaining (int | None): Remaining attempts before the server
            blocks logins for this username, if it counted this one; else None.
    """

    def __init__(
        self, summary: str, *, attempts_remaining: int | None = None, **response: Unpack[_Response]
    ) -> None:
        super().__init__(summary, **response)
        self.attempts_remaining = attempts_remaining


def is_transient_status(status_code: int | None) -> bool:
    """Return whether a response with this status code may be another one later."""
    return status_code is not None and (status_code in (408, 429) or 500 <= status_code <= 599)


def is_final(error: ZulipAuthError) -> bool:
    """Return whether another login would be rejected, or use the account's last attempt."""
    remaining = getattr(error, "attempts_remaining", None)
    if remaining is not None and remaining <= 1:
        return True
    if isinstance(error, InvalidResponseError):
        return error.status_code in (401, 403)  # a proxy may have replaced the body
    return isinstance(error, APIStatusError) and not error.transient


def may_have_succeeded(error: ZulipAuthError) -> bool:
    """Return whether the server may have done what was requested."""
    if isinstance(error, APIConnectionError):
        return error.sent
    if not isinstance(error, APIStatusError | InvalidResponseError):
        return False
    status = error.status_code or 0
    return status < 300 or status == 408 or status >= 500


# Tracebacks, pickles and error trackers show the public module.
for _name in __all__:
    globals()[_name].__module__ = "zulip_auth"
