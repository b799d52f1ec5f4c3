"""A client of Zulip's API for tests of single endpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from helpers.api_client import EMPTY_CONTEXT
from zulip_auth.testing import Account, FakeZulip


class Caller:
    """An account that calls endpoints: `iago("POST /typing", op="start", to=[11])`."""

    def __init__(self, server: FakeZulip, account: Account) -> None:
        self.server, self.account, self.id = server, account, account.user_id
        self.http = httpx.Client(auth=(account.email, account.api_key), verify=EMPTY_CONTEXT)

    def __call__(self, route: str, *, files: Any = None, **params: Any) -> dict[str, Any]:
        """Call an endpoint, with JSON for what is not a str, and return the body."""
        method, path = route.split()
        values = {
            name.rstrip("_"): value if isinstance(value, str) else json.dumps(value)
            for name, value in params.items()
        }
        options: dict[str, Any] = {"params" if method in ("GET", "DELETE") else "data": values}
        url = f"{self.server.site}/api/v1{path}"
        response = self.http.request(method, url, files=files, **options)
        body: dict[str, Any] = response.json()
        return body

    def error(self, route: str, **params: Any) -> str:
        """Call an endpoint, and return the message of its error."""
        body = self(route, **params)
        assert body["result"] == "error", body
        return str(body["msg"])

    def ok(self, route: str, **params: Any) -> dict[str, Any]:
        """Call an endpoint, and return the fields of its success."""
        body = self(route, **params)
        assert (body.pop("result"), body.pop("msg")) == ("success", ""), body
        return body

    def register(self, **params: Any) -> str:
        """Register an event queue and return its id."""
        return str(self.ok("POST /register", fetch_event_types=[], **params)["queue_id"])

    def events(self, queue_id: str) -> list[dict[str, Any]]:
        """Return the events of a queue."""
        query = {"queue_id": queue_id, "last_event_id": -1, "dont_block": True}
        found: list[dict[str, Any]] = self.ok("GET /events", **query)["events"]
        return found


class Organization:
    """A server with four accounts."""

    def __init__(self, server: FakeZulip, stack: ExitStack) -> None:
        self.server = server
        users = [server.add_user(f"{n}@zulip.com", "x", full_name=n) for n in ("iago", "hamlet")]
        guest = server.add_user("polonius@zulip.com", "x")
        guest.role = 600
        accounts = [*users, guest, server.add_bot("iago@zulip.com", "Echo")]
        callers = [Caller(server, account) for account in accounts]
        for caller in callers:
            stack.enter_context(caller.http)
        self.iago, self.hamlet, self.guest, self.bot = callers


@pytest.fixture
def org() -> Iterator[Organization]:
    with FakeZulip() as server, ExitStack() as stack:
        yield Organization(server, stack)
