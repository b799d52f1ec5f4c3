"""Endpoints without an API key: logging in, and the server's settings."""

from __future__ import annotations

import re
import secrets
from typing import Any

import jwt
from attrs import frozen
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .http import ErrorResponse, json_response, read_request, realm_url, require, success_response
from .state import FEATURE_LEVEL, VERSION, Account, RateLimit, Realm, State

_EMAIL_RE = re.compile(r"[^@\s]+@(?:(?:[^@\s.]+\.)+[^@\s.]+|localhost)")
_SESSION_MAX_AGE = 1209600
_OTHER_METHODS = [
    *("remoteuser", "github", "azuread", "gitlab", "google", "apple", "saml", "openid connect")
]


def _authentication_failed() -> ErrorResponse:
    return ErrorResponse(401, "AUTHENTICATION_FAILED", "Your username or password is incorrect")


@frozen
class Logins:
    """Endpoints that log in. Each makes the checks of the real one, in the same order."""

    state: State

    async def fetch_api_key(self, request: Request) -> Response:
        parameters = await read_request(request, self.state)
        username = require(parameters, "username")
        password = require(parameters, "password")
        realm = self._realm(request)
        if realm.email_usernames:
            _check_email(username)
        limit = self.state.record_attempt(username)
        try:
            _check_limit(limit)
            account = self._check_password(realm, username, password)
        except ErrorResponse as error:
            error.headers = limit.headers
            raise
        self.state.reset_attempts(username)
        ignored = parameters.keys() - {"username", "password"}
        return json_response(_api_key(account, ignored), headers=limit.headers)

    async def dev_fetch_api_key(self, request: Request) -> Response:
        self._check_not_production()
        parameters = await read_request(request, self.state)
        username = require(parameters, "username")
        self._check_dev_login()
        _check_email(username)
        realm = self._realm(request)
        if not realm.dev_login:
            raise _authentication_failed()
        account = self._active_account(realm, username)
        response = json_response(_api_key(account, parameters.keys() - {"username"}))
        # The real endpoint also opens a web session.
        for name, httponly in (("sessionid", True), ("csrftoken", False)):
            response.set_cookie(
                name,
                secrets.token_hex(16),
                max_age=_SESSION_MAX_AGE,
                httponly=httponly,
                samesite="lax",
            )
        return response

    async def dev_list_users(self, request: Request) -> Response:
        self._check_not_production()
        await read_request(request, self.state)
        self._check_dev_login()
        users = [
            (account.admin, {"email": account.email, "realm_url": realm_url(realm, request)})
            for realm in self.state.realms.values()
            for account in realm.accounts
            if realm.active and account.active
        ]
        return success_response(
            direct_admins=[user for admin, user in users if admin],
            direct_users=[user for admin, user in users if not admin],
        )

    async def jwt_fetch_api_key(self, request: Request) -> Response:
        parameters = await read_request(request, self.state)
        realm = self._realm(request)
        if realm.jwt_key is None:
            raise _bad_request("JWT authentication is not enabled for this organization")
        token = parameters.get("token")
        if not token:
            raise _bad_request("No JSON web token passed in request")
        email = _email_from_token(token, realm.jwt_key)
        if email is None:
            raise _bad_request("No email specified in JSON web token claims")
        account = self._active_account(realm, email)
        return success_response(api_key=account.api_key, email=account.email)

    async def server_settings(self, request: Request) -> Response:
        await read_request(request, self.state)
        host = request.headers.get("host", "")
        realm = self.state.find_realm(host)
        if realm is None:
            # No version of Zulip has separate codes for these two.
            is_root = self.state.is_root_domain(host)
            raise _bad_request("Subdomain required" if is_root else "Invalid subdomain")
        enabled = {method.name for method in realm.external_methods}
        external = [
            {
                "name": method.name,
                "display_name": method.display_name,
                "display_icon": None,
                "login_url": method.login_path,
                "signup_url": method.login_path.replace("login", "register"),
            }
            for method in realm.external_methods
        ]
        return success_response(
            authentication_methods={
                "password": realm.password_login,
                "dev": self.state.dev_login == "on" and realm.dev_login,
                "email": realm.password_login and realm.email_usernames,
                "ldap": realm.password_login and not realm.email_usernames,
                **{name: name in enabled for name in _OTHER_METHODS},
            },
            zulip_version=VERSION,
            zulip_merge_base="",
            zulip_feature_level=FEATURE_LEVEL,
            push_notifications_enabled=False,
            is_incompatible=False,
            email_auth_enabled=realm.password_login and realm.email_usernames,
            require_email_format_usernames=realm.email_usernames,
            realm_url=realm_url(realm, request),
            realm_name=realm.name,
            realm_icon="",
            realm_description="",
            realm_web_public_access_enabled=False,
            external_authentication_methods=external,
            realm_uri=realm_url(realm, request),
        )

    def _check_not_production(self) -> None:
        if self.state.dev_login == "production":
            raise HTTPException(404)

    def _check_dev_login(self) -> None:
        if self.state.dev_login == "off":
            raise _bad_request("DevAuthBackend not enabled.")

    def _realm(self, request: Request) -> Realm:
        realm = self.state.find_realm(request.headers.get("host", ""))
        if realm is None:
            raise ErrorResponse(404, "NONEXISTENT_SUBDOMAIN", "Invalid subdomain")
        return realm

    def _check_password(self, realm: Realm, username: str, password: str) -> Account:
        if not realm.password_login:
            raise ErrorResponse(
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
            raise ErrorResponse(
                401,
                "PASSWORD_RESET_REQUIRED",
                "Your password has been disabled and needs to be reset",
            )
        return account

    def _active_account(self, realm: Realm, username: str) -> Account:
        account = realm.find(username)
        if account is None:
            if self.state.is_in_any_realm(username):
                raise ErrorResponse(404, "NONEXISTENT_SUBDOMAIN", "Invalid subdomain")
            raise _authentication_failed()
        if not realm.active:
            raise ErrorResponse(401, "REALM_DEACTIVATED", "This organization has been deactivated")
        if not account.active:
            raise ErrorResponse(401, "USER_DEACTIVATED", "Account is deactivated")
        return account


def _bad_request(msg: str) -> ErrorResponse:
    return ErrorResponse(400, "BAD_REQUEST", msg)


def _email_from_token(token: str, key: str) -> str | None:
    """Return the email claim of a valid token, or None."""
    try:
        claims = jwt.decode(token, key, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise _bad_request("Bad JSON web token") from None
    email = claims.get("email")
    return email if isinstance(email, str) else None


def _check_limit(limit: RateLimit) -> None:
    if limit.retry_after is not None:
        raise ErrorResponse(
            429,
            "RATE_LIMIT_HIT",
            "API usage exceeded rate limit",
            **{"retry-after": limit.retry_after},
        )


def _check_email(username: str) -> None:
    if not _EMAIL_RE.fullmatch(username):
        raise _bad_request("Enter a valid email address.")


def _api_key(account: Account, ignored: set[str]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "result": "success",
        "msg": "",
        "api_key": account.api_key,
        "email": account.email,
        "user_id": account.user_id,
    }
    if ignored:
        body["ignored_parameters_unsupported"] = sorted(ignored)
    return body
