"""Every parser of a response, with each field missing or malformed."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import zulip_auth
from helpers.recordings import load_recordings
from zulip_auth import Bot, Credentials
from zulip_auth import _operations as operations
from zulip_auth._errors import RequestContext
from zulip_auth._models import ExternalMethod, Owner
from zulip_auth_client import models

SITE = "https://chat.example.com"
KEY = "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF"
SUCCESS = {"result": "success", "msg": "", "email": "iago@zulip.com", "api_key": KEY}
BOT = {"username": "echo-bot@zulip.com", "full_name": "Echo", "api_key": KEY}
[ME] = load_recordings("me: success")
[REALM] = load_recordings("settings: realm")

# For each parser: the model, and a body that it accepts.
PARSERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "credentials": (
        operations.parse_credentials,
        models.ApiKeyResponse,
        {**SUCCESS, "user_id": 16},
    ),
    "jwt": (operations.parse_jwt_credentials, models.JwtApiKeyResponse, SUCCESS),
    "key": (operations.parse_key, models.KeyResponse, SUCCESS),
    "bots": (operations.parse_bots, models.BotsResponse, {**SUCCESS, "bots": [BOT]}),
    "owner": (partial(operations.parse_owner, user_id=16), models.OwnUserResponse, ME.json()),
    "settings": (operations.parse_settings, models.ServerSettingsResponse, REALM.json()),
}


async def no_endpoint() -> Any:
    raise AssertionError


def run(parser: Any, parsed: object) -> Any:
    """Return the result or the exception of a 200."""
    try:
        operation = operations.Operation(no_endpoint, parser)
        return operation.parse(parsed, RequestContext(SITE, "none"))
    except zulip_auth.ZulipAuthError as error:
        return error


def parse(name: str, /, **fields: object) -> Any:
    """Return the result for a body with other fields; one that is ... is left out."""
    parser, model, body = PARSERS[name]
    changed = {key: value for key, value in {**body, **fields}.items() if value is not ...}
    return run(parser, model.from_dict(changed))


@pytest.mark.parametrize("name", PARSERS)
def test_unparsed_response(name: str) -> None:
    for parsed in (None, models.CodedError.from_dict({"result": "error", "msg": ""})):
        error = run(PARSERS[name][0], parsed)
        assert type(error) is zulip_auth.InvalidResponseError
        assert (error.status_code, error.__context__) == (200, None)
        assert str(error) == (
            "https://chat.example.com returned HTTP 200 with a response that is not from the "
            "Zulip API. Check the URL; another service may be responding."
        )


def bot(**fields: object) -> dict[str, object]:
    changed = {key: value for key, value in {**BOT, **fields}.items() if value is not ...}
    return {"bots": [changed]}


MALFORMED: dict[str, list[Any]] = {
    "credentials": [
        *({"api_key": key} for key in (None, 7, "", "a\n", "a b", "é", "a" * 2**20)),
        *({"email": email} for email in (None, "", "iago@zulip.com\nX: y", "\ud800@zulip.com")),
        *({"user_id": user_id} for user_id in (None, "5", True, 5.0, 0, -1, 10**18)),
    ],
    "jwt": [{"api_key": ""}, {"email": None}, {"user": {"user_id": "16"}}],
    "key": [{"api_key": key} for key in (None, 7, "", "a b", "a\n")],
    "bots": [
        bot(api_key=...),
        bot(api_key=7, user_id=7),
        bot(api_key="k3y\n"),
        bot(user_id="7"),
        bot(username="a\n@zulip.com"),
        bot(full_name=None),
    ],
    "owner": [
        *({"user_id": user_id} for user_id in (None, "16", 16.0, 0, -1, 10**18)),
        {"delivery_email": 7},
        {"delivery_email": "iago\n@zulip.com"},
        {"delivery_email": None, "email": None},
        {"full_name": None},
        {"role": "owner"},
        {"is_bot": "yes"},
    ],
    "settings": [
        {"zulip_version": None},
        *({"zulip_feature_level": level} for level in ("325", True)),
        {"realm_url": 7},
        {"realm_url": ..., "realm_uri": ...},
        {"realm_name": None},
        {"is_incompatible": None},
        {"email_auth_enabled": "yes"},
        {"require_email_format_usernames": None},
        {"authentication_methods": {"ldap": "yes"}},
    ],
}


@pytest.mark.parametrize(
    ("name", "fields"),
    [(name, fields) for name, cases in MALFORMED.items() for fields in cases],
)
def test_malformed_field(name: str, fields: dict[str, object]) -> None:
    error = parse(name, **fields)
    assert type(error) is zulip_auth.InvalidResponseError
    assert error.status_code == 200


def test_credentials() -> None:
    expected = Credentials(SITE, "iago@zulip.com", KEY)
    assert parse("credentials") == Credentials(SITE, "iago@zulip.com", KEY, 16)
    assert parse("credentials", user_id=..., brand_new={}) == expected
    assert parse("jwt") == expected
    assert parse("jwt", user={"user_id": 16, "email": "x"}).user_id == 16


def test_bot() -> None:
    name = "echo-bot@zulip.com"
    for user_id, value in ((None, ...), (7, 7)):
        [found] = parse("bots", **bot(user_id=value))
        assert found == Bot(name, "Echo", Credentials(SITE, name, KEY, user_id), user_id)
    for missing in (..., None):
        assert parse("bots", **bot(api_key=missing, user_id=7)) == (Bot(name, "Echo", None, 7),)


def test_owner() -> None:
    assert parse("owner") == Owner(16, "iago@zulip.com", "Iago", 200)
    assert parse("owner", is_bot=True).is_bot is True
    assert parse("owner", is_bot=...).is_bot is False
    for missing in (..., None):
        assert parse("owner", delivery_email=missing).email == "user16@zulipdev.com"
    error = parse("owner", user_id=15)
    assert type(error) is zulip_auth.InvalidApiKeyError
    assert (error.status_code, error.code, error.message) == (200, None, "")
    assert str(error) == (
        "The API key belongs to another account of https://chat.example.com. Log in again."
    )


def test_owner_role_before_zulip_4() -> None:
    for flags, role in (
        ({"is_owner": True, "is_admin": True}, 100),
        ({"is_owner": ..., "is_admin": True}, 200),
        ({"is_admin": False, "is_guest": True}, 600),
        ({"is_admin": False, "is_guest": ...}, 400),
    ):
        assert parse("owner", role=..., **flags).role == role


def test_settings() -> None:
    found = parse("settings", is_incompatible=True)
    assert (found.zulip_version, found.feature_level) == ("10.0-dev+git", 325)
    assert (found.realm_name, found.realm_url) == ("Zulip Dev", "http://localhost:9991")
    assert (found.password_enabled, found.ldap_enabled, found.dev_enabled) == (True, False, True)
    assert (found.require_email_format_usernames, found.is_incompatible) == (True, True)


def test_settings_of_old_server() -> None:
    found = parse(
        "settings",
        realm_url=...,
        realm_uri="HTTP://chat.example.com/",
        zulip_feature_level=...,
        external_authentication_methods=...,
        authentication_methods=...,
        require_email_format_usernames=...,
        is_incompatible=...,
    )
    assert found.realm_url == "http://chat.example.com"
    assert (found.feature_level, found.external_methods) == (0, ())
    assert (found.require_email_format_usernames, found.is_incompatible) == (True, False)
    assert (found.password_enabled, found.ldap_enabled, found.dev_enabled) == (True, False, False)
    without = parse("settings", authentication_methods=..., email_auth_enabled=...)
    assert without.password_enabled is False


def test_settings_of_root_domain() -> None:
    error = parse("settings", realm_name=...)
    assert type(error) is zulip_auth.SubdomainRequiredError
    assert error.status_code == 200
    assert str(error) == (
        "https://chat.example.com is a Zulip server's root domain, not an organization. "
        "Use the URL of an organization."
    )


GOOGLE = {"name": "google", "display_name": "Google", "login_url": "/accounts/login?next=x"}


def test_login_url_is_absolute() -> None:
    for url, absolute in (
        ("accounts/login?next=x", f"{SITE}/accounts/login?next=x"),
        ("//id.example.com/login", "https://id.example.com/login"),
        ("http://localhost:9991/login", "http://localhost:9991/login"),
    ):
        methods = [{**GOOGLE, "login_url": url}]
        [found] = parse("settings", external_authentication_methods=methods).external_methods
        assert found == ExternalMethod("google", "Google", absolute)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": None},
        {"display_name": 7},
        *(
            {"login_url": url}
            for url in (None, "http://id.example.com/", "javascript:alert(1)", "//[/", "/a\ud800")
        ),
    ],
    ids=ascii,
)
def test_unusable_method_is_left_out(fields: dict[str, Any]) -> None:
    methods = [{**GOOGLE, **fields}, GOOGLE]
    found = parse("settings", external_authentication_methods=methods).external_methods
    assert found == (ExternalMethod("google", "Google", f"{SITE}{GOOGLE['login_url']}"),)
