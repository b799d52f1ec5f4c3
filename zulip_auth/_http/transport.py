"""Create the default transport, with its TLS context."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

import httpx

from zulip_auth._exceptions import ConfigurationError

from .connection import ConnectionTransport
from .proxy import proxy_from_environment

Transport = httpx.AsyncBaseTransport
if TYPE_CHECKING:
    import httpx2

    AnyTransport = Transport | httpx2.AsyncBaseTransport
else:
    AnyTransport = Transport


class _ProxyTransport(httpx.AsyncHTTPTransport):
    """Transport of httpx that opens a connection through a proxy for each request.

    httpcore cannot report data after the end of a response, which may be another
    account's, so that reusing a connection is not safe.
    """

    def __init__(self, ssl_context: ssl.SSLContext, proxy: str) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        super().__init__(verify=ssl_context, proxy=proxy, limits=limits)
        self.proxy = httpx.URL(proxy).host


def create_transport(site: str, ssl_context: ssl.SSLContext | None) -> Transport:
    """Create a transport, which the caller closes.

    Args:
        site: The organization URL.
        ssl_context: The trusted CAs; None for the default ones.

    Raises:
        ConfigurationError: If the proxy setting of the environment is invalid,
            or the CA certificates cannot be loaded.
    """
    if site.startswith("http://"):
        return ConnectionTransport(None)  # and no proxy
    context = ssl_context or _default_ssl_context()
    proxy = proxy_from_environment(site)
    if proxy is None:
        return ConnectionTransport(context)
    with suppress(ValueError, ImportError, httpx.InvalidURL):
        return _ProxyTransport(context, proxy)
    # Outside of the block: the exception above repeats the proxy's credentials.
    scheme = proxy.partition("://")[0]
    reason = f": unsupported scheme {scheme}" if scheme not in _PROXY_SCHEMES else ""
    raise ConfigurationError(
        f"Invalid proxy setting{reason}. Check HTTPS_PROXY and ALL_PROXY "
        "(SOCKS requires socks5:// and the socksio package)."
    )


_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


@cache
def _default_ssl_context() -> ssl.SSLContext:
    """Return the context for certifi's CAs and the operating system's.

    It is made once: loading certifi's takes longer than a login. The system's
    directory, with a company's own CA, is read during the handshake.
    """
    with suppress(OSError):  # ssl.SSLError is one
        context = httpx.create_ssl_context()
        if not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
            context.load_verify_locations(capath=ssl.get_default_verify_paths().openssl_capath)
        return context
    raise ConfigurationError(
        "Could not load the CA certificates. Check SSL_CERT_FILE and SSL_CERT_DIR."
    )
