"""Endpoints without an API key: logging in, and the server's settings."""

from __future__ import annotations

import asyncio
import re
import secrets

import jwt

from zulip_auth.testing.accounts import Account, Realm
from zulip_auth.testing.errors import ErrorResponse, bad_request
from zulip_auth.testing.http import (
    ANONYMOUS,
    DEVELOPMENT,
    POST_ONLY,
    Call,
    Fields,
    check_limit,
    endpoint,
)

from .users import own_profile

FEATURE_LEVEL = 325
VERSION: dict[str, str | int] = {
    "zulip_version": "10.0-dev+git",
    "zulip_merge_base": "",
    "zulip_feature_level": FEATURE_LEVEL,
}

_AUTHENTICATION_METHODS = (
    "password",
    "dev",
    "email",
    "ldap",
    "remoteuser",
    "github",
    "azuread",
    "gitlab",
    "google",
    "apple",
    "saml",
    "openid connect",
)
_COOKIE_ATTRIBUTES = "Max-Age=1209600; Path=/; SameSite=lax"
_MAX_EMAIL_LENGTH = 320
_ATOM = r"[-!#$%&'*+/=?^_`{}|~0-9A-Za-z]+"
_LETTER = r"(?:[^\W_])"
_LABEL = rf"{_LETTER}(?:(?:{_LETTER}|-){{0,61}}{_LETTER})?"
_TOP = rf"(?!-)(?:{_LETTER}|-){{2,63}}(?<!-)"
# What Django's EmailValidator accepts, without quoted names and addresses in brackets.
_EMAIL_RE = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?:(?:{_LABEL}\.)+{_TOP}|localhost)")


def _authentication_failed() -> ErrorResponse:
    return ErrorResponse(401, "AUTHENTICATION_FAILED", "Your username or password is incorrect")


@endpoint("POST /api/v1/fetch_api_key", ANONYMOUS, POST_ONLY)
async def fetch_api_key(call: Call, username: str, password: str) -> Fields:
    """Log in with a password. The checks have the order of the real endpoint."""
    realm = call.find_realm()
    if realm.email_usernames:
        _check_email(username)
    check_limit(call, call.state.attempts, username)
    if call.state.password_check_time:
        await asyncio.sleep(call.state.password_check_time)
    account = _check_password(call, realm, username, password)
    call.state.attempts.reset(username)
    return _key_fields(account)


@endpoint("POST /api/v1/dev_fetch_api_key", ANONYMOUS, POST_ONLY, DEVELOPMENT)
def dev_fetch_api_key(call: Call, username: str) -> Fields:
    """Log in without a password. The real endpoint also opens a web session."""
    _check_dev_login(call)
    _check_email(username)
    realm = call.find_realm()
    if not realm.dev_login:
        raise _authentication_failed()
    account = _find_active_account(call, realm, username)
    for name, attributes in (("sessionid", "HttpOnly; "), ("csrftoken", "")):
        cookie = f"{name}={secrets.token_hex(16)}; {attributes}{_COOKIE_ATTRIBUTES}"
        call.headers.append(("Set-Cookie", cookie))
    return _key_fields(account)


@endpoint("POST /api/v1/dev_list_users", ANONYMOUS, DEVELOPMENT)
@endpoint("GET /api/v1/dev_list_users", ANONYMOUS, DEVELOPMENT)
def dev_list_users(call: Call) -> Fields:
    """List the users of all organizations."""
    _check_dev_login(call)
    users = [
        (account.admin, {"email": account.email, "realm_url": call.url(realm.host)})
        for realm in call.state.realms.values()
        for account in realm.accounts
        if realm.active and account.active and not account.is_bot
    ]
    return {
        "direct_admins": [user for admin, user in users if admin],
        "direct_users": [user for admin, user in users if not admin],
    }


@endpoint("POST /api/v1/jwt/fetch_api_key", ANONYMOUS, POST_ONLY)
def jwt_fetch_api_key(call: Call, include_profile: bool = False, token: str = "") -> Fields:
    """Log in with a JSON web token."""
    realm = call.find_realm()
    if realm.jwt_key is None:
        raise bad_request("JWT authentication is not enabled for this organization")
    if not token:
        raise bad_request("No JSON web token passed in request")
    email = _email_from_token(token, realm.jwt_key)
    if email is None:
        raise bad_request("No email specified in JSON web token claims")
    account = _find_active_account(call, realm, email)
    profile = {"user": own_profile(realm, account)} if include_profile else {}
    return {"api_key": account.api_key, "email": account.email, **profile}


@endpoint("GET /api/v1/server_settings", ANONYMOUS, POST_ONLY)
def server_settings(call: Call) -> Fields:
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
        realm = Realm(call.host.partition(":")[0], call.state.url)
    email = realm.password_login and realm.email_usernames
    methods = dict.fromkeys(_AUTHENTICATION_METHODS, False) | {
        "password": realm.password_login,
        "dev": call.state.dev_login == "on" and realm.dev_login,
        "email": email,
        "ldap": realm.password_login and not realm.email_usernames,
    }
    methods |= {method.name: True for method in realm.external_methods if method.name in methods}
    names = {"realm_name": realm.name, "realm_icon": "", "realm_description": ""}
    return {
        "authentication_methods": methods,
        **VERSION,
        "push_notifications_enabled": False,
        "is_incompatible": False,
        "email_auth_enabled": email,
        "require_email_format_usernames": realm.email_usernames,
        "realm_url": call.url(realm.host),
        **({} if root else names),
        "realm_web_public_access_enabled": False,
        "external_authentication_methods": [m.to_dict() for m in realm.external_methods],
        "realm_uri": call.url(realm.host),
    }


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
    if len(username) > _MAX_EMAIL_LENGTH or not _EMAIL_RE.fullmatch(username):
        raise bad_request("Enter a valid email address.")


def _key_fields(account: Account) -> Fields:
    return {"api_key": account.api_key, "email": account.email, "user_id": account.user_id}
