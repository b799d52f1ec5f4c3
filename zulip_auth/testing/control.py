"""Control of the server over HTTP, for tests in other languages.

`POST /fake-zulip/fail_next` and others take a JSON object with the arguments
of the method of `FakeZulip`, and return a JSON object with the result.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from .accounts import Account
from .messages import Message
from .state import ReceivedRequest

_METHODS = {"add_bot", "add_user", "advance", "expire_queues", "fail_next", "send"}
_LISTS = {"messages", "requests", "unserved"}
_FIELDS: dict[type, tuple[str, ...]] = {
    Account: ("email", "full_name", "user_id", "api_key"),
    ReceivedRequest: ("method", "path", "host", "headers", "query", "form", "status"),
}


@frozen
class Control:
    """The ASGI application at the path of an action."""

    server: Any

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> JSONResponse:
        action = request.path_params["action"]
        if request.method == "GET" and action in _LISTS:
            return JSONResponse({action: [_to_json(item) for item in getattr(self.server, action)]})
        if request.method != "POST" or action not in _METHODS:
            actions = [*(f"GET {name}" for name in _LISTS), *(f"POST {name}" for name in _METHODS)]
            return _error(404, f"Unknown action. Available: {', '.join(sorted(actions))}.")
        # Without this, a page in a browser could send a form.
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _error(415, "The content type must be application/json.")
        try:
            arguments = json.loads(await request.body() or b"{}")
            result = getattr(self.server, action)(**arguments)
        except KeyError as error:
            return _error(400, f"Unknown account or channel: {error.args[0]}")
        except (TypeError, ValueError) as error:
            return _error(400, str(error))
        return JSONResponse({"result": _to_json(result)})


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)


def _to_json(value: Any) -> Any:
    if isinstance(value, Message):
        return value.to_dict(apply_markdown=False)
    names = _FIELDS.get(type(value))
    return {name: getattr(value, name) for name in names} if names else value
