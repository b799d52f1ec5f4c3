# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

"""Contains all the data models used in inputs/outputs"""

from .api_key_response import ApiKeyResponse
from .coded_error import CodedError
from .dev_fetch_api_key_body import DevFetchApiKeyBody
from .fetch_api_key_body import FetchApiKeyBody

__all__ = (
    "ApiKeyResponse",
    "CodedError",
    "DevFetchApiKeyBody",
    "FetchApiKeyBody",
)
