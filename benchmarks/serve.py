"""A server that answers every login at once, so that what is measured is the client.

It runs in a process of its own, over plain http and over TLS, prints its two
ports and the file with its certificate's authority, and counts connections.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import trustme
import uvicorn

SAID = {
    "result": "success",
    "msg": "",
    "api_key": "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF",
    "email": "iago@zulip.com",
    "user_id": 16,
    # For the official client, which asks for these before anything else.
    "zulip_version": "10.0",
    "zulip_feature_level": 325,
}
BODY = json.dumps(SAID).encode()
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
    (b"x-ratelimit-limit", b"5"),
    (b"x-ratelimit-remaining", b"4"),
]
clients: set[Any] = set()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    body = BODY
    if scope["path"] == "/connections":
        body = json.dumps(len(clients)).encode()
        clients.clear()
    else:
        clients.add((scope["server"], scope["client"]))
    headers = [HEADERS[0], (b"content-length", str(len(body)).encode()), *HEADERS[2:]]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def server(**options: Any) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="off",
            log_level="error",
            backlog=4096,
            timeout_keep_alive=60,
            **options,
        )
    )


async def main() -> None:
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as scratch:
        ca, cert = Path(scratch) / "ca.pem", Path(scratch) / "cert.pem"
        authority.cert_pem.write_to_path(str(ca))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(cert))
        servers = [server(), server(ssl_certfile=str(cert))]
        running = [asyncio.create_task(each.serve()) for each in servers]
        while not all(each.started for each in servers):
            await asyncio.sleep(0.01)
        ports = [each.servers[0].sockets[0].getsockname()[1] for each in servers]
        print(json.dumps({"http": ports[0], "https": ports[1], "ca": str(ca)}), flush=True)
        await asyncio.to_thread(sys.stdin.read)  # until whoever started it has gone
        for each in servers:
            each.should_exit = True
        await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(main())
