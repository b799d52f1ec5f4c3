"""The clients that the benchmarks compare, each as a coroutine function for one login."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Any

import aiohttp
import httpx
import httpx2
import httpx_aiohttp
import requests
import zulip
from attrs import frozen

import zulip_auth
from zulip_auth_client import Client
from zulip_auth_client.api.authentication import fetch_api_key
from zulip_auth_client.models import FetchApiKeyBody

USERNAME, PASSWORD = "iago@zulip.com", "correct horse & battery"
PATH = "/api/v1/fetch_api_key"
NO_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)

Login = Callable[[], Awaitable[object]]

_numbers = count()


def next_username() -> str:
    """Return the name of another account: the simultaneous logins of one are limited."""
    return f"user{next(_numbers) % 10_000}@zulip.com"


def next_form() -> dict[str, str]:
    return {"username": next_username(), "password": PASSWORD}


@frozen
class Target:
    """A server, and the CA certificate that it is verified with."""

    site: str
    ca: str

    @property
    def url(self) -> str:
        return self.site + PATH

    @property
    def is_https(self) -> bool:
        return self.site.startswith("https")

    def context(self) -> ssl.SSLContext:
        """Return httpx's default context with the CA of the server added."""
        if not self.is_https:  # exclude the loading of CA certificates from the figures
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context = httpx.create_ssl_context()
        context.load_verify_locations(self.ca)
        return context


ClientFactory = Callable[[Target], AbstractAsyncContextManager[Login]]


@asynccontextmanager
async def one_shot(target: Target) -> AsyncIterator[Login]:
    context = target.context()
    yield lambda: zulip_auth.login(target.site, next_username(), PASSWORD, ssl_context=context)


@asynccontextmanager
async def client(target: Target) -> AsyncIterator[Login]:
    async with zulip_auth.AuthClient(target.site, ssl_context=target.context()) as client:
        yield lambda: client.login(next_username(), PASSWORD)


@asynccontextmanager
async def client_aiohttp(target: Target) -> AsyncIterator[Login]:
    transport = httpx_aiohttp.AiohttpTransport(verify=target.context(), limits=NO_LIMITS)
    async with transport:
        client = zulip_auth.AuthClient(target.site, transport=transport)
        yield lambda: client.login(next_username(), PASSWORD)


@asynccontextmanager
async def client_httpx2(target: Target) -> AsyncIterator[Login]:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    transport = httpx2.AsyncHTTPTransport(verify=target.context(), limits=limits)
    async with transport:
        client = zulip_auth.AuthClient(target.site, transport=transport)
        yield lambda: client.login(next_username(), PASSWORD)


@asynccontextmanager
async def client_httpx(target: Target) -> AsyncIterator[Login]:
    async with httpx.AsyncHTTPTransport(verify=target.context(), limits=NO_LIMITS) as transport:
        client = zulip_auth.AuthClient(target.site, transport=transport)
        yield lambda: client.login(next_username(), PASSWORD)


@asynccontextmanager
async def httpx_one_shot(target: Target) -> AsyncIterator[Login]:
    async def login() -> object:
        # The common way: certificates are loaded for each call.
        verify: Any = target.context() if target.is_https else True
        async with httpx.AsyncClient(verify=verify) as http:
            return (await http.post(target.url, data=next_form())).raise_for_status().json()

    yield login


@asynccontextmanager
async def httpx_one_shot_shared(target: Target) -> AsyncIterator[Login]:
    context = target.context()

    async def login() -> object:
        async with httpx.AsyncClient(verify=context) as http:
            return (await http.post(target.url, data=next_form())).raise_for_status().json()

    yield login


@asynccontextmanager
async def httpx_pooled(target: Target) -> AsyncIterator[Login]:
    async with httpx.AsyncClient(verify=target.context(), timeout=60) as http:

        async def login() -> object:
            return (await http.post(target.url, data=next_form())).raise_for_status().json()

        yield login


@asynccontextmanager
async def httpx2_pooled(target: Target) -> AsyncIterator[Login]:
    async with httpx2.AsyncClient(verify=target.context(), timeout=60) as http:

        async def login() -> object:
            return (await http.post(target.url, data=next_form())).raise_for_status().json()

        yield login


@asynccontextmanager
async def httpx_aiohttp_pooled(target: Target) -> AsyncIterator[Login]:
    transport = httpx_aiohttp.AiohttpTransport(verify=target.context(), limits=NO_LIMITS)
    async with httpx.AsyncClient(transport=transport, timeout=60) as http:

        async def login() -> object:
            return (await http.post(target.url, data=next_form())).raise_for_status().json()

        yield login


@asynccontextmanager
async def aiohttp_pooled(target: Target) -> AsyncIterator[Login]:
    connector = aiohttp.TCPConnector(ssl=target.context(), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def login() -> object:
            async with session.post(target.url, data=next_form()) as response:
                response.raise_for_status()
                return await response.json()

        yield login


@asynccontextmanager
async def generated(target: Target) -> AsyncIterator[Login]:
    base = f"{target.site}/api/v1"
    options = {"base_url": base, "verify_ssl": target.context(), "timeout": httpx.Timeout(60)}
    async with Client(**options) as http:  # type: ignore[arg-type]
        yield lambda: fetch_api_key.asyncio(client=http, body=FetchApiKeyBody(**next_form()))


def official_client(target: Target) -> zulip.Client:
    return zulip.Client(
        email="iago@zulip.com",
        api_key="x",
        site=target.site,
        cert_bundle=target.ca,
        retry_on_errors=False,
    )


def call_official(client: zulip.Client) -> object:
    data = client.call_endpoint("fetch_api_key", request=next_form())
    if data["result"] != "success":
        raise RuntimeError(data)
    return data


@asynccontextmanager
async def official_one_shot(target: Target) -> AsyncIterator[Login]:
    async def login() -> object:
        return call_official(official_client(target))

    yield login


@asynccontextmanager
async def official_warm(target: Target) -> AsyncIterator[Login]:
    client = official_client(target)

    async def login() -> object:
        return call_official(client)

    yield login


@asynccontextmanager
async def requests_session(target: Target) -> AsyncIterator[Login]:
    with requests.Session() as session:

        async def login() -> object:
            response = session.post(target.url, data=next_form(), verify=target.ca)
            response.raise_for_status()
            return response.json()

        yield login


# Synchronous clients can only do one login at a time.
SYNCHRONOUS = {"official zulip, one-shot", "official zulip, warm", "requests, session"}
CLIENTS: dict[str, ClientFactory] = {
    "zulip_auth.login, one-shot": one_shot,
    "AuthClient": client,
    "AuthClient over httpx-aiohttp": client_aiohttp,
    "AuthClient over httpx2": client_httpx2,
    "AuthClient over the caller's httpx": client_httpx,
    "httpx, one-shot": httpx_one_shot,
    "httpx, one-shot, shared context": httpx_one_shot_shared,
    "httpx, pooled": httpx_pooled,
    "httpx2, pooled": httpx2_pooled,
    "httpx over httpx-aiohttp": httpx_aiohttp_pooled,
    "aiohttp, pooled": aiohttp_pooled,
    "generated client": generated,
    "official zulip, one-shot": official_one_shot,
    "official zulip, warm": official_warm,
    "requests, session": requests_session,
}
