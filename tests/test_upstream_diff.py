"""The comparison of our description with Zulip's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import upstream_diff
from ruamel.yaml import YAML
from upstream_diff import Contract, KnownDifference, Spec, compare, report

ROOT = Path(__file__).parent.parent
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


def parse(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def contract(text: str) -> Contract:
    return Spec(parse(text)).contract()


def differences(*replacements: tuple[str, str]) -> list[str]:
    """Return the differences if upstream has other texts in place of ours."""
    text = BASE
    for old, new in replacements:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return list(compare(contract(BASE), contract(text)))


def test_differences() -> None:
    """Replace several parts, with each kind of difference."""
    found = differences(
        ("verbose, in: query", "verbose, in: header, required: true"),
        ("username: {type: string}", "username: {type: integer}\n                loud: {}"),
        ("multipart/form-data", "text/plain"),
        ("      required: [name]\n", ""),
        ("        name: {type: string}\n", "        next: {$ref: '#/components/schemas/Device'}\n"),
        ("text/html", "text/plain"),
        ("const: success", "const: ok"),
        ("key: {type: string}", "key: {}"),
        ('owner: {type: [string, "null"]}', "owner: {type: string}"),
        ("enum: [100, 200]", "enum: [100, 200, null]"),
        ("additionalProperties: {type: integer}", "additionalProperties: {type: string}"),
        ("required: [result, key]", "required: [result, key, token]"),
        ("scheme: basic", "scheme: bearer"),
    )
    assert found == [
        f"POST /keys/{{id}}: {line}"
        for line in (
            "200: devices[].name: only here",
            "200: devices[].next: only upstream",
            "200: key: any type, required upstream; string, required here",
            "200: limits.*: string upstream; integer here",
            "200: owner: string upstream; null or string here",
            '200: result: "ok", required upstream; "success", required here',
            "200: role: 100 or 200 or null upstream; 100 or 200 here",
            "200: token: only upstream",
            "404: text/html: only here",
            "404: text/plain: only upstream",
            "authentication: bearer upstream; basic here",
            "request: device: object, text/plain upstream; object, multipart/form-data here",
            "request: device.name: only here",
            "request: device.next: only upstream",
            "request: loud: only upstream",
            "request: username: integer, required, text/plain upstream; string, required, "
            "multipart/form-data here",
            "request: verbose: boolean, required, header upstream; boolean, query here",
        )
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('owner: {type: [string, "null"]}', "owner: {oneOf: [{type: string}, {type: 'null'}]}"),
        ("{enum: [100, 200]}", "{anyOf: [{const: 200}, {const: 100}]}"),
        ("type: object\n                required: [result, key]", "required: [result, key]"),
        ("paths:\n", "paths:\n  /other: {summary: Nothing}\n"),
        ('"404":', "404:"),
    ],
    ids=str,
)
def test_equivalent_schemas(old: str, new: str) -> None:
    """Upstream may have other schemas with the same meaning; it has those of the next tests."""
    assert differences((old, new)) == []


# Operations that a new version of Zulip may have, and whether they are reported.
KEY = "{content: {application/json: {schema: {properties: {api_key: {type: string}}}}}}"


def test_operations_only_upstream() -> None:
    added = {
        "/passkeys/verify": "post: {responses: {}}",
        "/users/me/api_keys": "get: {responses: {}}",
        "/bots/{bot_id}": "patch: {responses: {}}",
        "/enter": "post: {security: [], responses: {}}",
        "/give": f"post: {{responses: {{'200': {KEY}}}}}",
        "/users/me/apns_device_token": "post: {responses: {}}",  # not reported
    }
    lines = "".join(f"  {path}: {{{operation}}}\n" for path, operation in added.items())
    names = ["GET /users/me/api_keys", "PATCH /bots/{bot_id}", "POST /enter", "POST /give"]
    names += ["POST /passkeys/verify"]
    assert differences(("paths:\n", f"paths:\n{lines}")) == [
        f"{name}: only upstream" for name in names
    ]


# ---- Zulip's descriptions, and what explains the differences


@pytest.mark.parametrize("version", LEVELS)
def test_upstream_is_explained(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = UPSTREAM / f"zulip-{version}-dev.yaml"
    assert upstream_diff.main(path) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{path}, feature level {LEVELS[version]}\n")
    assert ("password: string, required, query upstream" in out) == (version in ("3.0", "4.0"))


def test_entries_end_with_their_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One for an old server does not explain the same in a new one; nor is it missed."""
    old = (UPSTREAM / "zulip-4.0-dev.yaml").read_text(encoding="utf-8")
    path = tmp_path / "zulip.yaml"
    new = "# New in feature level 400.\n" + old.replace("/fetch_api_key:", "/passkeys/verify:", 1)
    path.write_text(new, encoding="utf-8")
    assert upstream_diff.main(path) == 1
    _, unexplained = capsys.readouterr().out.split("Not explained:\n")
    assert "POST /dev_fetch_api_key: request: username: string, required, query up" in unexplained
    assert "  POST /passkeys/verify: only upstream\n" in unexplained


def test_report_of_stale_entry() -> None:
    known = KnownDifference("A reason.", ["GET /a: only here"])
    lines, is_ok = report(["GET /b: only here"], [known])
    assert not is_ok
    assert lines == [
        *("", "Not explained:", "  GET /b: only here", ""),
        *("Explained, but not found:", "  GET /a: only here", ""),
        "1 differences, 1 not explained, 1 stale.",
    ]
