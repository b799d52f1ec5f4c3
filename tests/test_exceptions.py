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


# With attributes that differ from those of the class, and from the defaults.
ERRORS = [
    zulip_auth.NotLoggedInError("Why."),
    zulip_auth.TLSError("Why.", sent=True),
    zulip_auth.InvalidResponseError("Why.", status_code=302),
    zulip_auth.APIStatusError("Why.", status_code=408, code="SLOW", message="Slow"),
    zulip_auth.UserDeactivatedError("Why.", status_code=401, message="x", attempts_remaining=4),
    zulip_auth.ServerError("Why.", status_code=502, code="SOON", attempts_remaining=3),
    zulip_auth.RateLimitedError("Why.", status_code=429, retry_after=1799.7959835529327),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_pickle_and_copy_preserve_attributes(error: ZulipAuthError) -> None:
    error.transient = True  # as after some failures
    error.add_note("a note")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (type(twin), str(twin)) == (type(error), "Why.")
        assert vars(twin) == vars(error)
        assert twin.__notes__ == ["a note"]
