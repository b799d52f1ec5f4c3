"""Log in to Zulip from asyncio.

credentials = await zulip_auth.login("https://chat.example.com", "iago@zulip.com", password)
"""

from typing import TYPE_CHECKING

from ._credentials import Credentials
from ._exceptions import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationFailedError,
    BadRequestError,
    ConfigurationError,
    CredentialStoreError,
    DevAuthDisabledError,
    InsecureSiteError,
    InvalidApiKeyError,
    InvalidInputError,
    InvalidResponseError,
    InvalidSiteError,
    InvalidSubdomainError,
    KeyringError,
    NotLoggedInError,
    PasswordAuthDisabledError,
    PasswordResetRequiredError,
    RateLimitedError,
    RealmDeactivatedError,
    ServerError,
    SSOFlowEndedError,
    SubdomainRequiredError,
    TLSError,
    UserDeactivatedError,
    ZulipAuthError,
    ZuliprcError,
)
from ._models import Bot, ExternalMethod, Owner, ServerSettings
from ._retry import RetryPolicy
from ._sso import SSOFlow
from ._version import __version__

if TYPE_CHECKING:
    from ._api import dev_login, login
    from ._client import AuthClient
    from ._key_source import ApiKeySource
else:
    # These need httpx, whose import takes longer than everything else. Code that only
    # catches errors, and each run of pytest (for the fixture), does without.
    def __getattr__(name: str) -> object:
        if name in ("ApiKeySource", "AuthClient", "dev_login", "login"):
            from . import _api, _key_source

            return getattr(_key_source if name == "ApiKeySource" else _api, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)

    def __dir__() -> list[str]:
        return __all__


__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "ApiKeySource",
    "AuthClient",
    "AuthenticationFailedError",
    "BadRequestError",
    "Bot",
    "ConfigurationError",
    "CredentialStoreError",
    "Credentials",
    "DevAuthDisabledError",
    "ExternalMethod",
    "InsecureSiteError",
    "InvalidApiKeyError",
    "InvalidInputError",
    "InvalidResponseError",
    "InvalidSiteError",
    "InvalidSubdomainError",
    "KeyringError",
    "NotLoggedInError",
    "Owner",
    "PasswordAuthDisabledError",
    "PasswordResetRequiredError",
    "RateLimitedError",
    "RealmDeactivatedError",
    "RetryPolicy",
    "SSOFlow",
    "SSOFlowEndedError",
    "ServerError",
    "ServerSettings",
    "SubdomainRequiredError",
    "TLSError",
    "UserDeactivatedError",
    "ZulipAuthError",
    "ZuliprcError",
    "__version__",
    "dev_login",
    "login",
]
