"""The expected result of every recorded exchange, and the table of it in docs/servers.md."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from attrs import frozen

import zulip_auth
from helpers.recordings import LEVELS, Exchange, load_level, load_servers

DATA = Path(__file__).parent.parent / "data" / "server_cases.toml"
PAGE = Path(__file__).parents[2] / "docs" / "servers.md"
BEGIN, END = "<!-- begin: written by `make servers` -->", "<!-- end -->"

Expected = type[Any] | None  # None for a success
FIRST = LEVELS[0]


@frozen
class Case:
    """Exchanges with the same meaning on all servers.

    Attributes:
        names: The names of the recorded exchanges.
        expected: The class of the exception, by the first feature level with it.
    """

    names: tuple[str, ...]
    expected: Mapping[int, Expected]

    def expected_at(self, level: int) -> Expected:
        return self.expected[max(since for since in self.expected if since <= level)]


def _case(names: str, errors: str | dict[str, str]) -> Case:
    """Return a case; an empty name of an error is a success."""
    by_level = {str(FIRST): errors} if isinstance(errors, str) else errors
    expected = {
        int(level): getattr(zulip_auth, name) if name else None for level, name in by_level.items()
    }
    return Case(tuple(filter(None, re.split(r" \| |\n", names))), expected)


_METHODS = tomllib.loads(DATA.read_text(encoding="utf-8"))
NOT_CALLED: list[str] = [name for names in _METHODS.pop("not-called").values() for name in names]
"""Beginnings of the names of exchanges without a method of the library."""

CASES: dict[str, dict[str, Case]] = {
    method: {
        title: _case(case["exchanges"], case.get("error", "")) for title, case in cases.items()
    }
    for method, cases in _METHODS.items()
}
"""By method, and by the title in the documentation."""


def find_case(exchange: Exchange) -> tuple[str, str, Case] | None:
    """Return the method, the title and the case of an exchange, or None if not called."""
    for method, cases in CASES.items():
        for title, entry in cases.items():
            if exchange.name in entry.names:
                return method, title, entry
    assert exchange.name.startswith(tuple(NOT_CALLED)), exchange.name
    return None


def summarize(exchange: Exchange) -> str:
    """Return the status of a response, and its code, reason or message."""
    if exchange.status == 302:
        return f"302 to `{exchange.headers['location'].partition('?')[0]}`"
    try:
        body = exchange.json()
    except ValueError:
        return f"{exchange.status}, {'web page' if exchange.body else 'empty'}"
    if exchange.status == 200:
        return "200"
    identifier = body.get("code") or body.get("reason")
    if identifier in (None, "BAD_REQUEST", "UNAUTHORIZED"):
        code = f" `{identifier}`" if identifier else ""
        return f"{exchange.status}{code}, “{body['msg'].rstrip('.')}”"
    return f"{exchange.status} `{identifier}`"


def table() -> str:
    """Return the tables of docs/servers.md."""
    lines = ["| feature level | version | recorded exchanges |", "|---:|---|---:|"]
    lines += [
        f"| {level} | {version} | {count} |" for level, (version, count) in load_servers().items()
    ]
    lines.append("")
    for method, cases in CASES.items():
        lines += [
            f"### `{method}`",
            "",
            "| case | levels | response | result |",
            "|---|---|---|---|",
        ]
        for title, entry in cases.items():
            rows = [
                (level, summarize(exchange), entry.expected_at(level))
                for level in LEVELS
                for exchange in load_level(level)
                if exchange.name in entry.names
            ]
            lines += _rows(title, rows)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _rows(title: str, rows: list[tuple[int, str, Expected]]) -> Iterator[str]:
    by_level = {
        level: ("; ".join(sorted({row[1] for row in group})), group[0][2])
        for level, items in groupby(rows, key=lambda row: row[0])
        for group in [list(items)]
    }
    for (response, expected), levels in groupby(by_level, key=lambda level: by_level[level]):
        first, *others = levels
        name = "success"
        if expected is not None:
            name = f"[`{expected.__name__}`](reference/exceptions.md#{expected.__name__.lower()})"
        # No-break spaces: the levels stay on one line.
        span = (
            f"{first}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{others[-1]}" if others else str(first)
        )
        yield f"| {title} | {span} | {response} | {name} |"
        title = ""


def main() -> None:
    """Write the tables into docs/servers.md."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
