"""Requests, authentication, responses and errors, shared by the endpoints."""

from __future__ import annotations

import base64
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from email import message_from_bytes
from enum import Enum, auto
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl

import attrs
from attrs import Factory, frozen
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from .accounts import GUEST, INCOMING_WEBHOOK, Account, Realm
from .errors import ErrorResponse, bad_request
from .messages import Message
from .parameters import Parameter, declared_parameters
from .rate_limits import RateLimiter
from .state import State

Fields = Mapping[str, Any]
Handler = Callable[..., "Fields | Response | Awaitable[Fields | Response]"]
_H = TypeVar("_H", bound=Handler)

_KEY_RE = re.compile(r"[A-Za-z0-9]{32}")


class Option(Enum):
    """A property of an endpoint."""

    ANONYMOUS = auto()
    """It requires no API key. The handler is called with a `Call`."""
    HUMANS = auto()
    """It rejects bots."""
    MEMBERS = auto()
    """It rejects guests."""
    WEBHOOKS = auto()
    """Incoming webhook bots may use it."""
    DEVELOPMENT = auto()
    """It is missing on a production server."""
    POST_ONLY = auto()
    """It rejects OPTIONS as it does other methods."""


ANONYMOUS, HUMANS, MEMBERS, WEBHOOKS, DEVELOPMENT, POST_ONLY = Option


@frozen
class Call:
    """A request to an endpoint.

    Attributes:
        params: The parameters of the query string and of the form.
        files: Names and contents of the files in the form.
        headers: Headers of the response, whether it is a success or an error.
    """

    state: State
    request: Request
    params: Mapping[str, str]
    files: list[tuple[str, bytes]]
    headers: list[tuple[str, str]] = Factory(list)

    @property
    def host(self) -> str:
        """Return the Host header."""
        return self.request.headers.get("host", "")

    @property
    def client(self) -> str:
        """Return the name of the HTTP client."""
        return self.request.headers.get("user-agent", "").partition("/")[0] or "Unspecified"

    def url(self, host: str) -> str:
        """Return the URL of a host, with the scheme and port of the request."""
        url = self.request.url
        other = self.state.any_host and url.hostname not in self.state.realms
        name = (url.hostname or host) if other else host
        port = f":{url.port}" if url.port else ""
        return f"{url.scheme}://{f'[{name}]' if ':' in name else name}{port}"

    def find_realm(self) -> Realm:
        """Return the organization at the Host header."""
        realm = self.state.find_realm(self.host)
        if realm is None:
            raise ErrorResponse(404, "NONEXISTENT_SUBDOMAIN", "Invalid subdomain")
        return realm


@frozen(kw_only=True)
class UserCall(Call):
    """A request with a valid API key, and its account."""

    realm: Realm
    account: Account

    @property
    def bots(self) -> list[Account]:
        """Return the bots of the account."""
        return [user for user in self.realm.accounts if user.owner is self.account]

    @property
    def messages(self) -> list[Message]:
        """Return the messages of the organization, oldest first."""
        return [m for m in self.state.messages.values() if m.realm is self.realm]

    @property
    def received(self) -> list[Message]:
        """Return the messages that the account has received, oldest first."""
        return [message for message in self.messages if self.account in message.recipients]

    def channel(self, stream_id: int) -> str:
        """Return the name of a channel."""
        name = self.realm.find_channel(stream_id)
        if name is None:
            raise bad_request("Invalid channel ID")
        return name

    def deliver(
        self, accounts: Iterable[Account], event: Mapping[str, Any], capability: str | None = None
    ) -> None:
        """Add an event to the queues of some accounts."""
        self.state.deliver(accounts, event, capability)


@frozen
class Endpoint:
    """A handler of one method and path.

    Attributes:
        parameters: Parameters that are arguments of the handler.
        unused: Parameters that are checked, and have no effect.
    """

    method: str
    path: str
    handler: Handler
    options: frozenset[Option]
    parameters: Sequence[Parameter]
    unused: Sequence[Parameter]

    async def __call__(self, call: Call) -> Response:
        """Return the response to a request.

        Source: recorded exchanges; every response to a valid key reports the
        limit of 200 requests a minute, and a rejected key is not counted.
        """
        if ANONYMOUS in self.options:
            return await self._respond(call)
        realm, account = _authenticate(call)
        if account.bot_type == INCOMING_WEBHOOK and WEBHOOKS not in self.options:
            raise _unauthorized("This API is not available to incoming webhook bots.")
        check_limit(call, call.state.calls, account)
        if HUMANS in self.options and account.is_bot:
            raise bad_request("This endpoint does not accept bot requests.")
        if MEMBERS in self.options and account.role == GUEST:
            raise bad_request("Not allowed for guest users")
        fields = {name: getattr(call, name) for name in attrs.fields_dict(Call)}
        return await self._respond(UserCall(**fields, realm=realm, account=account))

    async def _respond(self, call: Call) -> Response:
        params, path = dict(call.params), call.request.path_params
        values = {p.argument: p.parse(params) for p in self.parameters}
        for parameter in self.unused:
            parameter.parse(params)
        if inspect.iscoroutinefunction(self.handler):
            result = await self.handler(call, **path, **values)
        else:
            with call.state.lock:
                result = self.handler(call, **path, **values)
        if isinstance(result, Response):
            return result
        known = {n for p in (*self.parameters, *self.unused) for n in (p.name, p.rule.alias)}
        ignored = sorted(params.keys() - known)
        extra = {"ignored_parameters_unsupported": ignored} if ignored else {}
        fields = cast("Fields", result)
        return json_response({"result": "success", "msg": "", **fields, **extra})


