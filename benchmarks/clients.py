"""The ways to log in that are compared, each as a coroutine function that logs in once."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import httpx
import httpx_aiohttp
import requests
import zulip
from attrs import frozen

import zulip_auth
from zulip_auth_client import Client
from zulip_auth_client.api.authentication import fetch_api_key
from zulip_auth_client.models import FetchApiKeyBody

FORM = {"username": "iago@zulip.com", "password": "correct horse & battery"}
PATH = "/api/v1/fetch_api_key"
NO_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)

Once = Callable[[], Awaitable[object]]


@frozen
class Target:
    """Where the server is, and what trusts it."""

    site: str
    ca: str

    @property
    def url(self) -> str:
        return self.site + PATH

    @property
    def secure(self) -> bool:
        return self.site.startswith("https")

    def context(self) -> ssl.SSLContext:
        """Load what httpx loads by default, and trust the server besides."""
        if not self.secure:  # and so that loading does not hide what a login needs
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context = httpx.create_ssl_context()
        context.load_verify_locations(self.ca)
        return context


Contender = Callable[[Target], AbstractAsyncContextManager[Once]]


@asynccontextmanager
async def one_shot(target: Target) -> AsyncIterator[Once]:
    context = target.context()
    login, name, password = zulip_auth.login, FORM["username"], FORM["password"]
    yield lambda: login(target.site, name, password, ssl_context=context)


@asynccontextmanager
async def client(target: Target) -> AsyncIterator[Once]:
    async with zulip_auth.AuthClient(target.site, ssl_context=target.context()) as client:
        yield lambda: client.login(FORM["username"], FORM["password"])


@asynccontextmanager
async def client_aiohttp(target: Target) -> AsyncIterator[Once]:
    transport = httpx_aiohttp.AiohttpTransport(verify=target.context(), limits=NO_LIMITS)
    async with transport:
        client = zulip_auth.AuthClient(target.site, transport=transport)
        yield lambda: client.login(FORM["username"], FORM["password"])


@asynccontextmanager
async def httpx_one_shot(target: Target) -> AsyncIterator[Once]:
    async def once() -> object:
        # As most programs do it: the certificates are loaded for each call.
        verify: Any = target.context() if target.secure else True
        async with httpx.AsyncClient(verify=verify) as http:
            return (await http.post(target.url, data=FORM)).raise_for_status().json()

    yield once


@asynccontextmanager
async def httpx_one_shot_shared(target: Target) -> AsyncIterator[Once]:
    context = target.context()

    async def once() -> object:
        async with httpx.AsyncClient(verify=context) as http:
            return (await http.post(target.url, data=FORM)).raise_for_status().json()

    yield once


@asynccontextmanager
async def httpx_pooled(target: Target) -> AsyncIterator[Once]:
    async with httpx.AsyncClient(verify=target.context(), timeout=60) as http:

        async def once() -> object:
            return (await http.post(target.url, data=FORM)).raise_for_status().json()

        yield once


@asynccontextmanager
async def httpx_aiohttp_pooled(target: Target) -> AsyncIterator[Once]:
    transport = httpx_aiohttp.AiohttpTransport(verify=target.context(), limits=NO_LIMITS)
    async with httpx.AsyncClient(transport=transport, timeout=60) as http:

        async def once() -> object:
            return (await http.post(target.url, data=FORM)).raise_for_status().json()

        yield once


@asynccontextmanager
async def aiohttp_pooled(target: Target) -> AsyncIterator[Once]:
    connector = aiohttp.TCPConnector(ssl=target.context(), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def once() -> object:
            async with session.post(target.url, data=FORM) as answer:
                answer.raise_for_status()
                return await answer.json()

        yield once


@asynccontextmanager
async def generated(target: Target) -> AsyncIterator[Once]:
    base = f"{target.site}/api/v1"
    options = {"base_url": base, "verify_ssl": target.context(), "timeout": httpx.Timeout(60)}
    async with Client(**options) as http:  # type: ignore[arg-type]
        yield lambda: fetch_api_key.asyncio(client=http, body=FetchApiKeyBody(**FORM))


def official(target: Target) -> zulip.Client:
    return zulip.Client(
        email="iago@zulip.com",
        api_key="x",
        site=target.site,
        cert_bundle=target.ca,
        retry_on_errors=False,
    )


def ask_official(client: zulip.Client) -> object:
    said = client.call_endpoint("fetch_api_key", request=dict(FORM))
    if said["result"] != "success":
        raise RuntimeError(said)
    return said


@asynccontextmanager
async def official_one_shot(target: Target) -> AsyncIterator[Once]:
    async def once() -> object:
        return ask_official(official(target))

    yield once


@asynccontextmanager
async def official_warm(target: Target) -> AsyncIterator[Once]:
    client = official(target)

    async def once() -> object:
        return ask_official(client)

    yield once


@asynccontextmanager
async def requests_session(target: Target) -> AsyncIterator[Once]:
    with requests.Session() as session:

        async def once() -> object:
            answer = session.post(target.url, data=FORM, verify=target.ca)
            answer.raise_for_status()
            return answer.json()

        yield once


# The synchronous ones can do one login at a time, and no more.
SYNCHRONOUS = {"official zulip, one-shot", "official zulip, warm", "requests, session"}
CONTENDERS: dict[str, Contender] = {
    "zulip_auth.login, one-shot": one_shot,
    "AuthClient": client,
    "AuthClient over httpx-aiohttp": client_aiohttp,
    "httpx, one-shot": httpx_one_shot,
    "httpx, one-shot, shared context": httpx_one_shot_shared,
    "httpx, pooled": httpx_pooled,
    "httpx over httpx-aiohttp": httpx_aiohttp_pooled,
    "aiohttp, pooled": aiohttp_pooled,
    "generated client": generated,
    "official zulip, one-shot": official_one_shot,
    "official zulip, warm": official_warm,
    "requests, session": requests_session,
}
