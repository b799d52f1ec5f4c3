"""A client of Zulip's API for tests of single endpoints."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import httpx

from zulip_auth.testing import Account, FakeZulip

# Without CA certificates, which take 20 ms to load.
EMPTY_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Caller:
    """An account that calls endpoints: `iago("POST /typing", op="start", to=[11])`."""

    def __init__(
        self, server: FakeZulip, account: Account, *, verify: ssl.SSLContext = EMPTY_CONTEXT
    ) -> None:
        self.server, self.account, self.id = server, account, account.user_id
        self.http = httpx.Client(auth=(account.email, account.api_key), verify=verify, timeout=20)

    def send(self, route: str, *, files: Any = None, **params: Any) -> httpx.Response:
        """Call an endpoint, with JSON for what is not a str."""
        method, path = route.split()
        values = {
            name.rstrip("_"): value if isinstance(value, str) else json.dumps(value)
            for name, value in params.items()
        }
        options: dict[str, Any] = {"params" if method in ("GET", "DELETE") else "data": values}
        url = f"{self.server.site}/api/v1{path}"
        return self.http.request(method, url, files=files, **options)

    def __call__(self, route: str, **params: Any) -> dict[str, Any]:
        """Call an endpoint, and return the body."""
        body: dict[str, Any] = self.send(route, **params).json()
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

    def ask(self, email: str, **message: str) -> str:
        """Send a message, and return the content of the next one from an account."""
        queue = self.register(event_types=["message"])
        self.ok("POST /messages", **message)
        last_event_id = -1
        while True:
            query = {"queue_id": queue, "last_event_id": last_event_id}
            for event in self.ok("GET /events", **query)["events"]:
                last_event_id = event["id"]
                if event.get("message", {}).get("sender_email") == email:
                    return str(event["message"]["content"])

    def check_errors(
        self, route: str, valid: dict[str, Any], rows: Iterable[tuple[dict[str, Any], str]]
    ) -> None:
        """Check the error that begins with a text, for each change of valid parameters.

        A parameter that is changed to None is left out.
        """
        for change, error in rows:
            params = {name: v for name, v in (valid | change).items() if v is not None}
            assert self.error(route, **params).startswith(error), (route, change)


class Organization:
    """A server with four accounts."""

    def __init__(self, server: FakeZulip, stack: ExitStack) -> None:
        self.server, self.stack = server, stack
        self.iago = self.add(server.add_user("iago@zulip.com", "x", full_name="iago"))
        self.hamlet = self.add(server.add_user("hamlet@zulip.com", "x", full_name="hamlet"))
        self.guest = self.add(server.add_user("polonius@zulip.com", "x"))
        self.guest.account.role = 600
        self.bot = self.add(server.add_bot("iago@zulip.com", "Echo"))

    def add(self, account: Account) -> Caller:
        """Return a caller for an account."""
        caller = Caller(self.server, account)
        self.stack.enter_context(caller.http)
        return caller
