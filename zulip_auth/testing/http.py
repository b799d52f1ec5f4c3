"""Request parameters, responses and errors, shared by the endpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from .state import Realm, ReceivedRequest, State

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


async def read_request(request: Request, state: State) -> dict[str, str]:
    """Record a request and return its parameters.

    The form takes precedence over the query string. A body that is not
    form-encoded is ignored.

    Source: recorded exchanges with a form, a JSON body and a query string.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    form: dict[str, str] = {}
    if content_type == "application/x-www-form-urlencoded":
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    state.requests.append(
        ReceivedRequest(
            request.method,
            request.url.path,
            request.headers.get("host", ""),
            dict(request.headers),
            dict(request.query_params),
            form,
        )
    )
    return {**request.query_params, **form}


def require(parameters: Mapping[str, str], name: str) -> str:
    """Return a parameter, or raise the error for a missing one."""
    if name not in parameters:
        raise ErrorResponse(
            400, "REQUEST_VARIABLE_MISSING", f"Missing '{name}' argument", var_name=name
        )
    return parameters[name]


def realm_url(realm: Realm, request: Request) -> str:
    """Return the URL of an organization, with the scheme and port of *request*."""
    return str(request.url.replace(hostname=realm.host, path="", query=""))


def success_response(**fields: object) -> Response:
    """Return a successful response."""
    return json_response({"result": "success", "msg": "", **fields})


def json_response(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response of Zulip's API."""
    return Response(_dumps(body) + "\n", status, headers, media_type="application/json")


def _dumps(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"))


async def error_handler(_request: Request, error: Exception) -> Response:
    """Return the response of an `ErrorResponse`."""
    assert isinstance(error, ErrorResponse)
    return json_response(error.body, error.status, error.headers)


async def not_found(_request: Request, _error: Exception) -> Response:
    """Return the page for an unknown path."""
    return HTMLResponse(_PAGE_NOT_FOUND, status_code=404)


async def method_not_allowed(_request: Request, error: Exception) -> Response:
    """Return the response for an unsupported method.

    Source: Zulip sends it as JSON with the content type of HTML.
    """
    assert isinstance(error, HTTPException)
    allow = (error.headers or {})["Allow"]
    body = {
        "result": "error",
        "msg": "Method Not Allowed",
        "allowed_methods": allow.split(", "),
    }
    return HTMLResponse(_dumps(body), status_code=405, headers={"Allow": allow})
