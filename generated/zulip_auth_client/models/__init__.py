# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

"""Contains all the data models used in inputs/outputs"""

from .api_key_response import ApiKeyResponse
from .authentication_methods import AuthenticationMethods
from .coded_error import CodedError
from .dev_fetch_api_key_body import DevFetchApiKeyBody
from .dev_list_users_response import DevListUsersResponse
from .dev_user import DevUser
from .external_authentication_method import ExternalAuthenticationMethod
from .fetch_api_key_body import FetchApiKeyBody
from .jwt_fetch_api_key_body import JwtFetchApiKeyBody
from .new_api_key_response import NewApiKeyResponse
from .own_user_response import OwnUserResponse
from .server_settings_response import ServerSettingsResponse

__all__ = (
    "ApiKeyResponse",
    "AuthenticationMethods",
    "CodedError",
    "DevFetchApiKeyBody",
    "DevListUsersResponse",
    "DevUser",
    "ExternalAuthenticationMethod",
    "FetchApiKeyBody",
    "JwtFetchApiKeyBody",
    "NewApiKeyResponse",
    "OwnUserResponse",
    "ServerSettingsResponse",
)
