"""Create the default transport: TLS context and proxy."""

from __future__ import annotations

import ssl
from functools import cache
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

import httpx

from zulip_auth._exceptions import InvalidInputError, TLSError

Transport = httpx.AsyncBaseTransport
if TYPE_CHECKING:
    import httpx2

    AnyTransport = Transport | httpx2.AsyncBaseTransport
else:
    AnyTransport = Transport


def create_transport(site: str, ssl_context: ssl.SSLContext | None) -> Transport:
    """Create a transport, which the caller closes.

    Args:
        site: The organization URL.
        ssl_context: The trusted CAs; None for the default ones.

    Raises:
        InvalidInputError: If the proxy setting of the environment is invalid.
        TLSError: If the CA certificates cannot be loaded.
    """
    if site.startswith("http://"):
        # No proxy for loopback, and a context that loads no certificates.
        return httpx.AsyncHTTPTransport(verify=_empty_ssl_context())
    context = ssl_context or _load_default_ssl_context()
    proxy = _proxy_from_environment(site)
    try:
        return httpx.AsyncHTTPTransport(verify=context, proxy=proxy)
    except (ValueError, ImportError, httpx.InvalidURL):
        pass
    # Outside of the block: the exception above repeats the proxy's credentials.
    raise InvalidInputError(
        "Invalid proxy setting. Check HTTPS_PROXY and ALL_PROXY "
        "(SOCKS requires the socksio package)."
    )


def _proxy_from_environment(site: str) -> str | None:
    host = site.removeprefix("https://")
    if proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _load_default_ssl_context() -> ssl.SSLContext:
    try:
        return _default_ssl_context()
    except OSError:  # ssl.SSLError is one
        pass
    raise TLSError(
        "Could not load the CA certificates. Check SSL_CERT_FILE and SSL_CERT_DIR.", sent=False
    )


@cache
def _default_ssl_context() -> ssl.SSLContext:
    # Loading the certificates takes longer than a login, so it is done once.
    return httpx.create_ssl_context()


@cache
def _empty_ssl_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
