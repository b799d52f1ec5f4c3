"""Log in to Zulip from asyncio.

credentials = await zulip_auth.login("https://chat.example.com", "iago@zulip.com", password)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._api import dev_login, login
    from ._client import AuthClient
    from ._credentials import Credentials
    from ._exceptions import *
    from ._key_source import ApiKeySource
    from ._models import Bot, ExternalMethod, Owner, ServerSettings
    from ._retry import RetryPolicy
    from ._sso import SSOFlow
    from ._version import __version__
else:
    # Each name is imported on first access: code that only catches errors, the command
    # line and each run of pytest (for the fixture) do not wait for httpx and asyncio.
    _MODULES = {
        "ApiKeySource": "_key_source",
        "AuthClient": "_client",
        "Bot": "_models",
        "Credentials": "_credentials",
        "ExternalMethod": "_models",
        "Owner": "_models",
        "RetryPolicy": "_retry",
        "SSOFlow": "_sso",
        "ServerSettings": "_models",
        "__version__": "_version",
        "dev_login": "_api",
        "login": "_api",
    }

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
        module = import_module(f".{_MODULES.get(name, '_exceptions')}", __name__)
        value = globals()[name] = getattr(module, name)
        return value

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
