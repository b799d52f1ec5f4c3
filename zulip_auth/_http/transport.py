"""Create the default transport: TLS context and proxy."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from functools import cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import httpx

from zulip_auth._exceptions import ConfigurationError

from .connection import ConnectionTransport

Transport = httpx.AsyncBaseTransport
if TYPE_CHECKING:
    import httpx2

    AnyTransport = Transport | httpx2.AsyncBaseTransport
else:
    AnyTransport = Transport


class _ProxyTransport(httpx.AsyncHTTPTransport):
    """Opens a connection through a proxy for each request.

    Reusing them is not safe: httpcore does not tell whether there are bytes after
    the end of a response, which may be another account's.
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
        return ConnectionTransport(None)
    context = ssl_context or _load_default_ssl_context()
    proxy = _proxy_from_environment(site)
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


def _proxy_from_environment(site: str) -> str | None:
    # Imported here, since it takes longer than a login over http.
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    url = httpx.URL(site)
    if proxy_bypass(site.removeprefix("https://")) or _is_bypassed(url.host, proxies.get("no", "")):
        return None
    proxy = proxies.get("https") or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _is_bypassed(host: str, no_proxy: str) -> bool:
    """Return whether NO_PROXY lists an IP address or its network, or a URL with the host."""
    entries = [entry.strip().lower() for entry in no_proxy.split(",")]
    if {f"https://{host}", f"all://{host}"} & set(entries):
        return True
    with suppress(ValueError):
        address = ip_address(host)
        for entry in entries:
            with suppress(ValueError):
                if address in ip_network(entry.strip("[]"), strict=False):
                    return True
    return False


def _load_default_ssl_context() -> ssl.SSLContext:
    try:
        return _default_ssl_context()
    except OSError:  # ssl.SSLError is one
        pass
    raise ConfigurationError(
        "Could not load the CA certificates. Check SSL_CERT_FILE and SSL_CERT_DIR."
    )


@cache
def _default_ssl_context() -> ssl.SSLContext:
    """Return the context for certifi's CAs and the operating system's.

    It is made once: loading certifi's takes longer than a login. The system's
    directory, with a company's own CA, is read during the handshake.
    """
    context = httpx.create_ssl_context()
    if not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        context.load_verify_locations(capath=ssl.get_default_verify_paths().openssl_capath)
    return context
