"""Logging in to Zulip from asyncio.

credentials = await zulip_auth.login("https://chat.example.com", "iago@zulip.com", password)
"""

from typing import TYPE_CHECKING

from ._credentials import Credentials
from ._errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationFailedError,
    BadRequestError,
    DevAuthDisabledError,
    InsecureSiteError,
    InvalidInputError,
    InvalidResponseError,
    InvalidSiteError,
    InvalidSubdomainError,
    PasswordAuthDisabledError,
    PasswordResetRequiredError,
    RateLimitedError,
    RealmDeactivatedError,
    ServerError,
    TLSError,
    UserDeactivatedError,
    ZulipAuthError,
)
from ._retry import RetryPolicy
from ._version import __version__

if TYPE_CHECKING:
    from ._client import AuthClient, dev_login, login
else:
    # With these comes httpx, which takes longer to import than all the rest. What
    # only catches errors, and every run of pytest (for the fixture), do without.
    def __getattr__(name: str) -> object:
        if name in ("AuthClient", "dev_login", "login"):
            from . import _client

            return getattr(_client, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)

    def __dir__() -> list[str]:
        return __all__


__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthClient",
    "AuthenticationFailedError",
    "BadRequestError",
    "Credentials",
    "DevAuthDisabledError",
    "InsecureSiteError",
    "InvalidInputError",
    "InvalidResponseError",
    "InvalidSiteError",
    "InvalidSubdomainError",
    "PasswordAuthDisabledError",
    "PasswordResetRequiredError",
    "RateLimitedError",
    "RealmDeactivatedError",
    "RetryPolicy",
    "ServerError",
    "TLSError",
    "UserDeactivatedError",
    "ZulipAuthError",
    "__version__",
    "dev_login",
    "login",
]
