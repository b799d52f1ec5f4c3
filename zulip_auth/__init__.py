"""Log in to Zulip from asyncio.

credentials = await zulip_auth.login("https://chat.example.com", "iago@zulip.com", password)
"""

from typing import TYPE_CHECKING

from . import _exceptions
from ._exceptions import *
from ._version import __version__

if TYPE_CHECKING:
    from ._client import AuthClient, dev_login, login
    from ._credentials import Credentials
    from ._key_source import ApiKeySource
    from ._models import Bot, ExternalMethod, Owner, ServerSettings
    from ._retry import RetryPolicy
    from ._sso import SSOFlow
    from ._stores import CredentialStore, KeyringStore, ZuliprcStore
else:

    def __getattr__(name: str) -> object:
        # On first access to a name: the command line and each run of pytest, for the fixture,
        # do not wait for asyncio and attrs. httpx is imported later, with the first request.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
        from . import _public

        later = set(__all__) - globals().keys()
        globals().update({public: getattr(_public, public) for public in later})
        return globals()[name]

    def __dir__() -> list[str]:
        return __all__


__all__ = [
    "ApiKeySource",
    "AuthClient",
    "Bot",
    "CredentialStore",
    "Credentials",
    "ExternalMethod",
    "KeyringStore",
    "Owner",
    "RetryPolicy",
    "SSOFlow",
    "ServerSettings",
    "ZuliprcStore",
    "__version__",
    "dev_login",
    "login",
]
__all__ += _exceptions.__all__
