"""The stand-in server as an ASGI application: recording, failures, routes."""

from __future__ import annotations

import asyncio

from attrs import frozen
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import endpoints  # noqa: F401 - registers them
from .http import ENDPOINTS, Path, parse_form
from .state import ReceivedRequest, State

CONTROL_PATH = "/fake-zulip/"
"""Requests below it control the server: see `control`. They are not recorded."""

_PAGE_NOT_FOUND = (
    '<!DOCTYPE html>\n<html lang="en"><head><title>Page not found</title></head>'
    "<body>Page not found</body></html>\n"
)


def create_app(state: State) -> Starlette:
    """Return the application that serves *state*."""
    paths: dict[str, Path] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, Path(state)).endpoints[endpoint.method] = endpoint

    app = Starlette(
        routes=[Route(path, endpoint) for path, endpoint in paths.items()],
        middleware=[Middleware(_Recorder, state=state)],
        exception_handlers={404: _page_not_found},
    )
    app.router.redirect_slashes = False
    return app


async def _page_not_found(_request: Request, _error: Exception) -> Response:
    return HTMLResponse(_PAGE_NOT_FOUND, 404)


@frozen
class _Recorder:
    """Record each request, and fail it if the test asked for that."""

    app: ASGIApp
    state: State

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, path = Request(scope, receive), scope["path"]
        if path.startswith(CONTROL_PATH):
            await self.app(scope, receive, send)
            return
        body = await request.body()
        headers, query = dict(request.headers), dict(request.query_params)
        form, files = parse_form(headers.get("content-type", ""), body)
        received = ReceivedRequest(
            request.method, path, headers.get("host", ""), headers, query, form, body
        )
        self.state.requests.append(received)
        scope["params"], scope["files"] = query | form, files
        messages: list[Message] = [{"type": "http.request", "body": body}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        async def record(message: Message) -> None:
            received.status = message.get("status", received.status)
            await send(message)

        failure = self.state.next_failure(path)
        if failure is not None:
            response, delay, drop = failure
            await asyncio.sleep(delay)
            if drop:
                self.state.drop_connection(scope["client"])
                await receive()  # until the connection is lost
                return
            if response is not None:
                await response(scope, receive, record)
                return
        await self.app(scope, replay, record)
