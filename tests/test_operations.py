from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import zulip_auth
from helpers.recordings import load_recordings
from zulip_auth import Bot, Credentials
from zulip_auth._errors import RequestContext
from zulip_auth._models import ExternalMethod, Owner
from zulip_auth._operations import (
    Operation,
    parse_bots,
    parse_credentials,
    parse_jwt_credentials,
    parse_key,
    parse_owner,
    parse_settings,
)
from zulip_auth_client.models import (
    ApiKeyResponse,
    BotsResponse,
    CodedError,
    JwtApiKeyResponse,
    KeyResponse,
    OwnUserResponse,
    ServerSettingsResponse,
)

SITE = "https://chat.example.com"


async def no_endpoint() -> Any:
    raise AssertionError


def parse(reader: Any, parsed: object) -> Any:
    """Return the result or the exception of a 200."""
    try:
        return Operation(no_endpoint, reader).parse(parsed, RequestContext(SITE, "none"))
    except zulip_auth.ZulipAuthError as error:
        return error


@pytest.mark.parametrize(
    "reader",
    [
        parse_credentials,
        parse_jwt_credentials,
        parse_key,
        parse_bots,
        partial(parse_owner, user_id=1),
        parse_settings,
    ],
)
@pytest.mark.parametrize("parsed", [None, CodedError.from_dict({"result": "error", "msg": ""})])
def test_unparsed_response(reader: Any, parsed: object) -> None:
    error = parse(reader, parsed)
    assert type(error) is zulip_auth.InvalidResponseError
    assert (error.status_code, error.__context__) == (200, None)
    assert str(error) == (
        "https://chat.example.com returned HTTP 200 with a response that is not from the Zulip "
        "API. Check the URL; another service may be responding."
    )


# ---- Credentials


def parsed(**fields: object) -> Any:
    body: dict[str, Any] = {
        "result": "success",
        "msg": "",
        "api_key": "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF",
        "email": "iago@zulip.com",
        "user_id": 16,
    }
    body.update(fields)
    body = {name: value for name, value in body.items() if value is not ...}
    return parse(parse_credentials, ApiKeyResponse.from_dict(body))


def test_credentials() -> None:
    assert parsed() == Credentials(SITE, "iago@zulip.com", "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF", 16)


def test_credentials_user_id_1() -> None:
    assert parsed(user_id=1).user_id == 1


def test_credentials_unknown_and_missing_fields() -> None:
    credentials = parsed(user_id=..., ignored_parameters_unsupported=["x"], brand_new={})
    assert credentials == Credentials(SITE, "iago@zulip.com", "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF")


MALFORMED_CREDENTIALS: dict[str, dict[str, object]] = {
    "key null": {"api_key": None},
    "key number": {"api_key": 7},
    "key NaN": {"api_key": float("nan")},
    "key empty": {"api_key": ""},
    "key with a newline": {"api_key": "fAEg1Omb\n"},
    "key with a space": {"api_key": "fAEg 1Omb"},
    "key not ASCII": {"api_key": "fAEgé"},
    "key of 1 MB": {"api_key": "a" * 2**20},
    "email null": {"email": None},
    "email empty": {"email": ""},
    "email with a newline": {"email": "iago@zulip.com\nX: y"},
    "email with a surrogate": {"email": "\ud800@zulip.com"},
    "user id null": {"user_id": None},
    "user id string": {"user_id": "5"},
    "user id negative": {"user_id": -1},
    "user id zero": {"user_id": 0},
    "user id true": {"user_id": True},
    "user id float": {"user_id": 5.0},
    "user id too large": {"user_id": 10**18},
}


@pytest.mark.parametrize("fields", MALFORMED_CREDENTIALS.values(), ids=MALFORMED_CREDENTIALS)
def test_malformed_credentials(fields: dict[str, object]) -> None:
    error = parsed(**fields)
    assert type(error) is zulip_auth.InvalidResponseError
    assert error.status_code == 200


def jwt(**fields: object) -> Any:
    body = {"result": "success", "msg": "", "api_key": "k3y", "email": "iago@zulip.com", **fields}
    return parse(parse_jwt_credentials, JwtApiKeyResponse.from_dict(body))


def test_jwt_credentials() -> None:
    assert jwt() == Credentials(SITE, "iago@zulip.com", "k3y")
    assert jwt(user={"user_id": 16, "email": "x"}) == Credentials(SITE, "iago@zulip.com", "k3y", 16)


@pytest.mark.parametrize(
    "fields", [{"api_key": ""}, {"email": None}, {"user": {"user_id": "16"}}], ids=str
)
def test_malformed_jwt_credentials(fields: dict[str, object]) -> None:
    assert type(jwt(**fields)) is zulip_auth.InvalidResponseError


