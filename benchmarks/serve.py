"""A server that responds to every login immediately, so that the client is measured.

It serves http and https in its own process, and prints both ports and the path of its CA
certificate. It stops when its standard input is closed.
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

RESPONSE = {
    "result": "success",
    "msg": "",
    "api_key": "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF",
    "email": "iago@zulip.com",
    "user_id": 16,
    # The official client requests these first.
    "zulip_version": "10.0",
    "zulip_feature_level": 325,
}
USER = {
    **{name: RESPONSE[name] for name in ("result", "msg", "email", "user_id")},
    "delivery_email": "iago@zulip.com",
    "full_name": "Iago",
    "is_bot": False,
    "role": 200,
}
BODY, USER_BODY = json.dumps(RESPONSE).encode(), json.dumps(USER).encode()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    body = USER_BODY if scope["path"] == "/api/v1/users/me" else BODY
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-ratelimit-limit", b"5"),
        (b"x-ratelimit-remaining", b"4"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def create_server(**options: Any) -> uvicorn.Server:
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
    ca = trustme.CA()
    with tempfile.TemporaryDirectory() as tmp:
        ca_path, cert_path = Path(tmp) / "ca.pem", Path(tmp) / "cert.pem"
        ca.cert_pem.write_to_path(str(ca_path))
        ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(cert_path))
        servers = [create_server(), create_server(ssl_certfile=str(cert_path))]
        tasks = [asyncio.create_task(server.serve()) for server in servers]
        while not all(server.started for server in servers):
            await asyncio.sleep(0.01)
        ports = [server.servers[0].sockets[0].getsockname()[1] for server in servers]
        print(json.dumps({"http": ports[0], "https": ports[1], "ca": str(ca_path)}), flush=True)
        await asyncio.to_thread(sys.stdin.read)  # until the parent process closes it
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(main())
