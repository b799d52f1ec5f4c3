"""The clients that the benchmark compares, each as a coroutine function for one login."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count

import aiohttp
import httpx
import zulip
from attrs import frozen
from httpx_aiohttp import AiohttpTransport

import zulip_auth

PASSWORD = "correct horse & battery"
PATH = "/api/v1/fetch_api_key"

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

    def context(self) -> ssl.SSLContext:
        """Return httpx's default context with the CA of the server added."""
        context = httpx.create_ssl_context()
        context.load_verify_locations(self.ca)
        return context

    def aiohttp_transport(self) -> AiohttpTransport:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return AiohttpTransport(verify=self.context(), limits=limits)


async def post(http: httpx.AsyncClient, target: Target) -> object:
    return (await http.post(target.url, data=next_form())).raise_for_status().json()["api_key"]


@asynccontextmanager
async def httpx_per_login(target: Target) -> AsyncIterator[Login]:
    context = target.context()

    async def login() -> object:
        async with httpx.AsyncClient(verify=context) as http:
            return await post(http, target)

    yield login


@asynccontextmanager
async def httpx_pooled(target: Target) -> AsyncIterator[Login]:
    async with httpx.AsyncClient(verify=target.context(), timeout=60) as http:
        yield lambda: post(http, target)


@asynccontextmanager
async def httpx_aiohttp(target: Target) -> AsyncIterator[Login]:
    async with httpx.AsyncClient(transport=target.aiohttp_transport(), timeout=60) as http:
        yield lambda: post(http, target)


@asynccontextmanager
async def httpx_aiohttp_per_login(target: Target) -> AsyncIterator[Login]:
    async with target.aiohttp_transport() as transport:

        async def login() -> object:
            # Not closed: that would close the transport.
            return await post(httpx.AsyncClient(transport=transport), target)

        yield login


@asynccontextmanager
async def aiohttp_session(target: Target) -> AsyncIterator[Login]:
    connector = aiohttp.TCPConnector(ssl=target.context(), limit=0)
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as session:

        async def login() -> object:
            async with session.post(target.url, data=next_form()) as response:
                return (await response.json())["api_key"]

        yield login


@asynccontextmanager
async def official(target: Target) -> AsyncIterator[Login]:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # requests prefers them
        os.environ.pop(name, None)
    client = zulip.Client("iago@zulip.com", "x", site=target.site, cert_bundle=target.ca)

    async def login() -> object:
        return client.call_endpoint("fetch_api_key", request=next_form())["api_key"]

    yield login


@asynccontextmanager
async def function(target: Target) -> AsyncIterator[Login]:
    context = target.context()
    yield lambda: zulip_auth.login(target.site, next_username(), PASSWORD, ssl_context=context)


@asynccontextmanager
async def client(target: Target) -> AsyncIterator[Login]:
    client = zulip_auth.AuthClient(target.site, ssl_context=target.context())
    yield lambda: client.login(next_username(), PASSWORD)


@asynccontextmanager
async def client_aiohttp(target: Target) -> AsyncIterator[Login]:
    async with target.aiohttp_transport() as transport:
        client = zulip_auth.AuthClient(target.site, transport=transport)
        yield lambda: client.login(next_username(), PASSWORD)


OFFICIAL = "zulip (synchronous)"
LOGIN, CLIENT, CLIENT_AIOHTTP = "login()", "AuthClient", "AuthClient over httpx-aiohttp"
HTTPX_PER_LOGIN, HTTPX_POOLED = "httpx, a client per login", "httpx, one client"
HTTPX_AIOHTTP, AIOHTTP = "httpx over httpx-aiohttp, one client", "aiohttp, one session"
HTTPX_AIOHTTP_PER_LOGIN = "httpx over httpx-aiohttp, a client per login"
CLIENTS: dict[str, Callable[[Target], AbstractAsyncContextManager[Login]]] = {
    LOGIN: function,
    CLIENT: client,
    HTTPX_PER_LOGIN: httpx_per_login,
    HTTPX_POOLED: httpx_pooled,
    CLIENT_AIOHTTP: client_aiohttp,
    HTTPX_AIOHTTP: httpx_aiohttp,
    HTTPX_AIOHTTP_PER_LOGIN: httpx_aiohttp_per_login,
    AIOHTTP: aiohttp_session,
    OFFICIAL: official,
}
