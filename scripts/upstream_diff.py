"""Compare the contract of our description with that of Zulip's own (`make upstream-diff`).

Exit codes: 0 where every difference is explained in openapi/known-differences.yaml,
1 where one is not or an explanation explains nothing, 2 where nothing can be compared.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError

ROOT = Path(__file__).resolve().parent.parent
OURS = ROOT / "openapi" / "zulip-auth.yaml"
ACCEPTED = ROOT / "openapi" / "known-differences.yaml"
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
FORMS = {"application/x-www-form-urlencoded": "form body", "multipart/form-data": "multipart body"}
# Zulip's description of 10.0 has 1.2 MB, and what is compared of it has 131 schemas.
MOST_BYTES = 5_000_000
MOST_SCHEMAS = 20_000
ENTRY = "an entry is a `reason`, a list of `differences`, and may have levels `since` and `until`"

# Where something stands: what it belongs to ("" for what a request brings, "answer 200"
# and so on), then the way to it.
Key = tuple[str, ...]


class CompareError(Exception):
    """Nothing can be compared, or not all of it."""


@dataclass(frozen=True)
class Field:
    """What may stand in one place of a request or an answer; None allows anything."""

    types: frozenset[str] | None = None
    values: frozenset[str] | None = None
    required: bool = False
    place: str = ""

    def kind(self) -> str:
        """Return in words which values are allowed."""
        allowed = self.types if self.values is None else self.values
        return "anything" if allowed is None else " or ".join(sorted(allowed)) or "nothing"


Fields = dict[Key, Field]
Contract = dict[tuple[str, str], Fields]  # by path and method
Part = Mapping[Any, Any]  # of a description, just as it was read


def both(one: Fields, other: Fields) -> Fields:
    """Return what holds of a value that two schemas allow (`allOf`)."""

    def meet(these: frozenset[str] | None, those: frozenset[str] | None) -> frozenset[str] | None:
        return those if these is None else these if those is None else these & those

    met = one | other
    for key in one.keys() & other.keys():
        a, b = one[key], other[key]
        types, values = meet(a.types, b.types), meet(a.values, b.values)
        met[key] = Field(types, values, required=a.required or b.required)
    return met


def either(one: Fields, other: Fields) -> Fields:
    """Return what holds of a value that one of two schemas allows (`oneOf`, `anyOf`)."""

    def join(these: frozenset[str] | None, those: frozenset[str] | None) -> frozenset[str] | None:
        return None if these is None or those is None else these | those

    joined = {key: replace(field, required=False) for key, field in (one | other).items()}
    for key in one.keys() & other.keys():
        a, b = one[key], other[key]
        types, values = join(a.types, b.types), join(a.values, b.values)
        joined[key] = Field(types, values, required=a.required and b.required)
    return joined


class Description:
    """An OpenAPI description, of which single operations are read, references followed."""

    def __init__(self, document: object, uri: str = "") -> None:
        self._document = mapping(document, "the whole")
        version = self._document.get("openapi")
        if not isinstance(version, str) or not version.startswith("3."):
            raise CompareError("no description in OpenAPI 3")
        self._resolver = Registry[Any]().with_resource(uri, Resource.opaque(document)).resolver(uri)
        self._schemas = 0

    def contract(self, wanted: Contract | None = None) -> Contract:
        """Return every operation, or those of the wanted paths.

        Of the latter, an operation that is not wanted itself is named only.
        """
        found: Contract = {}
        for path, part in mapping(self._document.get("paths"), "paths").items():
            if not isinstance(path, str) or not path.startswith("/"):
                continue
            if wanted is not None and all(path != other for other, _ in wanted):
                continue
            item = self._follow(part)
            for method in sorted(METHODS & item.keys()):
                compared = wanted is None or (path, method) in wanted
                found[path, method] = self._operation(item, method) if compared else {}
        return found

    def _operation(self, item: Part, method: str) -> Fields:
        operation = mapping(item[method], method)
        ways = self._authentication(operation)
        found: Fields = {("authentication",): Field(types=ways)}
        for key, field in self._inputs(item, operation):
            if key in found:  # in the query and in the body, say
                places = " and ".join(sorted({found[key].place, field.place}))
                found[key] = replace(either({key: found[key]}, {key: field})[key], place=places)
            else:
                found[key] = field
        return found | self._success(operation)

    def _authentication(self, operation: Part) -> frozenset[str]:
        """Return each way in which a request may authenticate."""
        components = mapping(self._document.get("components", {}), "components")
        schemes = mapping(components.get("securitySchemes", {}), "securitySchemes")
        # Zulip's description asks for `basicAuth` and defines `BasicAuth`.
        named = {word(name, "a name").lower(): scheme for name, scheme in schemes.items()}
        ways = set()
        asked = operation.get("security", self._document.get("security", []))
        for names in sequence(asked, "security"):
            kinds = []
            for name in mapping(names, "security"):
                scheme = self._follow(named.get(word(name, "a name").lower(), {"type": name}))
                kinds.append(word(scheme.get("scheme", scheme.get("type")), "a type").lower())
            ways.add(" with ".join(sorted(kinds)) or "none")
        return frozenset(ways or {"none"})

    def _inputs(self, item: Part, operation: Part) -> Iterator[tuple[Key, Field]]:
        """Give what a request brings: parameters, and the fields of its body."""
        parameters = {}
        for level in (item, operation):  # the latter replaces what it repeats of the former
            for part in sequence(level.get("parameters", []), "parameters"):
                parameter = self._follow(part)
                name, place = (word(parameter.get(key), f"`{key}`") for key in ("name", "in"))
                parameters[name, place] = parameter
        for (name, place), parameter in parameters.items():
            schema, how = parameter.get("schema", {}), ""
            for media, content in mapping(parameter.get("content", {}), "content").items():
                schema, how = mapping(content, "content").get("schema", {}), f" as {media}"
            for path, field in self._fields(schema).items():
                required = field.required if path else parameter.get("required") is True
                yield ("", name, *path), replace(field, required=required, place=place + how)
        body = self._follow(operation.get("requestBody", {}))
        for media, content in mapping(body.get("content", {}), "content").items():
            place = FORMS.get(media, f"{media} body")
            fields = self._fields(mapping(content, "content").get("schema", {}))
            # An object's fields are what is brought; another body is one thing by itself.
            whole = fields.pop(())
            if whole.types != frozenset({"object"}):
                fields["(body)",] = replace(whole, required=True)
            for path, field in fields.items():
                needed = field.required and (len(path) > 1 or body.get("required") is True)
                yield ("", *path), replace(field, required=needed, place=place)

    def _success(self, operation: Part) -> Fields:
        """Return what the server answers: statuses, and the fields of each."""
        found: Fields = {}
        for status, part in mapping(operation.get("responses", {}), "responses").items():
            answer = f"answer {word(status, 'a status')}"
            if answer.startswith("answer x-"):
                continue
            found[answer,] = Field(types=frozenset({"no JSON"}))
            content = mapping(self._follow(part).get("content", {}), "content")
            for media, body in content.items():
                start = (answer,) if media == "application/json" else (answer, f"({media})")
                fields = self._fields(mapping(body, "content").get("schema", {}))
                found |= {(*start, *path): field for path, field in fields.items()}
        return found

    def _fields(self, schema: object, within: tuple[str, ...] = ()) -> Fields:
        """Return what a schema allows in each place of a value, by the way to the place.

        What is compared of a schema is `type`, `nullable`, `enum`, `const`, `properties`,
        `required`, `items`, `additionalProperties` where it is a schema, and what `$ref`,
        `allOf`, `oneOf` and `anyOf` add to these.
        """
        self._schemas += 1
        if self._schemas > MOST_SCHEMAS:
            raise CompareError("too large: what is compared has too many parts")
        if isinstance(schema, bool):
            return {(): Field(types=None if schema else frozenset())}
        schema = mapping(schema, "schema")
        found: Fields = {(): own(schema)}
        properties = mapping(schema.get("properties", {}), "properties")
        parts = [(word(name, "a name"), part) for name, part in properties.items()]
        if "items" in schema:
            parts.append(("[]", schema["items"]))
        if not isinstance(schema.get("additionalProperties", True), bool):
            parts.append(("*", schema["additionalProperties"]))
        for name, part in parts:
            found |= {(name, *path): field for path, field in self._fields(part, within).items()}
        for name in sequence(schema.get("required", []), "required"):
            key = (word(name, "a name"),)
            found[key] = replace(found.get(key, Field()), required=True)
        reference = word(schema.get("$ref", ""), "`$ref`")
        if reference and reference not in within:  # else the schema is recursive
            target = self._lookup(reference)
            found = both(found, self._fields(target, (*within, reference)))
        for part in sequence(schema.get("allOf", []), "allOf"):
            found = both(found, self._fields(part, within))
        for choice in ("oneOf", "anyOf"):
            options = [
                self._fields(part, within) for part in sequence(schema.get(choice, []), choice)
            ]
            if options:
                found = both(found, reduce(either, options))
        return found

    def _follow(self, part: object) -> Part:
        """Return a part of the description, or what stands at the end of its references."""
        seen = set()
        while isinstance(part, dict) and "$ref" in part:
            reference = word(part["$ref"], "`$ref`")
            if reference in seen:
                raise CompareError(f"the reference {reference} leads back to itself")
            seen.add(reference)
            part = self._lookup(reference)
        return mapping(part, "what an operation consists of")

    def _lookup(self, reference: str) -> object:
        """Return what a reference points to in this file; no other file is ever read."""
        try:
            return self._resolver.lookup(reference).contents
        except (Unresolvable, ValueError, TypeError):
            raise CompareError(f"the reference {reference} leads to nothing in this file") from None


def own(schema: Part) -> Field:
    """Return what a schema says of the value itself, without its parts."""
    types: frozenset[str] | None = None
    if "type" in schema:
        given = schema["type"]
        given = given if isinstance(given, list) else [given]
        types = frozenset(word(each, "a type") for each in given)
        if schema.get("nullable") is True:  # how OpenAPI 3.0 says it
            types |= {"null"}
    elif "properties" in schema:
        types = frozenset({"object"})
    elif "items" in schema:
        types = frozenset({"array"})
    if "const" in schema:
        return Field(types, frozenset({plain(schema["const"])}))
    if "enum" in schema:
        return Field(types, frozenset(map(plain, sequence(schema["enum"], "enum"))))
    return Field(types)


def plain(value: object) -> str:
    """Return a value as JSON where it is a plain one."""
    scalar = value is None or isinstance(value, str | int | float)
    return json.dumps(value) if scalar else type(value).__name__


def word(value: object, name: str) -> str:
    # Nothing else is made a text of: a few lines of YAML can stand for more than fits anywhere.
    if not isinstance(value, str | int | float):
        raise CompareError(f"no OpenAPI description: {name} is no text")
    return str(value)


def mapping(value: object, name: str) -> Part:
    if not isinstance(value, dict):
        raise CompareError(f"no OpenAPI description: {name} is no mapping")
    return value


def sequence(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise CompareError(f"no OpenAPI description: {name} is no list")
    return value


def compare(theirs: Contract, ours: Contract) -> list[str]:
    """Return in words how each of our operations differs from theirs."""
    found = []
    for path, method in sorted(ours):
        operation = f"{method.upper()} {path}"
        if (path, method) in theirs:
            words = compare_fields(theirs[path, method], ours[path, method])
            found += [f"{operation}: {each}" for each in words]
        else:
            others = sorted(other.upper() for where, other in theirs if where == path)
            found.append(f"{operation}: only here" + "".join(f", {each} there" for each in others))
    return [visible(difference) for difference in found]


def compare_fields(theirs: Fields, ours: Fields) -> Iterator[str]:
    for key in sorted({*theirs, *ours}):
        way = ".".join(key[1:]).replace(".[]", "[]")
        name = ": ".join(part for part in (key[0], way) if part)
        there, here = theirs.get(key), ours.get(key)
        if there and here:
            if there.place != here.place:
                yield f"{name}: in the {there.place} there, in the {here.place} here"
            if there.kind() != here.kind():
                yield f"{name}: {there.kind()} there, {here.kind()} here"
            if there.required != here.required:
                need = ("optional", "required")
                yield f"{name}: {need[there.required]} there, {need[here.required]} here"
        elif (key[:-1] in theirs) == (key[:-1] in ours):  # else its parent has been reported
            field = there or here or Field()
            words = ["only there" if there else "only here"]
            words += [f"in the {field.place}"] if field.place else []
            words += ["required"] if field.required else []
            yield f"{name}: {', '.join(words)}"


def visible(text: str) -> str:
    """Write out what a terminal would not show, or would obey."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


