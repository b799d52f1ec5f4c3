"""The errors.

ZulipAuthError
├── InvalidInputError (also ValueError)
│   └── InvalidSiteError
│       └── InsecureSiteError
├── SSOFlowEndedError
├── ZuliprcError
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
    └── ServerError
"""

from __future__ import annotations

from typing import Any


class ZulipAuthError(Exception):
    """The root of every error that this package raises.

    `str()` of any of them is a sentence for people: what happened, the
    server's code for it, and what can be done. None of them holds a password,
    a key, or a request in which one could be found.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # The stock way calls the class with `args` alone, which the classes
        # below that want keywords would not take.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    cls: type[ZulipAuthError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> ZulipAuthError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(attributes)
    return error


class InvalidInputError(ZulipAuthError, ValueError):
    """An argument was refused before any request was made."""


class InvalidSiteError(InvalidInputError):
    """The site is not the address of a Zulip organization."""


class InsecureSiteError(InvalidSiteError):
    """The site would send the password over the network unencrypted."""


class SSOFlowEndedError(ZulipAuthError):
    """A login through a browser was finished, or took too long; another one may start.

    It is no `InvalidInputError`: whatever else is pasted, the flow stays ended.
    """


class ZuliprcError(ZulipAuthError):
    """Stored credentials cannot be read or written.

    What is said of a file repeats nothing of what is in it.
    """


class APIConnectionError(ZulipAuthError):
    """The server was not reached, or was lost before its answer was complete.

    Attributes:
        sent (bool): Whether the server may have seen the password, in any of the
            tries of this login. Where it may, the account may have one attempt
            less.
    """

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.sent = sent


class APITimeoutError(APIConnectionError):
    """The server took too long, or `timeout` was over."""


class TLSError(APIConnectionError):
    """No secure connection: the certificate or the handshake is at fault."""


class InvalidResponseError(ZulipAuthError):
    """Something answered, but not as Zulip's API does.

    Attributes:
        status_code (int | None): The HTTP status of the answer; None where it was not even
            HTTP.
    """

    def __init__(self, text: str, *, status_code: int | None) -> None:
        super().__init__(text)
        self.status_code = status_code


class APIStatusError(ZulipAuthError):
    """The server refused, and said so as Zulip's API does.

    Attributes:
        status_code (int): The HTTP status of the answer.
        code (str | None): The server's code, such as `AUTHENTICATION_FAILED`; None where it
            gave none, as servers before 5.0 do.
        message (str): The server's own words, in its language; empty where it gave
            none. Should they repeat the password, it is cut out.
    """

    def __init__(
        self, text: str, *, status_code: int, code: str | None = None, message: str = ""
    ) -> None:
        super().__init__(text)
        self.status_code = status_code
        self.code = code
        self.message = message


class BadRequestError(APIStatusError):
    """The server could not make sense of the request (400)."""


class AuthenticationFailedError(APIStatusError):
    """The server does not let this account in (401; 403 before Zulip 5.0).

    Raised itself when the username or the password is wrong.

    Attributes:
        attempts_remaining (int | None): How many more attempts the server allows this
            username before it refuses even the right password for a while;
            None where it does not say.
    """

    def __init__(
        self,
        text: str,
        *,
        status_code: int,
        code: str | None = None,
        message: str = "",
        attempts_remaining: int | None = None,
    ) -> None:
        super().__init__(text, status_code=status_code, code=code, message=message)
        self.attempts_remaining = attempts_remaining


class UserDeactivatedError(AuthenticationFailedError):
    """The account has been deactivated."""


class RealmDeactivatedError(AuthenticationFailedError):
    """The organization has been deactivated."""


class PasswordAuthDisabledError(AuthenticationFailedError):
    """The organization does not let anyone in with a password."""


class PasswordResetRequiredError(AuthenticationFailedError):
    """The password was right, but the server wants it reset first."""


class InvalidApiKeyError(APIStatusError):
    """The server does not take this API key, for this account (401)."""


class InvalidSubdomainError(APIStatusError):
    """There is no such organization here, or the account is in another one."""


class SubdomainRequiredError(APIStatusError):
    """There are many organizations below this address, and none at it."""


class DevAuthDisabledError(APIStatusError):
    """The server does not offer logging in without a password."""


class RateLimitedError(APIStatusError):
    """Too many attempts; nothing was checked (429).

    Attributes:
        retry_after (float | None): Seconds until the server looks at a password again; None
            where it does not say.
    """

    def __init__(
        self,
        text: str,
        *,
        status_code: int,
        code: str | None = None,
        message: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text, status_code=status_code, code=code, message=message)
        self.retry_after = retry_after


class ServerError(APIStatusError):
    """The server, or something in front of it, has failed (5xx)."""
