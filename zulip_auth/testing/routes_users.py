"""The endpoints that take an API key: whose it is, and a new one."""

from __future__ import annotations

import base64
import re

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from .http import Refused, parameters_of, success
from .state import Account, Realm, State

_KEY = re.compile(r"[A-Za-z0-9]{32}")


def _unauthorized(msg: str) -> Refused:
    refused = Refused(401, "UNAUTHORIZED", msg)
    refused.headers = {"WWW-Authenticate": 'Basic realm="zulip"'}
    return refused


def owner_of_key(request: Request, state: State) -> tuple[Realm, Account]:
    """Return the account whose key a request brings, and its organization."""
    header = request.headers.get("authorization")
    if header is None:
        raise _unauthorized("Not logged in: API authentication or user session required")
    email, key = _basic(header)
    if not _KEY.fullmatch(key):
        raise _unauthorized("Malformed API key")
    found = state.find_key(key)
    if found is None or found[1].email.lower() != email.lower():
        raise _unauthorized("Invalid API key")
    realm, account = found
    if not realm.active:
        raise _unauthorized("This organization has been deactivated")
    if not account.active:
        raise _unauthorized("Account is deactivated")
    if state.realm_at(request.headers.get("host", "")) is not realm:
        raise _unauthorized("Account is not associated with this subdomain")
    return realm, account


def _basic(header: str) -> tuple[str, str]:
    try:
        scheme, credentials = header.split()
        if scheme.lower() != "basic":
            raise _unauthorized("This endpoint requires HTTP basic authentication.")
        email, key = base64.b64decode(credentials).decode().split(":")
    except ValueError:
        raise _unauthorized("Invalid authorization header for basic auth") from None
    return email, key


@frozen
class Accounts:
    """The endpoints of an account."""

    state: State

    async def own_user(self, request: Request) -> Response:
        await parameters_of(request, self.state)
        realm, account = owner_of_key(request, self.state)
        return success(
            # Not the address that logs in, as where addresses are hidden.
            email=f"user{account.user_id}@{realm.host}",
            user_id=account.user_id,
            avatar_version=1,
            is_admin=account.admin,
            is_owner=account.role == 100,
            is_guest=account.role == 600,
            is_billing_admin=False,
            role=account.role,
            is_bot=False,
            full_name=account.full_name,
            timezone="",
            is_active=True,
            date_joined="2026-11-23T21:32+00:00",
            delivery_email=account.email,
            avatar_url="",
            profile_data={},
            max_message_id=-1,
        )

    async def regenerate_api_key(self, request: Request) -> Response:
        await parameters_of(request, self.state)
        _, account = owner_of_key(request, self.state)
        account.regenerate_api_key()
        return success(api_key=account.api_key)
