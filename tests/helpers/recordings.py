"""The exchanges recorded from a real server, and what each must end in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

FILE = Path(__file__).parent.parent / "data" / "zulip-10.0-dev.json"


@frozen
class Exchange:
    name: str
    method: str
    host: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str] | None
    raw: str | None
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def said(self) -> Any:
        return json.loads(self.body)

    def __str__(self) -> str:
        return self.name


def load_recordings(*prefixes: str) -> list[Exchange]:
    """Return the exchanges whose names begin so, in the order they were recorded."""
    found = []
    for each in json.loads(FILE.read_text(encoding="utf-8"))["exchanges"]:
        if each["name"].startswith(prefixes):
            request, response = each["request"], each["response"]
            found.append(
                Exchange(
                    each["name"],
                    request["method"],
                    request["host"],
                    request["path"],
                    request.get("query") or {},
                    request["form"],
                    request.get("raw"),
                    response["status"],
                    response["headers"],
                    response["body"],
                )
            )
    return found
