"""What a Zulip server answers, as an ASGI application."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from attrs import frozen
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ._state import Account, Limit, Realm, ReceivedRequest, State

_EMAIL = re.compile(r"[^@\s]+@(?:(?:[^@\s.]+\.)+[^@\s.]+|localhost)")
_PAGE_NOT_FOUND = (
    '<!DOCTYPE html>\n<html lang="en"><head><title>Page not found</title></head>'
    "<body>Page not found</body></html>\n"
)
_TWO_WEEKS = 1209600


class _Refused(Exception):
    """Ends a request with one of Zulip's error answers."""

    def __init__(self, status: int, code: str, msg: str, **more: object) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        self.said: dict[str, Any] = {"result": "error", "msg": msg, **more, "code": code}


def _authentication_failed() -> _Refused:
    return _Refused(401, "AUTHENTICATION_FAILED", "Your username or password is incorrect")


def make_app(state: State) -> Starlette:
    """Return an application that answers out of a state."""
    api = _Api(state)
    app = Starlette(
        routes=[
            Route("/api/v1/fetch_api_key", api.fetch_api_key, methods=["POST"]),
            Route("/api/v1/dev_fetch_api_key", api.dev_fetch_api_key, methods=["POST"]),
            Route("/api/v1/dev_list_users", api.dev_list_users, methods=["GET"]),
        ],
        exception_handlers={
            404: _not_found,
            405: _method_not_allowed,
            _Refused: _refused,
        },
    )
    app.router.redirect_slashes = False
    return app


@frozen
class _Api:
    """The endpoints. Each reads like the checks that the real one makes, in their order."""

    state: State

    async def fetch_api_key(self, request: Request) -> Response:
        parameters = await self._parameters(request)
        username = _needed(parameters, "username")
        password = _needed(parameters, "password")
        realm = self._realm(request)
        if realm.email_usernames:
            _check_email(username)
        limit = self.state.count_attempt(username)
        try:
            _check_limit(limit)
            account = self._check_password(realm, username, password)
        except _Refused as refused:
            refused.headers = limit.headers
            raise
        self.state.forget_attempts(username)
        ignored = parameters.keys() - {"username", "password"}
        return _json(_api_key(account, ignored), headers=limit.headers)

    async def dev_fetch_api_key(self, request: Request) -> Response:
        self._check_not_production()
        parameters = await self._parameters(request)
        username = _needed(parameters, "username")
        self._check_dev_login()
        _check_email(username)
        realm = self._realm(request)
        if not realm.dev_login:
            raise _authentication_failed()
        account = self._active_account(realm, username)
        response = _json(_api_key(account, parameters.keys() - {"username"}))
        # The real endpoint opens a web session too.
        for name, httponly in (("sessionid", True), ("csrftoken", False)):
            response.set_cookie(
                name, secrets.token_hex(16), max_age=_TWO_WEEKS, httponly=httponly, samesite="lax"
            )
        return response

    async def dev_list_users(self, request: Request) -> Response:
        self._check_not_production()
        await self._parameters(request)
        self._check_dev_login()
        users = [
            (account.admin, {"email": account.email, "realm_url": _url(request, realm)})
            for realm in self.state.realms.values()
            for account in realm.accounts
            if realm.active and account.active
        ]
        said = {
            "result": "success",
            "msg": "",
            "direct_admins": [user for admin, user in users if admin],
            "direct_users": [user for admin, user in users if not admin],
        }
        return _json(said)

    def _check_not_production(self) -> None:
        if self.state.dev_login == "production":
            raise HTTPException(404)

    def _check_dev_login(self) -> None:
        if self.state.dev_login == "off":
            raise _Refused(400, "BAD_REQUEST", "DevAuthBackend not enabled.")

    async def _parameters(self, request: Request) -> dict[str, str]:
        """Note a request, and return its parameters: of the query string and, first, of the body.

        As in the real server, a body that is not form-encoded is not read.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await request.body()
        form: dict[str, str] = {}
        if kind == "application/x-www-form-urlencoded":
            form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        self.state.requests.append(
            ReceivedRequest(
                request.method,
                request.url.path,
                request.headers.get("host", ""),
                dict(request.headers),
                form,
            )
        )
        return {**request.query_params, **form}

    def _realm(self, request: Request) -> Realm:
        realm = self.state.realm_at(request.headers.get("host", ""))
        if realm is None:
            raise _Refused(404, "NONEXISTENT_SUBDOMAIN", "Invalid subdomain")
        return realm

    def _check_password(self, realm: Realm, username: str, password: str) -> Account:
        if not realm.password_login:
            raise _Refused(
                401,
                "PASSWORD_AUTH_DISABLED",
                "Password authentication is disabled in this organization",
            )
        if not password:
            raise _authentication_failed()
        account = self._active_account(realm, username)
        if password != account.password:
            raise _authentication_failed()
        if account.password_reset_required:
            raise _Refused(
                401,
                "PASSWORD_RESET_REQUIRED",
                "Your password has been disabled and needs to be reset",
            )
        return account

    def _active_account(self, realm: Realm, username: str) -> Account:
        account = realm.find(username)
        if account is None:
            if self.state.is_elsewhere(username):
                raise _Refused(404, "NONEXISTENT_SUBDOMAIN", "Invalid subdomain")
            raise _authentication_failed()
        if not realm.active:
            raise _Refused(401, "REALM_DEACTIVATED", "This organization has been deactivated")
        if not account.active:
            raise _Refused(401, "USER_DEACTIVATED", "Account is deactivated")
        return account


def _url(request: Request, realm: Realm) -> str:
    return str(request.url.replace(hostname=realm.host, path="", query=""))


def _needed(parameters: Mapping[str, str], name: str) -> str:
    if name not in parameters:
        raise _Refused(400, "REQUEST_VARIABLE_MISSING", f"Missing '{name}' argument", var_name=name)
    return parameters[name]


def _check_limit(limit: Limit) -> None:
    if limit.retry_after is not None:
        raise _Refused(
            429,
            "RATE_LIMIT_HIT",
            "API usage exceeded rate limit",
            **{"retry-after": limit.retry_after},
        )


def _check_email(username: str) -> None:
    if not _EMAIL.fullmatch(username):
        raise _Refused(400, "BAD_REQUEST", "Enter a valid email address.")


def _api_key(account: Account, ignored: set[str]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "result": "success",
        "msg": "",
        "api_key": account.api_key,
        "email": account.email,
        "user_id": account.user_id,
    }
    if ignored:
        said["ignored_parameters_unsupported"] = sorted(ignored)
    return said


def _json(
    said: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(_compact(said) + "\n", status, headers, media_type="application/json")


def _compact(said: Mapping[str, Any]) -> str:
    return json.dumps(said, separators=(",", ":"))


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, _Refused)
    return _json(error.said, error.status, error.headers)


async def _not_found(_request: Request, _error: Exception) -> Response:
    return HTMLResponse(_PAGE_NOT_FOUND, status_code=404)


async def _method_not_allowed(_request: Request, error: Exception) -> Response:
    # JSON that claims to be HTML, as from the real server.
    assert isinstance(error, HTTPException)
    allow = (error.headers or {})["Allow"]
    said = {
        "result": "error",
        "msg": "Method Not Allowed",
        "allowed_methods": allow.split(", "),
    }
    return HTMLResponse(_compact(said), status_code=405, headers={"Allow": allow})
