"""The public names, which `zulip_auth` imports on first access to one of them."""

from ._client import AuthClient, dev_login, login
from ._credentials import Credentials
from ._key_source import ApiKeySource
from ._models import Bot, ExternalMethod, Owner, ServerSettings
from ._retry import RetryPolicy
from ._sso import SSOFlow
from ._stores import CredentialStore, KeyringStore, ZuliprcStore
from ._version import __version__