# ---- An API key


@pytest.mark.parametrize("key", [None, 7, "", "a b", "a\n"])
def test_key(key: object) -> None:
    def parse_body(key: object) -> Any:
        body = {"result": "success", "msg": "", "api_key": key}
        return parse(parse_key, KeyResponse.from_dict(body))

    assert parse_body("9Ct5riTe") == "9Ct5riTe"
    assert type(parse_body(key)) is zulip_auth.InvalidResponseError


# ---- Bots


def bot(**fields: object) -> Any:
    item: dict[str, Any] = {"username": "echo-bot@zulip.com", "full_name": "Echo", **fields}
    item = {name: value for name, value in item.items() if value is not ...}
    return parse(
        parse_bots, BotsResponse.from_dict({"result": "success", "msg": "", "bots": [item]})
    )


def test_bot() -> None:
    def expected(key: str | None, user_id: int | None) -> tuple[Bot]:
        name = "echo-bot@zulip.com"
        credentials = None if key is None else Credentials(SITE, name, key, user_id)
        return (Bot(name, "Echo", credentials, user_id),)

    assert bot(api_key="k3y") == expected("k3y", None)
    assert bot(api_key="k3y", user_id=7) == expected("k3y", 7)
    for missing in (..., None):
        assert bot(api_key=missing, user_id=7) == expected(None, 7)


MALFORMED_BOTS: dict[str, dict[str, object]] = {
    "neither key nor id": {},
    "key number": {"api_key": 7, "user_id": 7},
    "key with a newline": {"api_key": "k3y\n"},
    "id zero": {"user_id": 0},
    "id string, with a key": {"api_key": "k3y", "user_id": "7"},
    "username with a newline": {"api_key": "k3y", "username": "a\n@zulip.com"},
    "name null": {"api_key": "k3y", "full_name": None},
}


@pytest.mark.parametrize("fields", MALFORMED_BOTS.values(), ids=MALFORMED_BOTS)
def test_malformed_bot(fields: dict[str, object]) -> None:
    assert type(bot(**fields)) is zulip_auth.InvalidResponseError


# ---- Owner of a key

[ME] = load_recordings("me: success")


def owner(user_id: int | None = None, /, **fields: object) -> Any:
    body = {**ME.json(), **fields}
    body = {name: value for name, value in body.items() if value is not ...}
    return parse(partial(parse_owner, user_id=user_id), OwnUserResponse.from_dict(body))


def test_owner_email() -> None:
    assert owner() == owner(16) == Owner(16, "iago@zulip.com", "Iago", 200)
    assert owner(is_bot=True).is_bot is True
    assert owner(is_bot=...).is_bot is False
    assert owner(delivery_email=...).email == "user16@zulipdev.com"
    assert owner(delivery_email=None).email == "user16@zulipdev.com"


def test_owner_of_other_account() -> None:
    error = owner(15)
    assert type(error) is zulip_auth.InvalidApiKeyError
    assert (error.status_code, error.code, error.message) == (200, None, "")
    assert str(error) == (
        "The API key belongs to another account of https://chat.example.com. Log in again."
    )


@pytest.mark.parametrize(
    ("flags", "role"),
    [
        ({"is_owner": True, "is_admin": True}, 100),
        ({"is_owner": ..., "is_admin": True}, 200),
        ({"is_admin": False, "is_guest": True}, 600),
        ({"is_admin": False, "is_guest": ...}, 400),
    ],
)
def test_owner_role_before_zulip_4(flags: dict[str, object], role: int) -> None:
    assert owner(role=..., **flags).role == role


MALFORMED_OWNERS: dict[str, dict[str, object]] = {
    "id null": {"user_id": None},
    "id zero": {"user_id": 0},
    "id true": {"user_id": True},
    "email number": {"delivery_email": 7},
    "email with a newline": {"delivery_email": "iago\n@zulip.com"},
    "no email": {"delivery_email": None, "email": None},
    "name null": {"full_name": None},
    "role string": {"role": "owner"},
    "bot flag string": {"is_bot": "yes"},
}


@pytest.mark.parametrize("fields", MALFORMED_OWNERS.values(), ids=MALFORMED_OWNERS)
def test_malformed_owner(fields: dict[str, object]) -> None:
    assert type(owner(**fields)) is zulip_auth.InvalidResponseError


# ---- Server settings

[REALM] = load_recordings("settings: realm")


