"""Endpoints of an account: its profile and its API key."""

from __future__ import annotations

import base64
import re

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from .http import ErrorResponse, read_request, success_response
from .state import Account, Realm, State

_KEY_RE = re.compile(r"[A-Za-z0-9]{32}")


def _unauthorized(msg: str) -> ErrorResponse:
    error = ErrorResponse(401, "UNAUTHORIZED", msg)
    error.headers = {"WWW-Authenticate": 'Basic realm="zulip"'}
    return error


def authenticate(request: Request, state: State) -> tuple[Realm, Account]:
    """Return the organization and the account of a request's API key."""
    header = request.headers.get("authorization")
    if header is None:
        raise _unauthorized("Not logged in: API authentication or user session required")
    email, key = _parse_basic_auth(header)
    if not _KEY_RE.fullmatch(key):
        raise _unauthorized("Malformed API key")
    owner = state.find_key(key)
    if owner is None or owner[1].email.lower() != email.lower():
        raise _unauthorized("Invalid API key")
    realm, account = owner
    if not realm.active:
        raise _unauthorized("This organization has been deactivated")
    if not account.active:
        raise _unauthorized("Account is deactivated")
    if state.find_realm(request.headers.get("host", "")) is not realm:
        raise _unauthorized("Account is not associated with this subdomain")
    return realm, account


def _parse_basic_auth(header: str) -> tuple[str, str]:
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
    """Endpoints of an account."""

    state: State

    async def own_user(self, request: Request) -> Response:
        await read_request(request, self.state)
        realm, account = authenticate(request, self.state)
        return success_response(
            # Not the login email: the organization hides email addresses.
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
        await read_request(request, self.state)
        _, account = authenticate(request, self.state)
        account.regenerate_api_key()
        return success_response(api_key=account.api_key)