@dataclass(frozen=True)
class Accepted:
    """Differences that are as they should be, with the reason."""

    reason: str
    differences: list[str]
    since: int = 0
    until: int = sys.maxsize

    def __post_init__(self) -> None:
        texts = [self.reason, *self.differences] if isinstance(self.differences, list) else []
        levels = (self.since, self.until)
        worded = all(isinstance(text, str) and text.strip() for text in texts)
        if len(texts) < 2 or not worded or not all(type(level) is int for level in levels):
            raise CompareError(ENTRY)


def accepted(document: object, level: int) -> list[Accepted]:
    """Return the entries of the file of accepted differences that hold for a feature level."""
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        raise CompareError(ENTRY)
    try:
        entries = [Accepted(**entry) for entry in document]
    except TypeError:  # other keys, or not all of them
        raise CompareError(ENTRY) from None
    entries = [entry for entry in entries if entry.since <= level <= entry.until]
    explained = [difference for entry in entries for difference in entry.differences]
    for difference in explained:
        if explained.count(difference) > 1:
            raise CompareError(f"explained twice: {difference}")
    return entries


def feature_level(text: str) -> int:
    """Return the newest feature level that a description names.

    Nothing else in Zulip's descriptions tells one from another: their `info.version`
    is always 1.0.0. Each change is noted in them with its feature level, and the
    numbers only rise.
    """
    return max(map(int, re.findall(r"feature\s+level\s+(\d{1,6})", text)), default=0)


