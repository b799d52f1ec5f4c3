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
from ruamel.yaml import YAML
from upstream_diff import Contract, KnownDifference, Spec, compare, report

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "upstream_diff.py"
UPSTREAM = ROOT / "tests" / "data" / "upstream"
LEVELS = {"3.0": 18, "4.0": 33, "10.0": 325, "13.0": 492}

BASE = """
openapi: 3.1.0
security: [{key: []}]
paths:
  /keys/{id}:
    post:
      parameters:
        - {name: id, in: path, required: true, schema: {type: integer}}
        - {name: verbose, in: query, schema: {type: boolean}}
      requestBody:
        required: true
        content:
          multipart/form-data:
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
    return YAML(typ="safe", pure=True).load(text)


def contract(text: str) -> Contract:
    return Spec(parse(text)).contract()


def differences(old: str, new: str) -> list[str]:
    """Return the differences if upstream has *new* in place of our *old*."""
    assert BASE.count(old) == 1
    return list(compare(contract(BASE), contract(BASE.replace(old, new))))


# What upstream has in place of ours, and the differences.
DIFFERENCES: dict[str, tuple[str, str, list[str]]] = {
    "path": ("/keys/{id}:", "/key/{id}:", ["only here"]),
    "method": ("    post:", "    put:", ["only here"]),
    "location of a parameter": (
        "verbose, in: query",
        "verbose, in: header",
        ["request: verbose: boolean, header upstream; boolean, query here"],
    ),
    "name of a parameter": (
        "name: verbose",
        "name: loud",
        ["request: loud: only upstream", "request: verbose: only here"],
    ),
    "type of a parameter": (
        "schema: {type: boolean}",
        "schema: {type: integer}",
        ["request: verbose: integer, query upstream; boolean, query here"],
    ),
    "required parameter": (
        "verbose, in: query,",
        "verbose, in: query, required: true,",
        ["request: verbose: boolean, required, query upstream; boolean, query here"],
    ),
    "optional field of the body": (
        "              required: [username]\n",
        "",
        [
            "request: username: string, multipart/form-data upstream; "
            "string, required, multipart/form-data here"
        ],
    ),
    "media type of the body": (
        "multipart/form-data",
        "text/plain",
        [
            "request: device: object, text/plain upstream; object, multipart/form-data here",
            "request: username: string, required, text/plain upstream; "
            "string, required, multipart/form-data here",
        ],
    ),
    "field of a component": (
        "        name: {type: string}\n",
        "        name: {type: string}\n        model: {type: string}\n",
        ["200: devices[].model: only upstream", "request: device.model: only upstream"],
    ),
    "optional field of a component": (
        "      required: [name]\n",
        "",
        [
            "200: devices[].name: string upstream; string, required here",
            "request: device.name: string upstream; string, required here",
        ],
    ),
    "status code": ('"404":', '"410":', ["404: only here", "410: only upstream"]),
    "media type of a response": (
        "text/html",
        "text/plain",
        ["404: text/html: only here", "404: text/plain: only upstream"],
    ),
    "response that is not JSON": (
        "            application/json:",
        "            application/xml:",
        [
            "200: nothing upstream; object here",
            "200: application/xml: only upstream",
            *(f"200: {name}: only here" for name in ("devices", "key", "limits", "owner")),
            *(f"200: {name}: only here" for name in ("result", "role")),
        ],
    ),
    "further object": (
        "                  key: {type: string}",
        "                  key: {type: string}\n                  more: {properties: {a: {}}}",
        ["200: more: only upstream"],
    ),
    "missing field": (
        '                  owner: {type: [string, "null"]}\n',
        "",
        ["200: owner: only here"],
    ),
    "type of a field": (
        "key: {type: string}",
        "key: {type: object}",
        ["200: key: object, required upstream; string, required here"],
    ),
    "field that is never null": (
        'owner: {type: [string, "null"]}',
        "owner: {type: string}",
        ["200: owner: string upstream; null or string here"],
    ),
    "field of any type": (
        "key: {type: string}",
        "key: {}",
        ["200: key: any type, required upstream; string, required here"],
    ),
    "alternatives": (
        "key: {type: string}",
        "key: {anyOf: [{type: string}, {type: integer}, {}]}",
        [
            "200: key: any type or integer or string, required upstream; string, required here",
        ],
    ),
    "constant": (
        "const: success",
        "const: ok",
        ['200: result: "ok", required upstream; "success", required here'],
    ),
    "further constants": (
        "enum: [100, 200]",
        "enum: [100, 200, null]",
        ["200: role: 100 or 200 or null upstream; 100 or 200 here"],
    ),
    "required field without a schema": (
        "required: [result, key]",
        "required: [result, key, token]",
        ["200: token: only upstream"],
    ),
    "type of items": (
        'items: {$ref: "#/components/schemas/Device"}',
        "items: {type: string}",
        ["200: devices[]: string upstream; object here", "200: devices[].name: only here"],
    ),
    "type of values": (
        "additionalProperties: {type: integer}",
        "additionalProperties: {type: string}",
        ["200: limits.*: string upstream; integer here"],
    ),
    "no authentication": (
        "security: [{key: []}]",
        "security: []",
        ["authentication: none upstream; basic here"],
    ),
    "other authentication": (
        "scheme: basic",
        "scheme: bearer",
        ["authentication: bearer upstream; basic here"],
    ),
    "authentication of one operation": (
        "    post:\n",
        "    post:\n      security: []\n",
        ["authentication: none upstream; basic here"],
    ),
    "recursive schema": (
        "properties:\n        name:",
        "properties:\n        next: {$ref: '#/components/schemas/Device'}\n        name:",
        ["200: devices[].next: only upstream", "request: device.next: only upstream"],
    ),
}

# What upstream may have in place of ours with the same meaning.
EQUIVALENT: dict[str, tuple[str, str]] = {
    "nullable": ('owner: {type: [string, "null"]}', "owner: {type: string, nullable: true}"),
    "nullable without a type": (
        'owner: {type: [string, "null"]}',
        'owner: {allOf: [{type: [string, "null"]}, {nullable: true}]}',
    ),
    "null as an alternative": (
        'owner: {type: [string, "null"]}',
        "owner: {oneOf: [{type: string}, {type: 'null'}]}",
    ),
    "enumeration of one value": ("{const: success}", "{type: string, enum: [success]}"),
    "constants as alternatives": ("{enum: [100, 200]}", "{anyOf: [{const: 200}, {const: 100}]}"),
    "base schema": (
        "                type: object\n                required: [result, key]\n",
        "                allOf:\n"
        "                  - type: object\n"
        "                    properties: {result: {type: string}}\n"
        "                  - required: [result, key]\n"
        "                    properties: {result: {enum: [success]}, key: {type: string}}\n"
        "                  - additionalProperties: false\n"
        "                    properties: {result: {}, key: {}}\n",
    ),
    "implied type": (
        "                type: object\n                required: [result, key]",
        "                required: [result, key]",
    ),
    "path-level parameters": (
        "    post:\n",
        "    parameters: [{name: verbose, in: query, schema: {type: string}}]\n    post:\n",
    ),
    "other operation": ("    post:\n", "    delete: {responses: {}}\n    post:\n"),
    "other path": ("paths:\n", "paths:\n  /other: {summary: Nothing}\n"),
    "integer status": ('"404":', "404:"),
    "open schema": (
        "required: [result, key]",
        "additionalProperties: true\n                required: [result, key]",
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_difference(old: str, new: str, expected: list[str]) -> None:
    assert differences(old, new) == [OPERATION + line for line in expected]


@pytest.mark.parametrize(("old", "new"), EQUIVALENT.values(), ids=EQUIVALENT)
def test_equivalent_schemas(old: str, new: str) -> None:
    assert differences(old, new) == []


# Operations that a new version of Zulip may have, and whether they are reported.
KEY = "{content: {application/json: {schema: {properties: {api_key: {type: string}}}}}}"
ADDED: dict[str, tuple[str, str, bool]] = {
    "path of a login": ("POST /passkeys/verify", "{responses: {}}", True),
    "path of keys": ("GET /users/me/api_keys", "{responses: {}}", True),
    "path of bots": ("PATCH /bots/{bot_id}", "{responses: {}}", True),
    "without authentication": ("POST /enter", "{security: [], responses: {}}", True),
    "returns a key": ("POST /enter", f"{{responses: {{'200': {KEY}}}}}", True),
    "another path": ("POST /users/me/apns_device_token", "{responses: {}}", False),
}


@pytest.mark.parametrize(("operation", "text", "is_reported"), ADDED.values(), ids=ADDED)
def test_operation_only_upstream(operation: str, text: str, is_reported: bool) -> None:
    method, path = operation.split()
    added = f"paths:\n  {path}: {{{method.lower()}: {text}}}\n"
    expected = [f"{operation}: only upstream"] if is_reported else []
    assert differences("paths:\n", added) == expected


PROSE: dict[str, Callable[[random.Random], object]] = {
    "description": lambda chance: "word " * chance.randrange(9),
    "summary": lambda chance: "word " * chance.randrange(9),
    "tags": lambda chance: ["tag"] * chance.randrange(3),
    "deprecated": lambda chance: chance.random() < 0.5,
    "example": lambda chance: {"type": chance.random(), "required": 3, "$ref": "nowhere"},
    "title": lambda chance: "A title",
}
KEYWORDS = {"type", "allOf", "responses", "schema", "content", "in"}


def change_prose(part: Any, chance: random.Random) -> Any:
    if isinstance(part, list):
        return [change_prose(item, chance) for item in part]
    if not isinstance(part, dict):
        return part
    changed = {key: change_prose(value, chance) for key, value in part.items() if key not in PROSE}
    if KEYWORDS & part.keys():
        changed |= {key: make(chance) for key, make in PROSE.items() if chance.random() < 0.5}
    return changed


@pytest.mark.parametrize("version", LEVELS)
def test_prose_is_ignored(version: str) -> None:
    document, _ = upstream_diff.load(UPSTREAM / f"zulip-{version}-dev.yaml")
    before = Spec(document).contract()
    for seed in range(5):
        other = change_prose(copy.deepcopy(document), random.Random(seed))
        assert other != document
        assert Spec(other).contract() == before


# ---- Known differences

KNOWN = KnownDifference("A reason.", ["GET /a: only here"])


def test_report() -> None:
    lines, is_ok = report(["GET /a: only here"], [KNOWN])
    assert lines == [
        "",
        "A reason.",
        "  GET /a: only here",
        "",
        "1 differences, 0 not explained, 0 stale.",
    ]
    assert is_ok
    assert report([], [])[1]


def test_unexplained_difference_fails() -> None:
    lines, is_ok = report(["GET /a: only here", "GET /b: only here"], [KNOWN])
    assert not is_ok
    assert lines[-4:-2] == ["Not explained:", "  GET /b: only here"]
    assert lines[-1] == "2 differences, 1 not explained, 0 stale."


def test_stale_entry_fails() -> None:
    lines, is_ok = report([], [KNOWN])
    assert not is_ok
    assert lines[-4:-2] == ["Explained, but not found:", "  GET /a: only here"]
    assert lines[-1] == "0 differences, 0 not explained, 1 stale."


def test_feature_level_is_newest() -> None:
    text = "New in 4.0 (feature level 59).\nOr before (feature\n   level 163), feature level x."
    assert upstream_diff.feature_level(text) == 163
    assert upstream_diff.feature_level("Zulip 2.1") == 0


# ---- Zulip's descriptions


@pytest.mark.parametrize("version", LEVELS)
def test_differences_of_upstream(version: str) -> None:
    found, level = upstream_diff.diff(UPSTREAM / f"zulip-{version}-dev.yaml")
    assert level == LEVELS[version]
    expected = (UPSTREAM / f"zulip-{version}-dev.differences.txt").read_text(encoding="utf-8")
    assert "".join(f"{line}\n" for line in found) == expected, "run `make upstream-differences`"


@pytest.mark.parametrize("version", LEVELS)
def test_upstream_is_explained(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = UPSTREAM / f"zulip-{version}-dev.yaml"
    assert upstream_diff.main([str(path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{path}, feature level {LEVELS[version]}\n")
    assert ("password: string, required, query upstream" in out) == (version in ("3.0", "4.0"))


def test_made_up_login_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "zulip.yaml"
    text = (UPSTREAM / "zulip-13.0-dev.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace("\n  /fetch_api_key:", "\n  /passkeys/verify:", 1))
    assert upstream_diff.main([str(path)]) == 1
    _, unexplained = capsys.readouterr().out.split("Not explained:\n")
    assert "  POST /passkeys/verify: only upstream\n" in unexplained


def test_every_entry_is_used() -> None:
    found = {line for path in UPSTREAM.glob("*.yaml") for line in upstream_diff.diff(path)[0]}
    entries = [KnownDifference(**entry) for entry in upstream_diff.load(upstream_diff.KNOWN)[0]]
    listed = [line for entry in entries for line in entry.differences]
    assert sorted(listed) == sorted(found)


def test_move_of_parameters_into_body(capsys: pytest.CaptureFixture[str]) -> None:
    old, new = (str(UPSTREAM / f"zulip-{version}-dev.yaml") for version in ("4.0", "10.0"))
    assert upstream_diff.main(["--ours", new, old]) == 1
    out = capsys.readouterr().out
    for name in ("fetch_api_key: request: username", "fetch_api_key: request: password"):
        assert f"POST /{name}: string, required, query upstream; string, required, app" in out
    assert out.endswith("15 differences, 15 not explained, 0 stale.\n")


@pytest.mark.parametrize("path", [UPSTREAM / "zulip-10.0-dev.yaml", upstream_diff.OURS])
def test_description_equals_itself(path: Path) -> None:
    assert upstream_diff.diff(path, path)[0] == []


def test_password_in_query_of_new_server_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = (UPSTREAM / "zulip-4.0-dev.yaml").read_text(encoding="utf-8")
    path = tmp_path / "zulip.yaml"
    path.write_text(old + "# New in feature level 400.\n", encoding="utf-8")
    assert upstream_diff.main([str(path)]) == 1
    _, unexplained = capsys.readouterr().out.split("Not explained:\n")
    assert "POST /fetch_api_key: request: password: string, required, query up" in unexplained


def test_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_diff, "RECORDED", tmp_path)
    name = "zulip-4.0-dev"
    (tmp_path / f"{name}.yaml").write_bytes((UPSTREAM / f"{name}.yaml").read_bytes())
    assert upstream_diff.main(["--write"]) == 0
    written = (tmp_path / f"{name}.differences.txt").read_bytes()
    assert written == (UPSTREAM / f"{name}.differences.txt").read_bytes()


# ---- Invalid files

INVALID: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "TypeError"),
    "invalid YAML": ("a: [b", "expected ',' or ']'"),
    "binary": (b"\x7fELF\xff", "UnicodeDecodeError"),
    "YAML tag with code": ("!!python/object/apply:os.abort []", "ConstructorError"),
    "Swagger 2": ("swagger: '2.0'\npaths: {}\n", "KeyError: 'openapi'"),
    "other version": ("openapi: 4.0.0\npaths: {}\n", "not an OpenAPI 3 description"),
    "no paths": ("openapi: 3.0.0\n", "KeyError: 'paths'"),
    "list of paths": ("openapi: 3.0.0\npaths: []\n", "AttributeError"),
    "deep nesting": ("".join(" " * n + "a:\n" for n in range(999)), "RecursionError"),
    "reference to nothing": (BASE.replace("schemas/Device", "schemas/None"), "KeyError: 'None'"),
    "reference to another file": (BASE.replace("#/", "other.yaml#/"), "leads to another file"),
}


@pytest.mark.parametrize(("text", "message"), INVALID.values(), ids=INVALID)
def test_invalid_description(
    text: str | bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "zulip.yaml"
    text = text.replace("/keys/{id}", "/users/me") if isinstance(text, str) else text
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SystemExit) as caught:
        upstream_diff.main([str(path)])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"upstream-diff: {path}: ")
    assert message in err


def test_invalid_known_differences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(upstream_diff, "KNOWN", tmp_path / "known.yaml")
    upstream_diff.KNOWN.write_text("[{reason: x, differences: [], util: 5}]", encoding="utf-8")
    with pytest.raises(SystemExit):
        upstream_diff.main([str(UPSTREAM / "zulip-10.0-dev.yaml")])
    assert "unexpected keyword argument 'util'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([UPSTREAM / "zulip-4.0-dev.yaml"], 0, "password: string, required, query upstream"),
        (["--ours", UPSTREAM / "zulip-3.0-dev.yaml", UPSTREAM / "zulip-10.0-dev.yaml"], 1, "Not e"),
        (["--", "--ours"], 2, "upstream-diff: --ours: FileNotFoundError"),
        ([""], 2, "upstream-diff: .: IsADirectoryError"),
        ([], 2, "UPSTREAM is required"),
    ],
)
def test_exit_codes(arguments: list[str | Path], code: int, message: str) -> None:
    command = [sys.executable, "-B", str(SCRIPT), *map(str, arguments)]
    result = subprocess.run(command, cwd=UPSTREAM, capture_output=True, text=True, check=False)
    assert result.returncode == code
    assert message in (result.stderr if code == 2 else result.stdout)
    assert "Traceback" not in result.stderr
