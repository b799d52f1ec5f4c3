"""The comparison of our description with Zulip's own."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import upstream_diff
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from upstream_diff import Accepted, CompareError, Contract, Description, accepted, compare, report

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "upstream_diff.py"
UPSTREAM = ROOT / "tests" / "data" / "upstream"
VERSIONS = {"3.0": 18, "4.0": 33, "10.0": 325}

BASE = """
openapi: 3.1.0
security: [{key: []}]
paths:
  /keys/{id}:
    post:
      parameters:
        - {name: id, in: path, required: true, schema: {type: integer}}
        - {name: verbose, in: query, schema: {type: boolean}}
        - {name: X-Trace, in: header, schema: {type: string}}
      requestBody:
        required: true
        content:
          application/x-www-form-urlencoded:
            schema:
              type: object
              required: [username]
              properties:
                username: {type: string}
                device: {$ref: "#/components/schemas/Device"}
      responses:
        "200":
          content:
            application/json:
              schema:
                type: object
                required: [result, key]
                properties:
                  result: {const: success}
                  key: {type: string}
                  owner: {type: [string, "null"]}
                  role: {enum: [100, 200]}
                  devices:
                    type: array
                    items: {$ref: "#/components/schemas/Device"}
                  limits:
                    type: object
                    additionalProperties: {type: integer}
        "404":
          content:
            text/html: {schema: {type: string}}
components:
  securitySchemes:
    Key: {type: http, scheme: basic}
  schemas:
    Device:
      type: object
      required: [name]
      properties:
        name: {type: string}
