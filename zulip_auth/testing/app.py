"""The stand-in server as an ASGI application: the table of routes."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route

from .http import ErrorResponse, error_handler, method_not_allowed, not_found
from .routes_auth import Logins
from .routes_events import Events
from .routes_sso import SingleSignOn
from .routes_users import Accounts
from .state import State


def create_app(state: State) -> Starlette:
    """Return the application that serves *state*."""
    logins, accounts, events = Logins(state), Accounts(state), Events(state)
    endpoints = [
        ("POST", "/fetch_api_key", logins.fetch_api_key),
        ("POST", "/dev_fetch_api_key", logins.dev_fetch_api_key),
        ("GET", "/dev_list_users", logins.dev_list_users),
        ("POST", "/jwt/fetch_api_key", logins.jwt_fetch_api_key),
        ("GET", "/server_settings", logins.server_settings),
        ("GET", "/users/me", accounts.own_user),
        ("POST", "/users/me/api_key/regenerate", accounts.regenerate_api_key),
        ("POST", "/register", events.register),
        ("GET", "/events", events.events),
        ("DELETE", "/events", events.delete),
        ("POST", "/messages", events.send_message),
    ]
    routes = [
        Route(f"/api/v1{path}", endpoint, methods=[method]) for method, path, endpoint in endpoints
    ]
    routes.append(Route("/accounts/login/social/{name:path}", SingleSignOn(state).login))
    app = Starlette(
        routes=routes,
        exception_handlers={404: not_found, 405: method_not_allowed, ErrorResponse: error_handler},
    )
    app.router.redirect_slashes = False
    return app
