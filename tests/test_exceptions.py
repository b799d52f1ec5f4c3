from __future__ import annotations

import copy
import pickle

import pytest

import zulip_auth
from zulip_auth import ZulipAuthError, _exceptions

TREE = {
    "InvalidInputError": "ZulipAuthError",
    "InvalidSiteError": "InvalidInputError",
    "InsecureSiteError": "InvalidSiteError",
    "SSOFlowEndedError": "ZulipAuthError",
    "ZuliprcError": "ZulipAuthError",
    "APIConnectionError": "ZulipAuthError",
    "APITimeoutError": "APIConnectionError",
    "TLSError": "APIConnectionError",
    "InvalidResponseError": "ZulipAuthError",
    "APIStatusError": "ZulipAuthError",
    "BadRequestError": "APIStatusError",
    "AuthenticationFailedError": "APIStatusError",
    "UserDeactivatedError": "AuthenticationFailedError",
    "RealmDeactivatedError": "AuthenticationFailedError",
    "PasswordAuthDisabledError": "AuthenticationFailedError",
    "PasswordResetRequiredError": "AuthenticationFailedError",
    "InvalidApiKeyError": "APIStatusError",
    "InvalidSubdomainError": "APIStatusError",
    "SubdomainRequiredError": "APIStatusError",
    "DevAuthDisabledError": "APIStatusError",
    "RateLimitedError": "APIStatusError",
    "ServerError": "APIStatusError",
}


def all_errors() -> dict[str, type[ZulipAuthError]]:
    return {
        name: each
        for name, each in vars(_exceptions).items()
        if isinstance(each, type) and issubclass(each, ZulipAuthError)
    }


def test_the_tree_is_the_documented_one() -> None:
    found = {name: each.__bases__[0].__name__ for name, each in all_errors().items()}
    assert found == {"ZulipAuthError": "Exception", **TREE}
    assert issubclass(zulip_auth.InvalidInputError, ValueError)


def test_every_error_is_public_and_drawn_in_the_module() -> None:
    for name in all_errors():
        assert name in zulip_auth.__all__
        assert name in (_exceptions.__doc__ or "")


ATTRIBUTES: dict[type[ZulipAuthError], dict[str, object]] = {
    zulip_auth.InsecureSiteError: {},
    zulip_auth.TLSError: {"sent": False},
    zulip_auth.InvalidResponseError: {"status_code": 302},
    zulip_auth.ServerError: {"status_code": 502, "code": "SERVER_NOT_READY", "message": "Soon"},
    zulip_auth.UserDeactivatedError: {
        "status_code": 401,
        "code": "USER_DEACTIVATED",
        "message": "Account is deactivated",
        "attempts_remaining": 4,
    },
    zulip_auth.RateLimitedError: {
        "status_code": 429,
        "code": None,
        "message": "",
        "retry_after": 1799.7959835529327,
    },
}


def test_what_a_server_did_not_say_is_left_out() -> None:
    for kind in (zulip_auth.ServerError, zulip_auth.UserDeactivatedError):
        error = kind("No.", status_code=401)
        assert (error.code, error.message) == (None, "")
    limited = zulip_auth.RateLimitedError("No.", status_code=429)
    assert (limited.message, limited.retry_after) == ("", None)


@pytest.mark.parametrize("kind", ATTRIBUTES, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_and_copying_whole(kind: type[ZulipAuthError]) -> None:
    attributes = ATTRIBUTES[kind]
    error = kind("What happened.", **attributes)
    error.add_note("a note")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is kind
        assert str(twin) == "What happened."
        assert {name: getattr(twin, name) for name in attributes} == attributes
        assert twin.__notes__ == ["a note"]
