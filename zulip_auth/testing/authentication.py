"""Authentication with an API key, and the rate limit of each account."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable

from starlette.responses import Response

from .http import Call, ErrorResponse, Handler, UserCall, bad_request, check_limit
from .state import INCOMING_WEBHOOK, Account, Realm

_KEY_RE = re.compile(r"[A-Za-z0-9]{32}")

UserHandler = Callable[[UserCall], Awaitable[Response]]


def authenticated(handler: UserHandler, *, allow_webhooks: bool = False) -> Handler:
    """Return a handler that requires a valid API key.

    Args:
        handler: The handler of the authenticated request.
        allow_webhooks: Whether incoming webhook bots may use the endpoint.

    Source: recorded exchanges; every response to a valid key reports the
    limit of 200 requests a minute, and a rejected key is not counted.
    """

    async def wrapper(call: Call) -> Response:
        realm, account = _authenticate(call)
        if account.bot_type == INCOMING_WEBHOOK and not allow_webhooks:
            raise _unauthorized("This API is not available to incoming webhook bots.")
        limit = call.state.calls.record(account, call.state.now())
        try:
            check_limit(limit)
            response = await handler(
                UserCall(call.state, call.request, call.params, realm, account)
            )
        except ErrorResponse as error:
            error.headers |= limit.headers
            raise
        response.headers.update(limit.headers)
        return response

    return wrapper


def _authenticate(call: Call) -> tuple[Realm, Account]:
    """Return the organization and the account of a request's API key."""
    header = call.request.headers.get("authorization")
    if header is None:
        raise _unauthorized("Not logged in: API authentication or user session required")
    email, key = _parse_basic_auth(header)
    if not _KEY_RE.fullmatch(key):
        raise _unauthorized("Malformed API key")
    owner = call.state.find_key(key)
    if owner is None or owner[1].email.lower() != email.lower():
        raise _unauthorized("Invalid API key")
    realm, account = owner
    if not realm.active:
        raise _unauthorized("This organization has been deactivated")
    if not account.active:
        raise _unauthorized("Account is deactivated")
    if call.state.find_realm(call.host) is not realm:
        raise _unauthorized("Account is not associated with this subdomain")
    return realm, account


def _unauthorized(msg: str) -> ErrorResponse:
    error = ErrorResponse(401, "UNAUTHORIZED", msg)
    error.headers = {"WWW-Authenticate": 'Basic realm="zulip"'}
    return error


def _parse_basic_auth(header: str) -> tuple[str, str]:
    """Return the email and the API key, without the spaces around them."""
    try:
        scheme, credentials = header.split()
        if scheme.lower() != "basic":
            raise bad_request("This endpoint requires HTTP basic authentication.")
        email, key = base64.b64decode(credentials).decode().split(":")
    except ValueError:
        raise _unauthorized("Invalid authorization header for basic auth") from None
    return email.strip(), key.strip()
