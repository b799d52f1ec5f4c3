"""The authentication flow of httpx_auth, httpx2_auth and aiohttp_auth."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any, ClassVar, NoReturn

from ._credentials import Credentials, basic_auth_header
from ._exceptions import InvalidApiKeyError
from ._http.exchange import MAX_BODY_SIZE, decode_body
from ._key_source import ApiKeySource
from ._validation import validate_type

_CHALLENGE = 'basic realm="zulip"'
_INVALID_KEY_CODES = ("UNAUTHORIZED", "INVALID_API_KEY")


def has_zulip_challenge(values: Iterable[str]) -> bool:
    """Return whether a `WWW-Authenticate` header shows that Zulip rejected an API key.

    All servers send it (feature levels 27 to 325 were recorded), and their proxies
    pass it on, however they compress the body.
    """
    return any(_CHALLENGE in value.lower() for value in values)


def has_invalid_key_code(body: bytes) -> bool:
    """Return whether the JSON body of a 401 has the code of a rejected API key.

    Source: https://zulip.com/api/rest-error-handling#invalid-api-key
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and data.get("code") in _INVALID_KEY_CODES


async def renew(source: ApiKeySource, rejected: Credentials) -> Credentials | None:
    """Return new credentials, or None if a login returns the rejected key again."""
    try:
        return await source.refresh(rejected)
    except InvalidApiKeyError:
        return None


class PrefixedStream:
    """A response body of which the beginning has already been read."""

    def __init__(self, prefix: list[bytes], stream: Any, remainder: AsyncIterator[bytes]) -> None:
        self._prefix = prefix
        self._stream = stream
        self._remainder = remainder

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._prefix:
            yield chunk
        async for chunk in self._remainder:
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class HTTPXAuthFlow:
    """`ApiKeyAuth` for httpx and httpx2, which differ only in their classes."""

    _url_class: ClassVar[type[Any]]
    _bytes_class: ClassVar[type[Any]]
    _stream_class: ClassVar[type[PrefixedStream]]

    def __init__(self, source: ApiKeySource) -> None:
        self._source = validate_type("source", source, ApiKeySource)
        self._origin = _origin(self._url_class(source.site))

    def sync_auth_flow(self, request: Any) -> NoReturn:  # noqa: ARG002
        """Raise an error: a synchronous client cannot wait for a login.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f"ApiKeyAuth requires {self._url_class.__module__}.AsyncClient.")

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Send the request with the key; after a rejection, once more with a new key."""
        if not self._is_own(request.url):
            yield request
            return
        credentials = await self._source.get()
        request.headers["Authorization"] = basic_auth_header(credentials)
        response = yield request
        if not await self._is_key_rejected(response):
            return
        renewed = await renew(self._source, credentials)
        # Only bytes can be sent again; a stream or a file has been consumed.
        if renewed is None or not isinstance(request.stream, self._bytes_class):
            return
        # httpx reads all of the response before it sends the request again.
        if len(await self._peek_body(response)) <= MAX_BODY_SIZE:
            request.headers["Authorization"] = basic_auth_header(renewed)
            yield request

    def _is_own(self, url: Any) -> bool:
        return _origin(url) == self._origin

    async def _is_key_rejected(self, response: Any) -> bool:
        # After a redirect, the response may be from another server.
        if response.status_code != 401 or not self._is_own(response.url):
            return False
        if has_zulip_challenge(response.headers.get_list("www-authenticate")):
            return True
        content = await self._peek_body(response)
        encoding = response.headers.get("content-encoding", "")
        return has_invalid_key_code(decode_body(content, encoding) or b"")

    async def _peek_body(self, response: Any) -> bytes:
        """Return at most about `MAX_BODY_SIZE` bytes, and leave the response readable."""
        prefix: list[bytes] = []
        remainder = aiter(response.stream)
        async for chunk in remainder:
            prefix.append(chunk)
            if sum(map(len, prefix)) > MAX_BODY_SIZE:
                break
        response.stream = self._stream_class(prefix, response.stream, remainder)
        return b"".join(prefix)


def _origin(url: Any) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port
