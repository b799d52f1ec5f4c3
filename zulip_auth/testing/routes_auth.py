"""Endpoints without an API key: logging in, and the server's settings."""

from __future__ import annotations

import asyncio
import re
import secrets

import jwt
from starlette.exceptions import HTTPException
from starlette.responses import Response

from .http import Call, ErrorResponse, bad_request, check_limit, fill, success_response
from .routes_users import own_profile
from .state import Account, Realm

_EMAIL_RE = re.compile(r"[^@\s]+@(?:(?:[^@\s.]+\.)+[^@\s.]+|localhost)")
_SESSION_MAX_AGE = 1209600


def _authentication_failed() -> ErrorResponse:
    return ErrorResponse(401, "AUTHENTICATION_FAILED", "Your username or password is incorrect")


async def fetch_api_key(call: Call) -> Response:
    """Log in with a password. The checks have the order of the real endpoint."""
    username = call.require("username")
    password = call.require("password")
    realm = call.find_realm()
    if realm.email_usernames:
        _check_email(username)
    headers = call.state.attempts.record(username, call.state.now())
    try:
        check_limit(headers)
        if call.state.password_check_time:
            await asyncio.sleep(call.state.password_check_time)
        account = _check_password(call, realm, username, password)
    except ErrorResponse as error:
        error.headers = headers
        raise
    call.state.attempts.reset(username)
    response = _api_key_response(call, account, {"username", "password"})
    response.headers.update(headers)
    return response


async def dev_fetch_api_key(call: Call) -> Response:
    """Log in without a password."""
    _check_not_production(call)
    username = call.require("username")
    _check_dev_login(call)
    _check_email(username)
    realm = call.find_realm()
    if not realm.dev_login:
        raise _authentication_failed()
    account = _find_active_account(call, realm, username)
    response = _api_key_response(call, account, {"username"})
    # The real endpoint also opens a web session.
    for name, httponly in (("sessionid", True), ("csrftoken", False)):
        value = secrets.token_hex(16)
        response.set_cookie(
            name, value, max_age=_SESSION_MAX_AGE, httponly=httponly, samesite="lax"
        )
    return response


async def dev_list_users(call: Call) -> Response:
    """List the users of all organizations."""
    _check_not_production(call)
    _check_dev_login(call)
    users = [
        (account.admin, {"email": account.email, "realm_url": call.url(realm.host)})
        for realm in call.state.realms.values()
        for account in realm.accounts
        if realm.active and account.active and not account.is_bot
    ]
    return success_response(
        direct_admins=[user for admin, user in users if admin],
        direct_users=[user for admin, user in users if not admin],
    )


async def jwt_fetch_api_key(call: Call) -> Response:
    """Log in with a JSON web token."""
    realm = call.find_realm()
    if realm.jwt_key is None:
        raise bad_request("JWT authentication is not enabled for this organization")
    token = call.params.get("token")
    if not token:
        raise bad_request("No JSON web token passed in request")
    email = _email_from_token(token, realm.jwt_key)
    if email is None:
        raise bad_request("No email specified in JSON web token claims")
    account = _find_active_account(call, realm, email)
    profile = {"user": own_profile(realm, account)} if call.get_json("include_profile") else {}
    return success_response(api_key=account.api_key, email=account.email, **profile)


async def server_settings(call: Call) -> Response:
    """Return the settings of the organization, or those of the root domain.

    Source: recorded exchanges. Without a landing page, the root of a server
    with many organizations has settings, but no name.
    """
    realm = call.state.find_realm(call.host)
    root = realm is None
    if realm is None:
        if not call.state.is_root_domain(call.host):
            raise bad_request("Invalid subdomain")
        if call.state.root_landing_page:
            raise bad_request("Subdomain required")
        realm = Realm(call.host.partition(":")[0], call.state)
    email = realm.password_login and realm.email_usernames
    enabled = {method.name: True for method in realm.external_methods}
    methods = fill(
        "authentication_methods",
        password=realm.password_login,
        dev=call.state.dev_login == "on" and realm.dev_login,
        email=email,
        ldap=realm.password_login and not realm.email_usernames,
    )
    settings = fill(
        "server_settings",
        authentication_methods={name: enabled.get(name, methods[name]) for name in methods},
        email_auth_enabled=email,
        require_email_format_usernames=realm.email_usernames,
        realm_url=call.url(realm.host),
        realm_name=realm.name,
        external_authentication_methods=[method.to_dict() for method in realm.external_methods],
        realm_uri=call.url(realm.host),
    )
    for name in ("realm_name", "realm_icon", "realm_description") if root else ():
        del settings[name]
    return success_response(**settings)


def _check_not_production(call: Call) -> None:
    if call.state.dev_login == "production":
        raise HTTPException(404)


def _check_dev_login(call: Call) -> None:
    if call.state.dev_login == "off":
        raise bad_request("DevAuthBackend not enabled.")


def _check_password(call: Call, realm: Realm, username: str, password: str) -> Account:
    if not realm.password_login:
        msg = "Password authentication is disabled in this organization"
        raise ErrorResponse(401, "PASSWORD_AUTH_DISABLED", msg)
    if not password:
        raise _authentication_failed()
    account = _find_active_account(call, realm, username)
    if password != account.password:
        raise _authentication_failed()
    if account.password_reset_required:
        msg = "Your password has been disabled and needs to be reset"
        raise ErrorResponse(401, "PASSWORD_RESET_REQUIRED", msg)
    return account


def _find_active_account(call: Call, realm: Realm, username: str) -> Account:
    account = realm.find(username)
    if account is None:
        if call.state.is_in_any_realm(username):
            raise ErrorResponse(404, "NONEXISTENT_SUBDOMAIN", "Invalid subdomain")
        raise _authentication_failed()
    if not realm.active:
        raise ErrorResponse(401, "REALM_DEACTIVATED", "This organization has been deactivated")
    if not account.active:
        raise ErrorResponse(401, "USER_DEACTIVATED", "Account is deactivated")
    return account


def _email_from_token(token: str, key: str) -> str | None:
    """Return the email claim of a valid token, or None."""
    try:
        claims = jwt.decode(token, key, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise bad_request("Bad JSON web token") from None
    email = claims.get("email")
    return email if isinstance(email, str) else None


def _check_email(username: str) -> None:
    if not _EMAIL_RE.fullmatch(username):
        raise bad_request("Enter a valid email address.")


def _api_key_response(call: Call, account: Account, supported: set[str]) -> Response:
    ignored = sorted(call.params.keys() - supported)
    extra = {"ignored_parameters_unsupported": ignored} if ignored else {}
    key, email, user_id = account.api_key, account.email, account.user_id
    return success_response(api_key=key, email=email, user_id=user_id, **extra)
