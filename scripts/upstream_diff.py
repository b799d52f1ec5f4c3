"""Compare the contract of our OpenAPI description with that of Zulip's own (`make upstream-diff`).

Fail if openapi/known-differences.yaml does not explain every difference, or explains one that
is not there.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
OURS = ROOT / "openapi" / "zulip-auth.yaml"
KNOWN = ROOT / "openapi" / "known-differences.yaml"
# Paths of operations that log in, or have to do with API keys or bots.
RELEVANT_RE = re.compile(
    r"api_key|auth|\bbots?\b|\bjwt\b|log_?in|pass(key|word)|session|sign_?in|\bsso\b|\btokens?\b"
)

Types = frozenset[str] | None  # None for any type


@dataclass(frozen=True)
class Field:
    """The constraints of one place in a request or a response."""

    types: Types = None
    required: bool = False
    location: str = ""  # of a parameter

    def __str__(self) -> str:
        types = "any type" if self.types is None else " or ".join(sorted(self.types)) or "nothing"
        return ", ".join(filter(None, [types, "required" * self.required, self.location]))


Key = tuple[str, ...]  # "request" or a status code, and the path to the field
Fields = dict[Key, Field]
Contract = dict[str, Fields]  # by operation, such as `GET /users/me`


def intersect(one: Fields, other: Fields) -> Fields:
    """Return the fields of a value that matches both schemas (`allOf`)."""
    fields = one | other
    for key in one.keys() & other.keys():
        a, b = one[key], other[key]
        types = a.types & b.types if a.types and b.types else a.types
        fields[key] = Field(types or b.types, a.required or b.required)
    return fields


class Spec:
    """An OpenAPI description with its references resolved."""

    def __init__(self, document: Any) -> None:
        if not str(document["openapi"]).startswith("3."):
            raise ValueError("not an OpenAPI 3 description")
        self._document = document

    def contract(self) -> Contract:
        """Return the fields of each operation."""
        return {
            f"{method.upper()} {path}": self._operation(item, operation)
            for path, item in self._document["paths"].items()
            for method, operation in item.items()
            if "responses" in operation
        }

    def _operation(self, item: Any, operation: Any) -> Fields:
        fields: Fields = {("authentication",): Field(self._authentication(operation))}
        for part in [*item.get("parameters", []), *operation.get("parameters", [])]:
            parameter = self._resolve(part)
            types, required = self._types(parameter.get("schema", {})), parameter.get("required")
            fields["request", parameter["name"]] = Field(types, bool(required), parameter["in"])
        body = self._resolve(operation.get("requestBody", {}))
        for media, content in body.get("content", {}).items():
            for path, field in self._fields(content["schema"]).items():
                if path:
                    location = "" if path[1:] else media
                    fields["request", *path] = replace(field, location=location)
        for status, part in operation["responses"].items():
            fields[str(status),] = Field(frozenset())
            for media, content in self._resolve(part).get("content", {}).items():
                start = (str(status),) if media == "application/json" else (str(status), media)
                found = self._fields(content.get("schema", {}))
                fields |= {(*start, *path): field for path, field in found.items()}
        return fields

    def _authentication(self, operation: Any) -> frozenset[str]:
        schemes = self._document.get("components", {}).get("securitySchemes", {})
        # Zulip's description requires `basicAuth` and defines `BasicAuth`.
        by_name = {name.lower(): scheme for name, scheme in schemes.items()}
        required = operation.get("security", self._document.get("security", []))
        names = {by_name[name.lower()]["scheme"] for option in required for name in option}
        return frozenset(names or {"none"})

    def _fields(self, schema: Any, seen: Key = ()) -> Fields:
        """Return the fields of a schema, by their paths, without those of alternatives."""
        reference = schema.get("$ref")
        if reference in seen:  # a recursive schema
            return {(): Field()}
        if reference:
            seen = (*seen, reference)
            schema = self._resolve(schema)
        fields: Fields = {(): Field(self._types(schema))}
        children = dict(schema.get("properties", {}))
        if "items" in schema:
            children["[]"] = schema["items"]
        if isinstance(schema.get("additionalProperties"), dict):
            children["*"] = schema["additionalProperties"]
        for name, child in children.items():
            fields |= {(str(name), *path): f for path, f in self._fields(child, seen).items()}
        for name in schema.get("required", []):
            fields[name,] = replace(fields.get((name,), Field()), required=True)
        for part in schema.get("allOf", []):
            fields = intersect(fields, self._fields(part, seen))
        if options := schema.get("oneOf", []) + schema.get("anyOf", []):
            types = (self._fields(option, seen)[()].types or {"any type"} for option in options)
            fields[()] = Field(frozenset().union(*types))
        return fields

    def _types(self, schema: Any) -> Types:
        """Return the types, or the constants, that a schema itself allows."""
        if "const" in schema or "enum" in schema:
            values = schema.get("enum", [schema.get("const")])
            return frozenset(map(json.dumps, values))
        types = schema.get("type", ["object"] if "properties" in schema else [])
        names = frozenset([types] if isinstance(types, str) else types)
        if names and schema.get("nullable"):  # which means nothing without a type
            names |= {"null"}
        return names or None

    def _resolve(self, node: Any) -> Any:
        while "$ref" in node:
            reference, node = node["$ref"], self._document
            if not reference.startswith("#/"):
                raise ValueError(f"the reference {reference} leads to another file")
            for part in reference[2:].split("/"):
                node = node[part.replace("~1", "/").replace("~0", "~")]
        return node


def is_relevant(operation: str, fields: Fields) -> bool:
    """Return whether an operation logs in, or has to do with API keys or bots."""
    return bool(
        RELEVANT_RE.search(operation)
        or fields["authentication",].types == frozenset({"none"})
        or ("200", "api_key") in fields
    )


def compare(ours: Contract, upstream: Contract) -> Iterator[str]:
    """Yield each difference between our operations and upstream's."""
    for operation in sorted({*ours, *upstream}):
        if operation not in upstream:
            yield f"{operation}: only here"
            continue
        if operation not in ours:
            if is_relevant(operation, upstream[operation]):
                yield f"{operation}: only upstream"
            continue
        here, there = ours[operation], upstream[operation]
        for key in sorted({*here, *there}):
            name = ".".join(key[1:]).replace(".[]", "[]")
            title = ": ".join(filter(None, [operation, key[0], name]))
            if key in here and key in there:
                if here[key] != there[key]:
                    yield f"{title}: {there[key]} upstream; {here[key]} here"
            elif (key[:-1] in here) == (key[:-1] in there):  # else the parent is reported
                yield f"{title}: only {'here' if key in here else 'upstream'}"


