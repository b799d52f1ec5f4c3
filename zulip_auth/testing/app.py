"""The stand-in server as an ASGI application: recording, failures, routes."""

from __future__ import annotations

import asyncio

from attrs import frozen
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import routes_auth as auth
from . import routes_events as events
from . import routes_users as users
from .http import Endpoint, Handler, UserHandler, authenticated, not_found, parse_form
from .routes_sso import login_with_browser
from .state import ReceivedRequest, State

_ROUTES: dict[str, Handler] = {
    "POST /api/v1/fetch_api_key": auth.fetch_api_key,
    "POST /api/v1/dev_fetch_api_key": auth.dev_fetch_api_key,
    "GET /api/v1/dev_list_users": auth.dev_list_users,
    "POST /api/v1/dev_list_users": auth.dev_list_users,
    "POST /api/v1/jwt/fetch_api_key": auth.jwt_fetch_api_key,
    "GET /api/v1/server_settings": auth.server_settings,
    "GET /accounts/login/social/{name:path}": login_with_browser,
}
_USER_ROUTES: dict[str, UserHandler] = {
    "GET /api/v1/users/me": users.get_own_user,
    "POST /api/v1/users/me/api_key/regenerate": users.regenerate_api_key,
    "POST /api/v1/users/me/presence": users.update_presence,
    "GET /api/v1/users": users.list_users,
    "GET /api/v1/users/{user}": users.get_user,
    "PATCH /api/v1/settings": users.update_settings,
    "GET /api/v1/bots": users.list_bots,
    "POST /api/v1/bots": users.create_bot,
    "DELETE /api/v1/bots/{bot_id:int}": users.deactivate_bot,
    "POST /api/v1/bots/{bot_id:int}/api_key/regenerate": users.regenerate_bot_api_key,
    "POST /api/v1/register": events.register,
    "GET /api/v1/events": events.get_events,
    "DELETE /api/v1/events": events.delete_queue,
    "POST /api/v1/messages": events.send_message,
    "GET /api/v1/messages": events.get_messages,
    "GET /api/v1/messages/{message_id:int}": events.get_message,
    "PATCH /api/v1/messages/{message_id:int}": events.edit_message,
    "POST /api/v1/messages/{message_id:int}/reactions": events.change_reaction,
    "DELETE /api/v1/messages/{message_id:int}/reactions": events.change_reaction,
    "GET /api/v1/streams": events.list_channels,
    "GET /api/v1/streams/{stream_id:int}": events.get_channel,
}
_WEBHOOK_ROUTES = {"POST /api/v1/messages"}


def create_app(state: State) -> Starlette:
    """Return the application that serves *state*."""
    handlers = dict(_ROUTES)
    for route, handler in _USER_ROUTES.items():
        handlers[route] = authenticated(handler, allow_webhooks=route in _WEBHOOK_ROUTES)
    endpoints: dict[str, Endpoint] = {}
    for route, anonymous in handlers.items():
        method, path = route.split()
        endpoints.setdefault(path, Endpoint(state)).handlers[method] = anonymous
    app = Starlette(
        routes=[Route(path, endpoint) for path, endpoint in endpoints.items()],
        middleware=[Middleware(_Recorder, state=state)],
        exception_handlers={404: not_found},
    )
    app.router.redirect_slashes = False
    return app


@frozen
class _Recorder:
    """Record each request, and fail it if the test asked for that."""

    app: ASGIApp
    state: State

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        headers, query, path = dict(request.headers), dict(request.query_params), scope["path"]
        form = parse_form(headers.get("content-type", ""), body)
        received = ReceivedRequest(
            request.method, path, headers.get("host", ""), headers, query, form, body
        )
        self.state.requests.append(received)
        scope["params"] = query | form
        messages: list[Message] = [{"type": "http.request", "body": body}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        failure = self.state.next_failure(path)
        if failure is not None:
            response, delay, drop = failure
            await asyncio.sleep(delay)
            if drop:
                self.state.drop_connection(scope["client"])
                await receive()  # until the connection is lost
                return
            if response is not None:
                await response(scope, receive, send)
                return
        await self.app(scope, replay, send)
