from __future__ import annotations

import base64
import copy
import logging
import pickle
import pprint

import pytest
from attrs import evolve
from attrs.exceptions import FrozenInstanceError

from zulip_auth import Credentials

KEY = "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF"
CREDENTIALS = Credentials("https://chat.example.com", "iago@zulip.com", KEY, 16)


def test_basic_auth_is_what_http_libraries_take() -> None:
    assert CREDENTIALS.basic_auth == ("iago@zulip.com", KEY)


def test_the_user_id_may_be_unknown() -> None:
    assert Credentials("https://chat.example.com", "iago@zulip.com", KEY).user_id is None


def test_they_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        CREDENTIALS.api_key = "another"  # type: ignore[misc]


def test_they_are_copied_but_not_pickled() -> None:
    assert copy.copy(CREDENTIALS) == copy.deepcopy([CREDENTIALS])[0] == CREDENTIALS
    assert evolve(CREDENTIALS, user_id=17).api_key == KEY
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(
            TypeError, match=r"^Credentials are not pickled, since they hold the API key\.$"
        ) as caught:
            pickle.dumps(CREDENTIALS, protocol)
        assert KEY not in str(caught.value)


def test_the_key_is_in_nothing_that_is_printed_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("a bot").warning("%s %r", CREDENTIALS, CREDENTIALS)
    shown = [
        repr(CREDENTIALS),
        str(CREDENTIALS),
        f"{CREDENTIALS} {CREDENTIALS!r} {CREDENTIALS!a}",
        format(CREDENTIALS),
        pprint.pformat({"credentials": [CREDENTIALS]}),
        caplog.text,
    ]
    encoded = base64.b64encode(KEY.encode()).decode()
    for text in shown:
        assert "iago@zulip.com" in text
        assert KEY not in text
        assert encoded not in text
