"""Logging in to Zulip from asyncio.

credentials = await zulip_auth.login("https://chat.example.com", "iago@zulip.com", password)
"""

from ._client import AuthClient, dev_login, login
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