"""
OPERATION = "POST /keys/{id}: "


def parse(text: str) -> Any:
    loader = YAML(typ="safe", pure=True)
    return loader.load(text)


def contract(document: object) -> Contract:
    return Description(document, "file:///keys.yaml").contract()


def changed(old: str, new: str) -> Contract:
    assert BASE.count(old) == 1
    return contract(parse(BASE.replace(old, new)))


# What upstream has in place of our words, and what is said of it.
DIFFERENCES: dict[str, tuple[str, str, list[str]]] = {
    "another path": ("/keys/{id}:", "/key/{id}:", ["POST /keys/{id}: only here"]),
    "another method": ("    post:", "    put:", ["POST /keys/{id}: only here, PUT there"]),
    "a parameter in another place": (
        "verbose, in: query",
        "verbose, in: header",
        ["verbose: in the header there, in the query here"],
    ),
    "a parameter in JSON": (
        "in: query, schema: {type: boolean}",
        "in: query, content: {application/json: {schema: {type: boolean}}}",
        ["verbose: in the query as application/json there, in the query here"],
    ),
    "a parameter of another name": (
        "name: verbose",
        "name: loud",
        ["loud: only there, in the query", "verbose: only here, in the query"],
    ),
    "a parameter of another type": (
        "schema: {type: boolean}",
        "schema: {type: integer}",
        ["verbose: integer there, boolean here"],
    ),
    "a parameter that is required": (
        "verbose, in: query,",
        "verbose, in: query, required: true,",
        ["verbose: required there, optional here"],
    ),
    "a new parameter that is required": (
        "        - {name: verbose",
        "        - {name: token, in: query, required: true}\n        - {name: verbose",
        ["token: only there, in the query, required"],
    ),
    "a parameter in two places": (
        "        - {name: verbose",
        "        - {name: username, in: query, schema: {type: string}}\n        - {name: verbose",
        [
            "username: in the form body and query there, in the form body here",
            "username: optional there, required here",
        ],
    ),
    "a field of the body that is not required": (
        "              required: [username]\n",
        "",
        ["username: optional there, required here"],
    ),
    "a body that is not required": (
        "        required: true\n        content:",
        "        content:",
        ["username: optional there, required here"],
    ),
    "a body of another form": (
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        [
            f"{name}: in the multipart body there, in the form body here"
            for name in ("device", "device.name", "username")
        ],
    ),
    "a body in JSON": (
        "application/x-www-form-urlencoded",
        "application/json",
        [
            f"{name}: in the application/json body there, in the form body here"
            for name in ("device", "device.name", "username")
        ],
    ),
    "a body that is no object": (
        "              type: object\n              required: [username]\n"
        "              properties:\n                username: {type: string}\n"
        '                device: {$ref: "#/components/schemas/Device"}',
        "              type: array",
        [
            "(body): only there, in the form body, required",
            "device: only here, in the form body",
            "username: only here, in the form body, required",
        ],
    ),
    "a part of a component": (
        "        name: {type: string}\n",
        "        name: {type: string}\n        model: {type: string}\n",
        ["device.model: only there, in the form body", "answer 200: devices[].model: only there"],
    ),
    "a part of a component that is optional": (
        "      required: [name]\n",
        "",
        [
            "device.name: optional there, required here",
            "answer 200: devices[].name: optional there, required here",
        ],
    ),
    "an answer of another status": (
        '"404":',
        '"410":',
        ["answer 404: only here", "answer 410: only there"],
    ),
    "an answer of another form": (
        "text/html",
        "text/plain",
        ["answer 404: (text/html): only here", "answer 404: (text/plain): only there"],
    ),
    "an answer in no JSON": (
        "            application/json:",
        "            application/xml:",
        [
            "answer 200: no JSON there, object here",
            "answer 200: (application/xml): only there",
            "answer 200: devices: only here",
            "answer 200: key: only here, required",
            "answer 200: limits: only here",
            "answer 200: owner: only here",
            "answer 200: result: only here, required",
            "answer 200: role: only here",
        ],
    ),
    "an answer with more": (
        "                  key: {type: string}",
        "                  key: {type: string}\n                  more: {properties: {a: {}}}",
        ["answer 200: more: only there"],
    ),
    "an answer with less": (
        '                  owner: {type: [string, "null"]}\n',
        "",
        ["answer 200: owner: only here"],
    ),
    "a field of another type": (
        "key: {type: string}",
        "key: {type: object}",
        ["answer 200: key: object there, string here"],
    ),
    "a field that is never null": (
        'owner: {type: [string, "null"]}',
        "owner: {type: string}",
        ["answer 200: owner: string there, null or string here"],
    ),
    "a field that may be anything": (
        "key: {type: string}",
        "key: {}",
        ["answer 200: key: anything there, string here"],
    ),
    "a field that may not be": (
        "key: {type: string}",
        "key: {allOf: [{type: string}, {type: integer}]}",
        ["answer 200: key: nothing there, string here"],
    ),
    "a field that has to be false": (
        "key: {type: string}",
        "key: false",
        ["answer 200: key: nothing there, string here"],
    ),
    "another constant": (
        "const: success",
        "const: ok",
        ['answer 200: result: "ok" there, "success" here'],
    ),
    "any word for a constant": (
        "const: success",
        "type: string",
        ['answer 200: result: string there, "success" here'],
    ),
    "more values": (
        "enum: [100, 200]",
        "enum: [100, 200, 300]",
        ["answer 200: role: 100 or 200 or 300 there, 100 or 200 here"],
    ),
    "null as a value": (
        "enum: [100, 200]",
        "enum: [100, 200, null]",
        ["answer 200: role: 100 or 200 or null there, 100 or 200 here"],
    ),
    "values as words": (
        "enum: [100, 200]",
        "enum: ['100', '200']",
        ['answer 200: role: "100" or "200" there, 100 or 200 here'],
    ),
    "a field that is optional": (
        "required: [result, key]",
        "required: [result]",
        ["answer 200: key: optional there, required here"],
    ),
    "a required field that nothing else names": (
        "required: [result, key]",
        "required: [result, key, token]",
        ["answer 200: token: only there, required"],
    ),
    "items of another type": (
        'items: {$ref: "#/components/schemas/Device"}',
        "items: {type: string}",
        [
            "answer 200: devices[]: string there, object here",
            "answer 200: devices[].name: only here, required",
        ],
    ),
    "values of another type in a map": (
        "additionalProperties: {type: integer}",
        "additionalProperties: {type: string}",
        ["answer 200: limits.*: string there, integer here"],
    ),
    "no authentication": (
        "security: [{key: []}]",
        "security: []",
        ["authentication: none there, basic here"],
    ),
    "authentication that is left out": (
        "security: [{key: []}]\n",
        "",
        ["authentication: none there, basic here"],
    ),
    "authentication that may be left out": (
        "[{key: []}]",
        "[{key: []}, {}]",
        ["authentication: basic or none there, basic here"],
    ),
    "two keys at once": (
        "[{key: []}]",
        "[{key: [], cookie: []}]",
        ["authentication: basic with cookie there, basic here"],
    ),
    "another kind of authentication": (
        "scheme: basic",
        "scheme: bearer",
        ["authentication: bearer there, basic here"],
    ),
    "authentication of one operation": (
        "    post:\n",
        "    post:\n      security: []\n",
        ["authentication: none there, basic here"],
    ),
}

# What upstream may say instead of our words, and means the same.
SAME: dict[str, tuple[str, str]] = {
    "null, as OpenAPI 3.0 says it": (
        'owner: {type: [string, "null"]}',
        "owner: {type: string, nullable: true}",
    ),
    "null as an alternative": (
        'owner: {type: [string, "null"]}',
        "owner: {oneOf: [{type: string}, {type: 'null'}]}",
    ),
    "one value of an enumeration": ("{const: success}", "{type: string, enum: [success]}"),
    "values as alternatives": ("{enum: [100, 200]}", "{anyOf: [{const: 200}, {const: 100}]}"),
    "a base that fills what is left empty": (
        "                type: object\n                required: [result, key]\n",
        "                allOf:\n"
        "                  - type: object\n"
        "                    properties: {result: {type: string}}\n"
        "                  - required: [result, key]\n"
        "                    properties: {result: {enum: [success]}, key: {type: string}}\n"
        "                  - additionalProperties: false\n"
        "                    properties: {result: {}, key: {}}\n",
    ),
    "a type that goes without saying": (
        "                type: object\n                required: [result, key]",
        "                required: [result, key]",
    ),
    "an array that goes without saying": ("                    type: array\n", ""),
    "a field that may be anything, allowed": (
        "key: {type: string}",
        "key: {allOf: [true, {type: string}]}",
    ),
    "a reference with the file's name": (
        'device: {$ref: "#/components',
        'device: {$ref: "keys.yaml#/components',
    ),
    "a reference with the file's address": (
        'device: {$ref: "#/components',
        'device: {$ref: "file:///keys.yaml#/components',
    ),
    "a parameter of the path, which the operation's replaces": (
        "    post:\n",
        "    parameters: [{name: verbose, in: query, schema: {type: string}}]\n    post:\n",
    ),
    "an operation of no interest": (
        "    post:\n",
        "    delete: {parameters: [{$ref: nowhere}]}\n    post:\n",
    ),
    "a path of no interest": ("paths:\n", "paths:\n  /other: {$ref: nowhere}\n"),
    "a path that is a number": ("paths:\n", "paths:\n  3: {}\n"),
    "a status as a number": ('"404":', "404:"),
    "a remark": ("      responses:\n", "      responses:\n        x-remark: {}\n"),
    "fields that are not closed": (
        "required: [result, key]",
        "additionalProperties: true\n                required: [result, key]",
    ),
}


@pytest.mark.parametrize(("old", "new", "said"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_difference(old: str, new: str, said: list[str]) -> None:
    said = [each if each.startswith("POST") else OPERATION + each for each in said]
    assert compare(changed(old, new), contract(parse(BASE))) == said


@pytest.mark.parametrize(("old", "new"), SAME.values(), ids=SAME)
def test_equivalent_schemas(old: str, new: str) -> None:
    ours = contract(parse(BASE))
    assert BASE.count(old) == 1
    theirs = Description(parse(BASE.replace(old, new)), "file:///keys.yaml").contract(ours)
    assert compare({key: theirs[key] for key in ours}, ours) == []


@pytest.mark.parametrize(
    "method", ["get", "put", "post", "delete", "options", "head", "patch", "trace"]
)
def test_operations_of_a_path(method: str) -> None:
    text = BASE.replace("    post:", f"    x-remark: 3\n    summary: Keys\n    {method}:")
    assert [*contract(parse(text.replace("paths:", "paths:\n  x-remark: 3")))] == [
        ("/keys/{id}", method)
    ]


def test_required_in_all_alternatives() -> None:
    theirs = changed(
        "key: {type: string}",
        "key: {oneOf: [{type: object, required: [a], properties: {a: {type: string}}},"
        " {type: object, required: [a, b], properties: {a: {type: integer}, b: {}}}]}",
    )
    ours = changed(
        "key: {type: string}",
        "key: {type: object, required: [a], properties: {a: {type: [string, integer]}, b: {}}}",
    )
    assert compare(theirs, ours) == compare(ours, theirs) == []


def test_recursive_schema() -> None:
    recursive = "properties:\n        next: {$ref: '#/components/schemas/Device'}\n        name:"
    assert compare(changed("properties:\n        name:", recursive), contract(parse(BASE))) == [
        OPERATION + "device.next: only there, in the form body",
        OPERATION + "answer 200: devices[].next: only there",
    ]


def test_control_characters_are_escaped() -> None:
    theirs = changed("key: {type: string}", '"\\e[31mk\\n": {type: string}')
    assert OPERATION + "answer 200: \\x1b[31mk\\n: only there" in compare(
        theirs, contract(parse(BASE))
    )


# Descriptions of every shape.

SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", ["boolean", "null"]]),
            "enum": st.lists(st.sampled_from(["a", "b", 1, None]), min_size=1, max_size=3),
        },
    ),
    lambda inner: (
        st.builds(
            lambda properties, required: {
                "type": "object",
                "properties": properties,
                "required": [name for name in properties if name in required],
            },
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.sets(st.sampled_from("abc")),
        )
        | inner.map(lambda schema: {"type": "array", "items": schema})
        | inner.map(lambda schema: {"type": "object", "additionalProperties": schema})
        | st.lists(inner, min_size=1, max_size=3).map(lambda schemas: {"oneOf": schemas})
        | st.lists(inner, min_size=1, max_size=3).map(lambda schemas: {"allOf": schemas})
    ),
    max_leaves=8,
)


def around(schema: object, components: object = None) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    parameter = {"name": "options", "in": "query", "content": content}
    operation = {"parameters": [parameter], "responses": {"200": {"content": content}}}
    return {
        "openapi": "3.1.0",
        "paths": {"/": {"get": operation}},
        "components": {"schemas": components or {}},
    }


def said_otherwise(schema: Any, components: dict[str, Any], chance: random.Random) -> Any:
    """Return a schema that means the same, and is written in another way."""
    if isinstance(schema, list):
        return [said_otherwise(each, components, chance) for each in schema]
    schema = dict(schema)
    for key in ("items", "additionalProperties", "oneOf", "allOf"):
        if key in schema:
            schema[key] = said_otherwise(schema[key], components, chance)
    if "properties" in schema:
        schema["properties"] = {
            name: said_otherwise(part, components, chance)
            for name, part in reversed(schema["properties"].items())
        }
    if schema.get("type") == ["boolean", "null"] and chance.random() < 0.5:
        schema |= {"type": "boolean", "nullable": True}
    match chance.randrange(6):
        case 0:
            return {"allOf": [{}, schema]}
        case 1:
            return {"oneOf": [schema]}
        case 2:
            components[f"C/{len(components)}"] = schema
            return {"$ref": f"#/components/schemas/C~1{len(components) - 1}"}
        case 3:
            return {**schema, "allOf": [*schema.get("allOf", []), True]}
        case _:
            return schema


@given(SCHEMAS, st.randoms(use_true_random=False))
def test_rewritten_schema_is_equal(schema: dict[str, Any], chance: random.Random) -> None:
    components: dict[str, Any] = {}
    theirs = around(said_otherwise(schema, components, chance), components)
    assert compare(contract(theirs), contract(around(schema))) == []


@given(SCHEMAS, SCHEMAS)
def test_diff_is_symmetric(one: dict[str, Any], other: dict[str, Any]) -> None:
    def turned(line: str) -> str:
        if ": only " in line:
            here, there = ": only here", ": only there"
            return line.replace(here, there) if here in line else line.replace(there, here)
        name, _, words = line.removesuffix(" here").rpartition(": ")
        said_there, said_here = words.split(" there, ")
        return f"{name}: {said_here} there, {said_there} here"

    def seen(made: Contract) -> list[tuple[Any, ...]]:
        [fields] = made.values()
        return sorted((key, each.kind(), each.required, each.place) for key, each in fields.items())

    a, b = contract(around(one)), contract(around(other))
    assert sorted(map(turned, compare(a, b))) == sorted(compare(b, a))
    assert (compare(a, b) == []) == (seen(a) == seen(b))


PROSE: dict[str, Callable[[random.Random], object]] = {
    "description": lambda chance: "word " * chance.randrange(9),
    "summary": lambda chance: "word " * chance.randrange(9),
    "operationId": lambda chance: f"id-{chance.random()}",
    "tags": lambda chance: ["tag"] * chance.randrange(3),
    "deprecated": lambda chance: chance.random() < 0.5,
    "example": lambda chance: {"type": chance.random(), "required": 3, "$ref": "nowhere"},
    "examples": lambda chance: [{"properties": []}, chance.random()],
    "title": lambda chance: "A title",
    "x-remark": lambda chance: {"schema": chance.random()},
}
# No property or parameter of what is compared has one of these names.
KEYWORDS = {"type", "allOf", "responses", "schema", "content", "in"}


def with_other_prose(part: Any, chance: random.Random) -> Any:
    if isinstance(part, list):
        return [with_other_prose(each, chance) for each in part]
    if not isinstance(part, dict):
        return part
    changed = {
        key: with_other_prose(value, chance) for key, value in part.items() if key not in PROSE
    }
    if KEYWORDS & part.keys():
        changed |= {key: made(chance) for key, made in PROSE.items() if chance.random() < 0.5}
    return changed


@pytest.mark.parametrize("version", VERSIONS)
def test_prose_is_ignored(version: str) -> None:
    document, _ = upstream_diff.read(UPSTREAM / f"zulip-{version}-dev.yaml")
    before = contract(document)
    for seed in range(5):
        other = with_other_prose(copy.deepcopy(document), random.Random(seed))
        assert other != document
        assert contract(other) == before


JUNK_KEYS = [
    *("$ref", "type", "enum", "const", "properties", "items", "required", "allOf", "oneOf"),
    *("parameters", "name", "in", "schema", "content", "application/json", "requestBody"),
    *("responses", "200", "security", "additionalProperties"),
]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(JUNK_KEYS) | st.integers(),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(
    JUNK,
    st.sampled_from(["operation", "schema", "parameters", "body", "answer", "security", "paths"]),
)
def test_junk_is_read_or_rejected(junk: object, where: str) -> None:
    document = around({"$ref": "#/components/schemas/Junk"}, {"Junk": junk})
    operation = document["paths"]["/"]["get"]
    match where:
        case "operation":
            document["paths"]["/"]["get"] = junk
        case "parameters":
            operation["parameters"] = [junk]
        case "body":
            operation["requestBody"] = {"content": {"application/json": junk}}
        case "answer":
            operation["responses"] = {"200": junk}
        case "security":
            document |= {"security": junk, "components": {"securitySchemes": junk}}
        case "paths":
            document["paths"] = {"/": junk}
    try:
        compare(contract(document), contract(around({})))
    except CompareError as error:
        assert "\n" not in str(error)


# What is accepted, and what is not.

ENTRY = {"reason": "So it is.", "differences": ["GET /a: only here"]}


def test_report_lists_reasons() -> None:
    entries = accepted([ENTRY], 0)
    assert report(["GET /a: only here"], entries) == (
        [
            "",
            "So it is.",
            "  GET /a: only here",
            "",
            "1 differences, 0 not explained; 0 explanations of what is not so.",
        ],
        True,
    )


def test_unexplained_difference_fails() -> None:
    lines, well = report(["GET /a: only here", "GET /b: only here"], accepted([ENTRY], 0))
    assert not well
    assert lines[-4:] == [
        "Not explained:",
        "  GET /b: only here",
        "",
        "2 differences, 1 not explained; 0 explanations of what is not so.",
    ]


def test_stale_entry_fails() -> None:
    lines, well = report([], accepted([ENTRY], 0))
    assert not well
    assert lines == [
        "",
        "Explained, but not so:",
        "  GET /a: only here",
        "",
        "0 differences, 0 not explained; 1 explanations of what is not so.",
    ]


def test_no_difference_passes() -> None:
    lines, well = report([], [])
    assert well
    assert lines[-1].startswith("0 differences")


@pytest.mark.parametrize(
    ("limits", "levels"),
    [
        ({}, [0, 5, 9, 99]),
        ({"since": 5}, [5, 9, 99]),
        ({"until": 9}, [0, 5, 9]),
        ({"since": 5, "until": 9}, [5, 9]),
        ({"since": 9, "until": 9}, [9]),
    ],
)
def test_entry_levels(limits: dict[str, int], levels: list[int]) -> None:
    assert [level for level in (0, 5, 9, 99) if accepted([ENTRY | limits], level)] == levels


@pytest.mark.parametrize(
    "entries",
    [
        None,
        {},
        3,
        ["GET /a: only here"],
        [["reason"]],
        [{}],
        [{"reason": "So."}],
        [{"differences": ["GET /a: only here"]}],
        [ENTRY | {"reason": " "}],
        [ENTRY | {"reason": None}],
        [ENTRY | {"differences": []}],
        [ENTRY | {"differences": "GET /a: only here"}],
        [ENTRY | {"differences": [{"GET /a": "only here"}]}],
        [ENTRY | {"since": "5"}],
        [ENTRY | {"until": True}],
        [ENTRY | {"util": 5}],
        [ENTRY | {5: 5}],
    ],
)
def test_invalid_entry(entries: object) -> None:
    with pytest.raises(CompareError, match="an entry is a `reason`"):
        accepted(entries, 0)


def test_difference_explained_once() -> None:
    with pytest.raises(CompareError, match="explained twice: GET /a: only here"):
        accepted([ENTRY, ENTRY | {"until": 5}], 5)
    assert accepted([ENTRY | {"since": 6}, ENTRY | {"until": 5}], 5)


def test_feature_level_is_newest() -> None:
    text = "New in 4.0 (feature level 59).\nOr before (feature\n   level 163), feature level x."
    assert upstream_diff.feature_level(text) == 163
    assert upstream_diff.feature_level("Zulip 2.1") == 0


# The three descriptions.


@pytest.mark.parametrize("version", VERSIONS)
def test_differences_of_upstream(version: str) -> None:
    ours, _ = upstream_diff.load(upstream_diff.OURS)
    theirs, level = upstream_diff.load(UPSTREAM / f"zulip-{version}-dev.yaml", ours)
    assert level == VERSIONS[version]
    expected = (UPSTREAM / f"zulip-{version}-dev.differences.txt").read_text(encoding="utf-8")
    assert "".join(f"{line}\n" for line in compare(theirs, ours)) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_upstream_is_explained(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = UPSTREAM / f"zulip-{version}-dev.yaml"
    assert upstream_diff.main([str(path)]) == 0
    out = capsys.readouterr().out
    head = f"there: {path}, feature level {VERSIONS[version]}\nhere: openapi/zulip-auth.yaml\n"
    assert out.startswith(head)
    assert "Not explained" not in out
    moved = "POST /fetch_api_key: password: in the query there, in the form body here"
    assert (f"\n  {moved}\n" in out) == (version != "10.0")


def test_every_entry_is_used() -> None:
    document, _ = upstream_diff.read(upstream_diff.ACCEPTED)
    assert isinstance(document, list)
    known = {
        line
        for version in VERSIONS
        for line in (UPSTREAM / f"zulip-{version}-dev.differences.txt").read_text().splitlines()
    }
    entries = [Accepted(**entry) for entry in document]
    assert {each for entry in entries for each in entry.differences} == known


def test_move_of_parameters_into_body(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old, new = (str(UPSTREAM / f"zulip-{version}-dev.yaml") for version in ("4.0", "10.0"))
    assert upstream_diff.main(["--ours", new, old]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"there: {old}, feature level 33\nhere: {new}\n")
    for line in (
        "POST /fetch_api_key: username: in the query there, in the form body here",
        "POST /fetch_api_key: password: in the query there, in the form body here",
        "POST /dev_fetch_api_key: username: in the query there, in the form body here",
        "15 differences, 15 not explained; 0 explanations of what is not so.",
    ):
        assert line in out


@pytest.mark.parametrize("name", ["zulip-10.0-dev.yaml", "zulip-auth.yaml"])
def test_description_equals_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = str((UPSTREAM if name.startswith("zulip-1") else ROOT / "openapi") / name)
    assert upstream_diff.main(["--ours", path, path]) == 0
    assert "0 differences" in capsys.readouterr().out


def test_password_in_query_of_new_server_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = (UPSTREAM / "zulip-4.0-dev.yaml").read_text(encoding="utf-8")
    path = tmp_path / "zulip.yaml"
    path.write_text(old + "# New in feature level 400.\n", encoding="utf-8")
    assert upstream_diff.main([str(path)]) == 1
    _, unexplained = capsys.readouterr().out.split("Not explained:\n")
    assert "POST /fetch_api_key: password: in the query there, in the form" in unexplained


def test_stale_entry_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = upstream_diff.ACCEPTED.read_text(encoding="utf-8")
    stale = '\n- reason: It was so.\n  differences: ["GET /users/me: only here"]\n'
    monkeypatch.setattr(upstream_diff, "ACCEPTED", tmp_path / "accepted.yaml")
    upstream_diff.ACCEPTED.write_text(text + stale, encoding="utf-8")
    assert upstream_diff.main([str(UPSTREAM / "zulip-10.0-dev.yaml")]) == 1
    out = capsys.readouterr().out
    assert "Explained, but not so:\n  GET /users/me: only here\n" in out
    assert out.endswith("0 not explained; 1 explanations of what is not so.\n")


# What is no description.

START = "openapi: 3.0.0\npaths:\n  /fetch_api_key:\n    post:\n      "
SCHEMA = START + "responses: {'200': {content: {application/json: {schema: %s}}}}\n"
LAUGHS = "a: &a [1, 2]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefghijkl", "bcdefghijklm", strict=True)
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join(['*' + before] * 9)}]}}\n"
    for before, name in zip("abcdefghijkl", "bcdefghijklm", strict=True)
)
SCHEMA_BOMB = "a: &a {type: string}\n" + "".join(
    f"{name}: &{name} {{properties: {{p: *{before}, q: *{before}, r: *{before}}}}}\n"
    for before, name in zip("abcdefghijkl", "bcdefghijklm", strict=True)
)
REFERENCE_BOMB = "components:\n  schemas:\n    n0: {}\n" + "".join(
    f"    n{number}: {{oneOf: [{', '.join([link] * 3)}]}}\n"
    for number, link in ((n, f"{{$ref: '#/components/schemas/n{n - 1}'}}") for n in range(1, 20))
)
NO_DESCRIPTIONS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "no OpenAPI description: the whole is no mapping"),
    "a sentence": ("I am no YAML, but for that.", "the whole is no mapping"),
    "no YAML": ("a: [b", "no YAML: expected ',' or ']', but got '<stream end>' in line 1"),
    "a tab": ("a:\n\t- b", "no YAML: found character '\\t' that cannot start any token in line 2"),
    "binary": (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "no text in UTF-8"),
    "a NUL": ("a: \0", "no YAML: unacceptable character #x0000"),
    "two documents": ("a: 1\n---\nb: 2\n", "no YAML: but found another document"),
    "a key twice": ("a: 1\na: 2\n", 'no YAML: found duplicate key "a"'),
    "a tag that would run code": ("!!python/object/apply:os.abort []", "no YAML: could not dete"),
    "a date that is none": ("a: 2001-99-99", "no YAML: month must be in 1..12"),
    "a truth that is none": ("a: !!bool foo", "no YAML: 'foo'"),
    "a letter that is none": ('a: "\\U99999999"', "no YAML: "),
    "a key that is none": ("? [[a]]\n: b", "no YAML: unhashable"),
    "another format": ("swagger: '2.0'\npaths: {}\n", "no description in OpenAPI 3"),
    "no paths": ("openapi: 3.0.0\n", "no OpenAPI description: paths is no mapping"),
    "paths of another kind": ("openapi: 3.0.0\npaths: []\n", "paths is no mapping"),
    "deep in the margin": ("".join(" " * n + "a:\n" for n in range(999)), "nested too deeply"),
    "a schema within itself": (SCHEMA % "&a {items: *a}", "nested too deeply"),
    "too large": (b"#" * 5_000_001, "too large: more than 5 MB"),
    "an alias bomb": (LAUGHS + "openapi: *m\n", "no description in OpenAPI 3"),
    "an alias bomb as a type": (LAUGHS + SCHEMA % "{type: *m}", "a type is no text"),
    "an alias bomb as a reference": (LAUGHS + SCHEMA % "{$ref: *m}", "`$ref` is no text"),
    "an alias bomb of schemas": (SCHEMA_BOMB + SCHEMA % "*m", "too large: what is compared"),
    "a bomb of references": (
        REFERENCE_BOMB + SCHEMA % "{$ref: '#/components/schemas/n19'}",
        "too large: what is compared has too many parts",
    ),
    "a bomb of merges": (MERGES, "no YAML: could not determine a constructor for the tag"),
    "a reference to nothing": (
        SCHEMA % "{$ref: '#/components/schemas/None'}",
        "the reference #/components/schemas/None leads to nothing in this file",
    ),
    "a reference to another file": (
        SCHEMA % "{$ref: 'https://example.com/zulip.yaml#/components'}",
        "the reference https://example.com/zulip.yaml#/components leads to nothing in this file",
    ),
    "a reference that is no address": (SCHEMA % "{$ref: 'http://[#/a'}", "leads to nothing"),
    "a reference into a number": ("n: 1\n" + SCHEMA % "{$ref: '#/n/x'}", "leads to nothing"),
    "a reference in a circle": (
        START + "parameters: [{$ref: '#/paths/~1fetch_api_key/post/parameters/0'}]",
        "the reference #/paths/~1fetch_api_key/post/parameters/0 leads back to itself",
    ),
    "a parameter without a name": (START + "parameters: [{in: query}]", "`name` is no text"),
    "parameters of another kind": (START + "parameters: {}", "parameters is no list"),
    "a line of commands": (SCHEMA % '{$ref: "\\e[2J\\n"}', "the reference \\x1b[2J\\n leads to"),
}


@pytest.mark.parametrize(("text", "said"), NO_DESCRIPTIONS.values(), ids=NO_DESCRIPTIONS)
def test_invalid_description(
    text: str | bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "zulip.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert upstream_diff.main([str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"upstream-diff: {path}: ")
    assert said in err


def test_yaml_bomb_outside_compared_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "zulip.yaml"
    path.write_text(LAUGHS + "openapi: 3.0.0\npaths: {}\n", encoding="utf-8")
    assert upstream_diff.main([str(path)]) == 1
    assert "POST /fetch_api_key: only here\n" in capsys.readouterr().out


def test_missing_upstream_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for arguments in ([], [""], [str(tmp_path / "none")], [str(tmp_path)], ["/dev/zero"]):
        assert upstream_diff.main(arguments) == 2
        said.append(capsys.readouterr().err)
    assert said == [
        "upstream-diff: UPSTREAM is not given: which description to compare with?\n",
        "upstream-diff: UPSTREAM is not given: which description to compare with?\n",
        f"upstream-diff: {tmp_path / 'none'}: cannot be read: No such file or directory\n",
        f"upstream-diff: {tmp_path}: cannot be read: Is a directory\n",
        "upstream-diff: /dev/zero: too large: more than 5 MB\n",
    ]


def test_invalid_known_differences_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(upstream_diff, "ACCEPTED", tmp_path / "accepted.yaml")
    upstream_diff.ACCEPTED.write_text("differences: []\n", encoding="utf-8")
    assert upstream_diff.main([str(UPSTREAM / "zulip-10.0-dev.yaml")]) == 2
    assert capsys.readouterr().err.startswith(f"upstream-diff: {upstream_diff.ACCEPTED}: an entry")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([UPSTREAM / "zulip-4.0-dev.yaml"], 0, "password: in the query there, in the form body"),
        (["--ours", UPSTREAM / "zulip-3.0-dev.yaml", UPSTREAM / "zulip-10.0-dev.yaml"], 1, "Not e"),
        (["--", "--ours"], 2, "upstream-diff: --ours: cannot be read: No such file"),
        ([], 2, "upstream-diff: UPSTREAM is not given"),
    ],
)
def test_exit_codes(arguments: list[str | Path], code: int, said: str) -> None:
    command = [sys.executable, "-B", str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, cwd=UPSTREAM, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in (done.stderr if code == 2 else done.stdout)
    assert "Traceback" not in done.stderr
