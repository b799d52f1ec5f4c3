"""Create the default transport, with its TLS context."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx

from zulip_auth._exceptions import ConfigurationError

from .proxy import proxy_from_environment

Transport = httpx.AsyncBaseTransport
if TYPE_CHECKING:
    import httpx2

    AnyTransport = Transport | httpx2.AsyncBaseTransport
else:
    AnyTransport = Transport


class _SafeTransport(httpx.AsyncHTTPTransport):
    """Closes a connection that has bytes after the end of a response.

    h11 would read them as the next response, which may be another account's.
    """

    proxy: str | None = None
    _stream: Any = None  # the network stream of the last response

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._stream is not None and self._has_trailing_data():
            await self._pool.aclose()
        response = await super().handle_async_request(request)
        self._stream = response.extensions["network_stream"]
        return response

    def _has_trailing_data(self) -> bool:
        """Return whether bytes were received after the end of the last response."""
        try:
            # No public names lead to these buffers. Without them, never reuse.
            for connection in self._pool.connections:
                if connection._connection._h11_state.trailing_data[0]:  # type: ignore[attr-defined]  # noqa: SLF001
                    return True
            stream = self._stream._stream  # anyio's  # noqa: SLF001
            while hasattr(stream, "transport_stream"):  # TLS to the server, to a proxy, or both
                if _has_data(stream._ssl_object):  # noqa: SLF001
                    return True
                stream = stream.transport_stream
            return bool(stream._protocol.read_queue)  # noqa: SLF001
        except AttributeError:
            return True


def _has_data(ssl_object: ssl.SSLObject) -> bool:
    try:
        ssl_object.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        pass
    return True


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
        # No proxy, and a context that loads no certificates.
        return _SafeTransport(verify=_empty_ssl_context())
    context = ssl_context or _default_ssl_context()
    proxy = proxy_from_environment(site)
    with suppress(ValueError, ImportError, httpx.InvalidURL):
        transport = _SafeTransport(verify=context, proxy=proxy)
        transport.proxy = httpx.URL(proxy).host if proxy else None
        return transport
    # Outside of the block: the exception above repeats the proxy's credentials.
    scheme = str(proxy).partition("://")[0]
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


@cache
def _empty_ssl_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