def settings(**fields: object) -> Any:
    body = {**REALM.json(), **fields}
    body = {name: value for name, value in body.items() if value is not ...}
    return parse(parse_settings, ServerSettingsResponse.from_dict(body))


def test_settings() -> None:
    found = settings()
    assert found.zulip_version == "10.0-dev+git"
    assert found.feature_level == 325
    assert (found.realm_name, found.realm_url) == ("Zulip Dev", "http://localhost:9991")
    assert (found.password_enabled, found.ldap_enabled, found.dev_enabled) == (True, False, True)
    assert found.require_email_format_usernames is True
    assert found.is_incompatible is False
    assert settings(is_incompatible=True).is_incompatible is True
    names = [method["name"] for method in REALM.json()["external_authentication_methods"]]
    assert [method.name for method in found.external_methods] == names
    assert found.external_methods[1] == ExternalMethod(
        "remoteuser", "SSO", f"{SITE}/accounts/login/start/sso/"
    )


def test_settings_of_old_server() -> None:
    found = settings(
        realm_url=...,
        realm_uri="https://chat.example.com/",
        zulip_feature_level=...,
        external_authentication_methods=...,
        authentication_methods=...,
        require_email_format_usernames=...,
        is_incompatible=...,
    )
    assert found.realm_url == "https://chat.example.com"
    assert (found.feature_level, found.external_methods) == (0, ())
    assert (found.require_email_format_usernames, found.is_incompatible) == (True, False)
    assert (found.password_enabled, found.ldap_enabled, found.dev_enabled) == (True, False, False)
    assert settings(authentication_methods=..., email_auth_enabled=...).password_enabled is False


def test_settings_insecure_realm_url() -> None:
    assert settings(realm_url="HTTP://chat.example.com/").realm_url == "http://chat.example.com"


def test_settings_of_root_domain() -> None:
    error = settings(realm_name=...)
    assert type(error) is zulip_auth.SubdomainRequiredError
    assert error.status_code == 200
    assert str(error) == (
        "https://chat.example.com is a Zulip server's root domain, not an organization. "
        "Use the URL of an organization."
    )


def method(**fields: object) -> dict[str, Any]:
    whole = {"name": "google", "display_name": "Google", "login_url": "/accounts/login"}
    return {"external_authentication_methods": [{**whole, **fields}]}


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("/accounts/login", f"{SITE}/accounts/login"),
        ("accounts/login?next=x", f"{SITE}/accounts/login?next=x"),
        ("https://id.example.com/login", "https://id.example.com/login"),
        ("//id.example.com/login", "https://id.example.com/login"),
        ("http://localhost:9991/login", "http://localhost:9991/login"),
    ],
)
def test_login_url_is_absolute(url: str, absolute: str) -> None:
    [found] = settings(**method(login_url=url)).external_methods
    assert found.login_url == absolute


MALFORMED_SETTINGS: dict[str, dict[str, object]] = {
    "version null": {"zulip_version": None},
    "level string": {"zulip_feature_level": "325"},
    "level true": {"zulip_feature_level": True},
    "URL number": {"realm_url": 7},
    "name null": {"realm_name": None},
    "no URL": {"realm_url": ..., "realm_uri": ...},
    "incompatible null": {"is_incompatible": None},
    "flag string": {"email_auth_enabled": "yes"},
    "usernames null": {"require_email_format_usernames": None},
    "method string": {"authentication_methods": {"ldap": "yes"}},
}


UNUSABLE_METHODS: dict[str, dict[str, object]] = {
    "login url null": method(login_url=None),
    "login url with http": method(login_url="http://id.example.com/"),
    "login url with javascript": method(login_url="javascript:alert(1)"),
    "login url with a newline": method(login_url="/a\nb"),
    "login url with open bracket": method(login_url="//[/"),
    "login url with surrogate": method(login_url="/a\ud800"),
    "method without a name": method(name=None),
    "method without a display name": method(display_name=7),
}


@pytest.mark.parametrize("fields", MALFORMED_SETTINGS.values(), ids=MALFORMED_SETTINGS)
def test_malformed_settings(fields: dict[str, object]) -> None:
    assert type(settings(**fields)) is zulip_auth.InvalidResponseError


@pytest.mark.parametrize("fields", UNUSABLE_METHODS.values(), ids=UNUSABLE_METHODS)
def test_unusable_method_is_left_out(fields: dict[str, Any]) -> None:
    methods = [
        *fields["external_authentication_methods"],
        *method()["external_authentication_methods"],
    ]
    result = settings(external_authentication_methods=methods)
    assert result.external_methods == settings(**method()).external_methods
    assert len(result.external_methods) == 1
