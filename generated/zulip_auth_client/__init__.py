# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

"""A client library for accessing Zulip authentication"""

from .client import AuthenticatedClient, Client

__all__ = (
    "AuthenticatedClient",
    "Client",
)
