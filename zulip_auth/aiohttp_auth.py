"""Zulip's authentication for `aiohttp.ClientSession`.

aiohttp.ClientSession(f"{source.site}/api/v1/", middlewares=[ApiKeyMiddleware(source)])
"""

from __future__ import annotations

try:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, hdrs
    from aiohttp.payload import BytesPayload
    from yarl import URL
except ImportError:  # also if it is older than 3.12, which has no middlewares
    raise ModuleNotFoundError(
        "zulip_auth.aiohttp_auth requires an extra: pip install 'zulip-auth[aiohttp]', "
        "in a clone '.[aiohttp]'",
        name="aiohttp",
    ) from None

from ._auth_flow import Renewal, as_source
from ._credentials import Credentials, basic_auth_header
from ._key_source import ApiKeySource
from ._redaction import hide_locals


class ApiKeyMiddleware:
    """Authenticate the requests to one site, and renew a revoked key.

    Requests to any other origin are sent unchanged, also after a redirect. After a
    401 because of the key, the middleware gets a new key from the source and sends
    the request once more, unless its body is a stream or a file that has been
    consumed: then the caller gets the 401, and the next request has the new key.

    The key is in the headers of a request only while it is sent: aiohttp's errors
    and `response.request_info`, whose `repr` shows all headers, do not contain it.

    Exceptions of the source, each a `ZulipAuthError`, are raised by the request.

    Args:
        source: The source of the key, or credentials. Only its site receives the key.

    Raises:
        InvalidInputError: If `source` is neither.

    Source: https://zulip.com/api/http-headers, and recorded 401 responses.
    """

    @hide_locals
    def __init__(self, source: ApiKeySource | Credentials) -> None:
        self._source = as_source(source)

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send a request; aiohttp calls this for each request and each redirect."""
        renewal = Renewal(self._source, lambda site: _origin(URL(site)) == _origin(request.url))
        credentials = await renewal.first()
        if credentials is None:
            return await handler(request)
        while True:
            response = await _send(request, handler, credentials)
            try:
                challenges = response.headers.getall(hdrs.WWW_AUTHENTICATE, ())
                renewed = await renewal.next(credentials, response.status, challenges)
            except BaseException:
                response.close()
                raise
            # Only bytes can be sent again; a stream or a file has been consumed.
            if renewed is None or not isinstance(request.body, bytes | BytesPayload):
                return response
            response.release()
            credentials = renewed


async def _send(
    request: ClientRequest, handler: ClientHandlerType, credentials: Credentials
) -> ClientResponse:
    request.headers[hdrs.AUTHORIZATION] = basic_auth_header(credentials)
    try:
        return await handler(request)
    finally:
        # request_info of the response and of errors is a view of these headers.
        request.headers.popall(hdrs.AUTHORIZATION, None)


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.raw_host, url.port  # unlike url.origin(), with the default port
