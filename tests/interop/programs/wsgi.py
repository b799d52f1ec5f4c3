"""An application that logs in before gunicorn forks, and once for each request."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

from zulip_auth import AuthClient

client = AuthClient(os.environ["SITE"])
asyncio.run(client.login("user0@example.com", "password0"))


def application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]
) -> Iterable[bytes]:
    number = environ["QUERY_STRING"]
    credentials = asyncio.run(client.login(f"user{number}@example.com", f"password{number}"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {credentials.api_key}".encode()]
