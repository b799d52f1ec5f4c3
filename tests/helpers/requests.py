"""The requests that a server received."""

from __future__ import annotations

from helpers.raw_server import ScriptedServer
from zulip_auth.testing import FakeZulip


def paths(server: FakeZulip | ScriptedServer) -> list[str]:
    """Return the path of each request, without that of the API."""
    if isinstance(server, FakeZulip):
        found = [request.path for request in server.requests]
    else:
        found = [request.line.split()[1] for request in server.requests]
    return [path.removeprefix("/api/v1") for path in found]


def logins(server: FakeZulip | ScriptedServer) -> int:
    """Return the number of logins with a password."""
    return paths(server).count("/fetch_api_key")
