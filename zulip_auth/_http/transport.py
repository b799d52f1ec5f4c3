"""What carries requests: connections, certificates, proxies."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from zulip_auth._exceptions import InvalidInputError, TLSError

Transport = httpx.AsyncBaseTransport


class _OwnTransport(httpx.AsyncHTTPTransport):
    """Closes what httpcore leaves open: a connection cancelled in its TLS handshake."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        opened: list[Any] = []

        async def note(event: str, details: dict[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                opened.append(details["return_value"])

        request.extensions["trace"] = note
        try:
            return await super().handle_async_request(request)
        except BaseException:
            for connection in opened:
                await connection.aclose()
            raise


def create_transport(site: str, ssl_context: ssl.SSLContext | None) -> Transport:
    """Make what carries requests to a site; closing it is the caller's part.

    Raises:
        InvalidInputError: The environment names a proxy that cannot be used.
        TLSError: The trusted certificates cannot be loaded.
    """
    if site.startswith("http://"):
        # Loopback alone: no proxy, and a context that costs nothing to make.
        return _OwnTransport(verify=_no_certificates())
    context = ssl_context or _trusted_certificates()
    if context is None:
        raise TLSError(
            "The trusted certificates cannot be loaded. Check SSL_CERT_FILE and SSL_CERT_DIR.",
            sent=False,
        )
    transport = _proxied(context, _proxy_for(site))
    if transport is None:
        raise InvalidInputError(
            "The proxy that the environment names cannot be used. "
            "Check HTTPS_PROXY and ALL_PROXY; SOCKS needs the package socksio."
        )
    return transport


def _proxied(context: ssl.SSLContext, proxy: str | None) -> Transport | None:
    try:
        return _OwnTransport(verify=context, proxy=proxy)
    except (ValueError, ImportError, httpx.InvalidURL):
        return None


def _proxy_for(site: str) -> str | None:
    host = site.removeprefix("https://")
    if proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _trusted_certificates() -> ssl.SSLContext | None:
    try:
        return _shared_context()
    except OSError:  # which ssl.SSLError is
        return None


@cache
def _shared_context() -> ssl.SSLContext:
    # Loading the certificates takes longer than a login, so once a process.
    return httpx.create_ssl_context()


@cache
def _no_certificates() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
