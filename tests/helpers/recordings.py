"""Exchanges recorded from running Zulip servers of nine feature levels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from attrs import frozen

from helpers.raw_server import Scenario, respond

DIRECTORY = Path(__file__).parent.parent / "data" / "recorded"
PATHS = {int(path.stem.rpartition("-")[2]): path for path in DIRECTORY.glob("*.json")}
LEVELS = tuple(sorted(PATHS))
NEWEST = LEVELS[-1]


@frozen(eq=False)
class Exchange:
    """One request and its response.

    Attributes:
        level: The server's feature level.
        name: The call and the case, such as `fetch: wrong password`.
        path: The path, with the query if the recording has it there.
        form: The form fields, or None for a request without a form.
        raw: The body of a request that is not a form.
        basic_auth: The email and the API key of the Authorization header.
        headers: The headers of the response.
        body: The body of the response.
    """

    level: int
    name: str
    method: str
    host: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, Any] | None
    raw: str | None
    request_headers: Mapping[str, str]
    basic_auth: tuple[str, str] | None
    status: int
    headers: Mapping[str, str]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)

    def __str__(self) -> str:
        return self.name


def respond_as_recorded(exchange: Exchange) -> Scenario:
    """Return a scenario that reads a request and sends the recorded response."""
    return respond(exchange.status, exchange.body, exchange.headers)


@cache
def load_servers() -> dict[int, tuple[str, int]]:
    """Return the version of each server, and the number of its exchanges, by level."""
    servers = {}
    for level in LEVELS:
        server = json.loads(PATHS[level].read_text(encoding="utf-8"))["server"]
        version = server.removeprefix("Zulip ").partition(" (")[0]
        servers[level] = version, len(load_level(level))
    return servers


@cache
def load_level(level: int) -> tuple[Exchange, ...]:
    """Return all exchanges of a feature level, in the order of their recording."""
    exchanges = []
    for item in json.loads(PATHS[level].read_text(encoding="utf-8"))["exchanges"]:
        request, response = item["request"], item["response"]
        form, auth = request["form"], request.get("basic_auth")
        is_form = isinstance(form, dict)
        exchanges.append(
            Exchange(
                level=level,
                name=item["name"],
                method=request["method"],
                host=request["host"],
                path=request["path"],
                query=request.get("query") or {},
                form=form if is_form else None,
                raw=request.get("raw") if is_form or form is None else form,
                request_headers=request["headers"],
                basic_auth=None if auth is None else (auth[0], auth[1]),
                status=response["status"],
                headers=response["headers"],
                body=response["body"],
            )
        )
    return tuple(exchanges)


def load_recordings(*prefixes: str, level: int = NEWEST) -> list[Exchange]:
    """Return the exchanges whose names begin with one of *prefixes*."""
    return [exchange for exchange in load_level(level) if exchange.name.startswith(prefixes)]
