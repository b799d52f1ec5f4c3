"""A client of Zulip's API for tests of the stand-in server."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

from zulip_auth.testing import FakeZulip

# Without CA certificates, which take 20 ms to load.
EMPTY_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class APIClient:
    """An account of FakeZulip that calls endpoints."""

    def __init__(
        self, server: FakeZulip, email: str, *, verify: ssl.SSLContext = EMPTY_CONTEXT
    ) -> None:
        self.verify = verify
        self.account = server.account(email)
        self.url = f"{server.site}/api/v1"

    async def request(
        self, method: str, path: str, params: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send parameters in the query of a GET or DELETE, else in a form."""
        auth = (self.account.email, self.account.api_key)
        key = "params" if method in ("GET", "DELETE") else "data"
        options: dict[str, Any] = {key: params}
        async with httpx.AsyncClient(auth=auth, timeout=20, verify=self.verify) as http:
            return await http.request(method, self.url + path, **options)

    async def call(self, method: str, path: str, **params: str) -> dict[str, Any]:
        """Return the body of a response."""
        body: dict[str, Any] = (await self.request(method, path, params)).json()
        return body