ENDPOINTS: list[Endpoint] = []


def endpoint(route: str, *options: Option, **unused: Any) -> Callable[[_H], _H]:
    """Return a decorator that makes a function the handler of a route.

    The handler is called with a `UserCall`, the parameters of the path, and
    those that its signature declares: see `parameters`. It returns the fields
    of a successful response, or raises an `ErrorResponse`. A handler that is
    not async has the lock of the state while it runs.

    Args:
        route: Method and path, such as `GET /api/v1/users/me`.
        options: Properties of the endpoint.
        unused: Types of optional parameters that have no effect.
    """
    method, path = route.split()
    ignored = [Parameter.declare(name, kind) for name, kind in unused.items()]

    def decorate(handler: _H) -> _H:
        parameters = declared_parameters(handler, path)
        ENDPOINTS.append(Endpoint(method, path, handler, frozenset(options), parameters, ignored))
        return handler

    return decorate


@frozen
class Path:
    """The ASGI application of one path."""

    state: State
    endpoints: dict[str, Endpoint] = Factory(dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope)
        call = Call(self.state, request, scope["params"], scope["files"])
        try:
            response = await self._respond(call)
        except ErrorResponse as error:
            response = json_response(error.body, error.status)
            if error.body["code"] == "UNAUTHORIZED":
                response.headers["WWW-Authenticate"] = 'Basic realm="zulip"'
        for name, value in call.headers:
            response.headers.append(name, value)
        if request.method == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    async def _respond(self, call: Call) -> Response:
        options = frozenset[Option]().union(*(e.options for e in self.endpoints.values()))
        # Source: Zulip's REST dispatcher serves HEAD as GET, and OPTIONS.
        methods = [*self.endpoints, *(["HEAD"] if "GET" in self.endpoints else [])]
        method = call.request.method
        if method == "OPTIONS" and POST_ONLY not in options:
            return Response(status_code=204, headers={"Allow": ", ".join(sorted(methods))})
        endpoint = self.endpoints.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            return _method_not_allowed(methods)
        if DEVELOPMENT in options and self.state.dev_login == "production":
            raise HTTPException(404)
        return await endpoint(call)


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
    return ErrorResponse(401, "UNAUTHORIZED", msg)


def _parse_basic_auth(header: str) -> tuple[str, str]:
    """Return the email and the API key, without the spaces around them."""
    scheme, _, credentials = header.strip().partition(" ")
    if credentials and scheme.lower() != "basic":
        raise bad_request("This endpoint requires HTTP basic authentication.")
    try:
        email, key = base64.b64decode(credentials.strip()).decode().split(":")
    except ValueError:
        raise _unauthorized("Invalid authorization header for basic auth") from None
    return email.strip(), key.strip()


def parse_form(content_type: str, body: bytes) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    """Return the parameters and the files of a body; empty if it is not a form.

    Source: recorded exchanges with a form, a multipart form and a JSON body.
    """
    form: dict[str, str] = {}
    files = []
    match content_type.partition(";")[0].strip().lower():
        case "application/x-www-form-urlencoded":
            form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        case "multipart/form-data":
            header = f"Content-Type: {content_type}\r\n\r\n".encode()
            for part in message_from_bytes(header + body).walk():
                name = part.get_param("name", header="content-disposition")
                content, filename = part.get_payload(decode=True), part.get_filename()
                if not isinstance(content, bytes) or not name:
                    continue
                if filename is None:
                    form[str(name)] = content.decode("utf-8", "replace")
                else:
                    files.append((filename, content))
    return form, files


def not_served(state: State, what: str) -> ErrorResponse:
    """Return the error for a part of Zulip that this server does not have, and note it."""
    state.unserved.append(what)
    msg = f"FakeZulip does not serve {what}. To serve it in a test, use add_route()."
    return ErrorResponse(404, "NOT_SERVED_BY_FAKE_ZULIP", msg)


def check_limit(call: Call, limiter: RateLimiter, key: object) -> None:
    """Count a request. Raise the error for one above the limit."""
    headers = limiter.record(key, call.state.now())
    call.headers.extend(headers.items())
    if "Retry-After" in headers:
        error = ErrorResponse(429, "RATE_LIMIT_HIT", "API usage exceeded rate limit")
        error.body["retry-after"] = float(headers["Retry-After"])
        raise error


def json_response(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response of Zulip's API."""
    return Response(_dumps(body) + "\n", status, headers, media_type="application/json")


def _dumps(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


def _method_not_allowed(methods: list[str]) -> Response:
    # Zulip sends JSON with the content type of HTML.
    body = {"result": "error", "msg": "Method Not Allowed", "allowed_methods": methods}
    return HTMLResponse(_dumps(body), status_code=405, headers={"Allow": ", ".join(methods)})
