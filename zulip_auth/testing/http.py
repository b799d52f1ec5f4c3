"""Requests, responses and errors, shared by the endpoints."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qsl

from attrs import Factory, frozen
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from .state import Account, RateLimit, Realm, State

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


def check_limit(limit: RateLimit) -> None:
    """Raise the error for a request above a rate limit."""
    if limit.retry_after is not None:
        error = ErrorResponse(429, "RATE_LIMIT_HIT", "API usage exceeded rate limit")
        error.body["retry-after"] = limit.retry_after
        raise error


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
