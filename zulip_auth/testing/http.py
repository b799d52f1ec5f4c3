"""What the endpoints share: a request's parameters, answers, refusals."""

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
    """Ends a request with one of Zulip's error answers."""

    def __init__(self, status: int, code: str, msg: str, **more: object) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        self.body: dict[str, Any] = {"result": "error", "msg": msg, **more, "code": code}


async def read_request(request: Request, state: State) -> dict[str, str]:
    """Note a request, and return its parameters: of the query string and, first, of the body.

    As in the real server, a body that is not form-encoded is not read.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    form: dict[str, str] = {}
    if kind == "application/x-www-form-urlencoded":
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
    """Return a parameter that must be there."""
    if name not in parameters:
        msg = f"Missing '{name}' argument"
        raise ErrorResponse(400, "REQUEST_VARIABLE_MISSING", msg, var_name=name)
    return parameters[name]


def realm_url(realm: Realm, request: Request) -> str:
    """Return an organization's address, as seen from a request."""
    return str(request.url.replace(hostname=realm.host, path="", query=""))


def success_response(**body: object) -> Response:
    """Return an answer in which all went well."""
    return json_response({"result": "success", "msg": "", **body})


def json_response(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer of Zulip's API."""
    return Response(_dumps(body) + "\n", status, headers, media_type="application/json")


def _dumps(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"))


async def error_handler(_request: Request, error: Exception) -> Response:
    """Answer a request that was refused."""
    assert isinstance(error, ErrorResponse)
    return json_response(error.body, error.status, error.headers)


async def not_found(_request: Request, _error: Exception) -> Response:
    """Answer a request for what does not exist."""
    return HTMLResponse(_PAGE_NOT_FOUND, status_code=404)


async def method_not_allowed(_request: Request, error: Exception) -> Response:
    """Answer as the real server does: in JSON that claims to be HTML."""
    assert isinstance(error, HTTPException)
    allow = (error.headers or {})["Allow"]
    body = {
        "result": "error",
        "msg": "Method Not Allowed",
        "allowed_methods": allow.split(", "),
    }
    return HTMLResponse(_dumps(body), status_code=405, headers={"Allow": allow})