@dataclass(frozen=True)
class KnownDifference:
    """Intended differences, for descriptions of a range of feature levels."""

    reason: str
    differences: list[str]
    since: int = 0
    until: int = sys.maxsize


def feature_level(text: str) -> int:
    """Return the newest feature level that a description names.

    Its `info.version` is always 1.0.0, but it notes each change with its level.
    """
    return max(map(int, re.findall(r"feature\s+level\s+(\d{1,6})", text)), default=0)


def load(path: Path) -> tuple[Any, str]:
    """Return the content of a YAML file, and its text."""
    text = path.read_text(encoding="utf-8")
    return YAML(typ="safe", pure=True).load(text), text


def diff(upstream: Path, ours: Path = OURS) -> tuple[list[str], int]:
    """Return the differences, and the feature level of the upstream description."""
    document, text = load(upstream)
    contract = Spec(load(ours)[0]).contract()
    return list(compare(contract, Spec(document).contract())), feature_level(text)


def report(differences: list[str], known: list[KnownDifference]) -> tuple[list[str], bool]:
    """Return the lines of the report, and whether all differences are explained."""
    lines = []
    for entry in known:
        if explained := [line for line in entry.differences if line in differences]:
            lines += ["", *textwrap.wrap(entry.reason, 80), *(f"  {line}" for line in explained)]
    listed = [line for entry in known for line in entry.differences]
    unexplained = [line for line in differences if line not in listed]
    stale = [line for line in listed if line not in differences]
    for title, rest in (("Not explained:", unexplained), ("Explained, but not found:", stale)):
        if rest:
            lines += ["", title, *(f"  {line}" for line in rest)]
    counts = f"{len(differences)} differences, {len(unexplained)} not explained, {len(stale)} stale"
    return [*lines, "", f"{counts}."], not (unexplained or stale)


def main(upstream: Path) -> int:
    differences, level = diff(upstream)
    known = [KnownDifference(**entry) for entry in load(KNOWN)[0]]
    current = [entry for entry in known if entry.since <= level <= entry.until]
    lines, is_explained = report(differences, current)
    print(f"{upstream}, feature level {level}", *lines, sep="\n")
    return 0 if is_explained else 1


if __name__ == "__main__":
    if not "".join(sys.argv[1:]):
        sys.exit("UPSTREAM is required: make upstream-diff UPSTREAM=path/to/zulip.yaml")
    sys.exit(main(Path(sys.argv[1])))