class Constructor(SafeConstructor):
    """What makes plain values of YAML."""

    def flatten_mapping(self, node: Any) -> Any:
        """Leave merge keys (`<<`) unknown: a few lines of them can fill the memory."""


def read(path: Path) -> tuple[object, str]:
    """Return what a YAML file holds, and its text."""
    loader = YAML(typ="safe", pure=True)
    loader.Constructor = Constructor
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise CompareError(f"too large: more than {MOST_BYTES // 1_000_000} MB")
        text = content.decode("utf-8")
        return loader.load(text), text
    except OSError as error:
        raise CompareError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CompareError("no text in UTF-8") from None
    except MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise CompareError(f"no YAML: {error.problem}{line}") from None
    # The rest is what the loader lets through of dates, numbers, letters and keys that are none.
    except (YAMLError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise CompareError(f"no YAML: {str(error).splitlines()[0]}") from None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the name of the file before what is wrong with it."""
    try:
        yield
    except CompareError as error:
        raise CompareError(f"{path}: {error}") from None
    except RecursionError:
        raise CompareError(f"{path}: nested too deeply") from None


def load(path: Path, wanted: Contract | None = None) -> tuple[Contract, int]:
    """Return what a description promises, and its feature level."""
    with naming(path):
        document, text = read(path)
        description = Description(document, path.absolute().as_uri())
        return description.contract(wanted), feature_level(text)


def report(differences: list[str], entries: list[Accepted]) -> tuple[list[str], bool]:
    """Return the lines of the report, and whether all is well."""
    lines = [""]
    for entry in entries:
        explained = [each for each in entry.differences if each in differences]
        if explained:
            lines += [*textwrap.wrap(entry.reason, 80), *(f"  {each}" for each in explained), ""]
    listed = [each for entry in entries for each in entry.differences]
    unexplained = [each for each in differences if each not in listed]
    stale = [each for each in listed if each not in differences]
    for title, listed in (("Not explained:", unexplained), ("Explained, but not so:", stale)):
        if listed:
            lines += [title, *(f"  {each}" for each in listed), ""]
    lines.append(
        f"{len(differences)} differences, {len(unexplained)} not explained; "
        f"{len(stale)} explanations of what is not so."
    )
    return lines, not unexplained and not stale


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream", nargs="?", default="", metavar="UPSTREAM")
    parser.add_argument("--ours", type=Path, metavar="FILE", help="compare this one, bare")
    options = parser.parse_args(arguments)
    try:
        if not options.upstream:
            raise CompareError("UPSTREAM is not given: which description to compare with?")
        upstream = Path(options.upstream)
        ours, _ = load(options.ours or OURS)
        theirs, level = load(upstream, ours)
        # What is accepted is accepted of our own description, not of another.
        with naming(ACCEPTED):
            entries = [] if options.ours else accepted(read(ACCEPTED)[0], level)
    except CompareError as error:
        print(visible(f"upstream-diff: {error}"), file=sys.stderr)
        return 2
    lines, well = report(compare(theirs, ours), entries)
    print(visible(f"there: {upstream}, feature level {level}"))
    print(visible(f"here: {options.ours or OURS.relative_to(ROOT)}"), *lines, sep="\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
