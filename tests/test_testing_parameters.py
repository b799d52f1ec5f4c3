"""Parameters of requests to the stand-in server."""

from __future__ import annotations

import json as jsonlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zulip_auth.testing.errors import ErrorResponse
from zulip_auth.testing.parameters import Parameter, choice, json, text


@pytest.mark.parametrize(
    ("parameter", "params", "error"),
    [
        (text(), {}, "Missing 'x' argument"),
        (text(alias="y"), {"x": "1", "y": "2"}, "Can't decide between 'x' and 'y' arguments"),
        (text(max_length=2), {"x": "123"}, "x is too long (limit: 2 characters)"),
        (choice("a", "b"), {"x": "c"}, "Invalid x"),
        (json(int), {"x": "x"}, "x is not valid JSON"),
        (json(int), {"x": '"1"'}, "x is not an integer"),
        (json(int), {"x": "true"}, "x is not an integer"),
        (json(int), {"x": "null"}, "x is not an integer"),
        (json(int, minimum=0), {"x": "-1"}, "x is too small"),
        (json(bool), {"x": "1"}, "x is not a boolean"),
        (json(list[int]), {"x": "{}"}, "x is not a list"),
        (json(list[int]), {"x": '[1, "2"]'}, "x[1] is not an integer"),
        (json(dict[str, str]), {"x": "[]"}, "x is not a dict"),
        (json(dict[str, str]), {"x": '{"a": 1}'}, 'x["a"] is not a string'),
        (json(list[dict[str, Any]]), {"x": "[[]]"}, "x[0] is not a dict"),
    ],
)
def test_rejected_value(parameter: Parameter, params: dict[str, str], error: str) -> None:
    with pytest.raises(ErrorResponse) as caught:
        parameter.parse("x", params)
    assert (str(caught.value), caught.value.status) == (error, 400)


@pytest.mark.parametrize(
    ("parameter", "params", "value"),
    [
        (text(default=None), {}, None),
        (text(alias="y"), {"y": "1"}, "1"),
        (choice("a", default="a"), {}, "a"),
        (json(int, default=None), {"x": "null"}, None),
        (json(list[Any]), {"x": '[1, "2"]'}, [1, "2"]),
    ],
)
def test_accepted_value(parameter: Parameter, params: dict[str, str], value: object) -> None:
    assert parameter.parse("x", params) == value


@given(st.dictionaries(st.text(), st.text()))
def test_json_round_trip(value: dict[str, str]) -> None:
    assert json(dict[str, str]).parse("x", {"x": jsonlib.dumps(value)}) == value
