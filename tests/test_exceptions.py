from __future__ import annotations

import copy
import pickle
import re
import traceback
from collections.abc import Iterator

import pytest

import zulip_auth
from zulip_auth import ZulipAuthError, _exceptions


def all_errors(cls: type[ZulipAuthError] = ZulipAuthError) -> Iterator[type[ZulipAuthError]]:
    if cls.__module__ == "zulip_auth":  # not one of a test
        yield cls
        for subclass in cls.__subclasses__():
            yield from all_errors(subclass)


def test_tree_is_drawn() -> None:
    """The docstring of the module, which is in the documentation, shows each class once."""
    drawn: list[tuple[str, str]] = []
    ancestors: list[str] = []
    for indent, name in re.findall(
        r"^([ │├└─]*)(\w+Error)\b", _exceptions.__doc__ or "", re.MULTILINE
    ):
        ancestors[len(indent) // 4 :] = [name]
        drawn.append((name, ancestors[-2] if indent else "Exception"))
    assert sorted(drawn) == sorted((c.__name__, c.__bases__[0].__name__) for c in all_errors())
    assert issubclass(zulip_auth.InvalidInputError, ValueError)


def test_errors_name_the_public_module() -> None:
    assert {cls.__name__ for cls in all_errors()} == set(_exceptions.__all__)
    line = traceback.format_exception_only(zulip_auth.TLSError("No.", sent=False))
    assert line == ["zulip_auth.TLSError: No.\n"]


def test_subclass_of_another_package_keeps_its_module() -> None:
    class OwnError(ZulipAuthError):
        pass

    assert OwnError.__module__ == __name__


ATTRIBUTES: dict[type[ZulipAuthError], dict[str, object]] = {
    zulip_auth.InsecureSiteError: {},
    zulip_auth.NotLoggedInError: {},
    zulip_auth.TLSError: {"sent": False},
    zulip_auth.InvalidResponseError: {"status_code": 302},
    zulip_auth.ServerError: {
        "status_code": 502,
        "code": "SERVER_NOT_READY",
        "message": "Soon",
        "attempts_remaining": 3,
    },
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


def test_attribute_defaults() -> None:
    for cls in (zulip_auth.ServerError, zulip_auth.UserDeactivatedError):
        error = cls("No.", status_code=401)
        assert (error.code, error.message, error.attempts_remaining) == (None, "", None)
    rate_limited = zulip_auth.RateLimitedError("No.", status_code=429)
    assert (rate_limited.message, rate_limited.retry_after) == ("", None)


@pytest.mark.parametrize("cls", ATTRIBUTES, ids=lambda cls: cls.__name__)
def test_pickle_and_copy_preserve_attributes(cls: type[ZulipAuthError]) -> None:
    attributes = ATTRIBUTES[cls]
    error = cls("What happened.", **attributes)
    error.add_note("a note")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is cls
        assert str(twin) == "What happened."
        assert {name: getattr(twin, name) for name in attributes} == attributes
        assert twin.__notes__ == ["a note"]
