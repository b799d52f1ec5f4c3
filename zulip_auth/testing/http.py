"""Requests, authentication, responses and errors, shared by the endpoints."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from attrs import Factory, frozen
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from .state import INCOMING_WEBHOOK, Account, Realm, State

_TEMPLATES = json.loads(Path(__file__).with_name("templates.json").read_text(encoding="utf-8"))
_KEY_RE = re.compile(r"[A-Za-z0-9]{32}")
_PAGE_NOT_FOUND = (
    '<!DOCTYPE html>\n<html lang="en"><head><title>Page not found</title></head>'
    "<body>Page not found</body></html>\n"
)


class ErrorResponse(Exception):
    """End a request with an error response of Zulip's API."""

    def __init__(self, status: int, code: str, msg: str, **fields: object) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        self.body: dict[str, Any] = {"result": "error", "msg": msg, **fields, "code": code}


@frozen
class Call:
    """A request to an endpoint.

    Attributes:
        params: The parameters of the query string and of the form.
    """

    state: State
    request: Request
    params: Mapping[str, str]

    @property
    def host(self) -> str:
        """Return the Host header."""
        return self.request.headers.get("host", "")

    def url(self, host: str) -> str:
        """Return the URL of a host, with the scheme and port of the request."""
        return str(self.request.url.replace(hostname=host, path="", query=""))

    def find_realm(self) -> Realm:
        """Return the organization at the Host header."""
        realm = self.state.find_realm(self.host)
        if realm is None:
            raise ErrorResponse(404, "NONEXISTENT_SUBDOMAIN", "Invalid subdomain")
        return realm

    def require(self, name: str) -> str:
        """Return a parameter, or raise the error for a missing one."""
        if name not in self.params:
            msg = f"Missing '{name}' argument"
            raise ErrorResponse(400, "REQUEST_VARIABLE_MISSING", msg, var_name=name)
        return self.params[name]

    def get_json(self, name: str, default: Any = None) -> Any:
        """Return the value of a parameter that is JSON."""
        try:
            return json.loads(self.params[name]) if name in self.params else default
        except ValueError:
            raise bad_request(f"{name} is not valid JSON") from None

    def get_int(self, name: str) -> int:
        """Return the value of a required parameter that is an integer."""
        self.require(name)
        value = self.get_json(name)
        if type(value) is not int:
            raise bad_request(f"{name} is not an integer")
        return value


@frozen
class UserCall(Call):
    """A request with a valid API key, and its account."""

    realm: Realm
    account: Account


Handler = Callable[[Call], Awaitable[Response]]
UserHandler = Callable[[UserCall], Awaitable[Response]]


@frozen
class Endpoint:
    """The ASGI application of one path."""

    state: State
    handlers: dict[str, Handler] = Factory(dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        handler = self.handlers.get(request.method)
        if handler is None:
            response = _method_not_allowed(list(self.handlers))
        else:
            try:
                response = await handler(Call(self.state, request, scope["params"]))
            except ErrorResponse as error:
                response = json_response(error.body, error.status, error.headers)
        await response(scope, receive, send)


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
        headers = call.state.calls.record(account, call.state.now())
        user_call = UserCall(call.state, call.request, call.params, realm, account)
        try:
            check_limit(headers)
            response = await handler(user_call)
        except ErrorResponse as error:
            error.headers |= headers
            raise
        response.headers.update(headers)
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


def parse_form(content_type: str, body: bytes) -> dict[str, str]:
    """Return the parameters of a body; empty if it is not a form.

    Files in a multipart form are left out.

    Source: recorded exchanges with a form, a multipart form and a JSON body.
    """
    match content_type.partition(";")[0].strip().lower():
        case "application/x-www-form-urlencoded":
            return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        case "multipart/form-data":
            header = f"Content-Type: {content_type}\r\n\r\n".encode()
            form = {}
            for part in message_from_bytes(header + body).walk():
                name = part.get_param("name", header="content-disposition")
                content = part.get_payload(decode=True)
                if isinstance(content, bytes) and name and part.get_filename() is None:
                    form[str(name)] = content.decode("utf-8", "replace")
            return form
    return {}


def bad_request(msg: str) -> ErrorResponse:
    """Return an error without a code of its own."""
    return ErrorResponse(400, "BAD_REQUEST", msg)


def check_limit(headers: Mapping[str, str]) -> None:
    """Raise the error for a request above a rate limit."""
    if "Retry-After" in headers:
        error = ErrorResponse(429, "RATE_LIMIT_HIT", "API usage exceeded rate limit")
        error.body["retry-after"] = float(headers["Retry-After"])
        raise error


def fill(template: str, **fields: object) -> dict[str, Any]:
    """Return the fields of a response or event, in the order of a Zulip 10.0 server.

    Args:
        template: Name of an object in templates.json.
        fields: Values that replace those of the template.
    """
    return {**_TEMPLATES[template], **fields}


def success_response(**fields: object) -> Response:
    """Return a successful response."""
    return json_response({"result": "success", "msg": "", **fields})


def json_response(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response of Zulip's API."""
    return Response(_dumps(body) + "\n", status, headers, media_type="application/json")


def _dumps(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


async def not_found(_request: Request, _error: Exception) -> Response:
    """Return the page for an unknown path."""
    return HTMLResponse(_PAGE_NOT_FOUND, status_code=404)


def _method_not_allowed(methods: list[str]) -> Response:
    # Zulip sends JSON with the content type of HTML.
    body = {"result": "error", "msg": "Method Not Allowed", "allowed_methods": methods}
    return HTMLResponse(_dumps(body), status_code=405, headers={"Allow": ", ".join(methods)})
