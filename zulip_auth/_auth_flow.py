"""The authentication flow of httpx_auth, httpx2_auth and aiohttp_auth."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Any, ClassVar, NoReturn

from ._credentials import Credentials, basic_auth_header
from ._exceptions import InvalidApiKeyError
from ._key_source import ApiKeySource
from ._validation import validate_type

_CHALLENGE = 'basic realm="zulip"'


def has_zulip_challenge(values: Iterable[str]) -> bool:
    """Return whether a `WWW-Authenticate` header shows that Zulip rejected an API key.

    All servers send it (feature levels 27 to 325 were recorded), and their proxies
    pass it on, however they compress the body.
    """
    return any(_CHALLENGE in value.lower() for value in values)


async def renew(source: ApiKeySource, rejected: Credentials) -> Credentials | None:
    """Return new credentials, or None if a login returns the rejected key again."""
    try:
        return await source.refresh(rejected)
    except InvalidApiKeyError:
        return None


class HTTPXAuthFlow:
    """`ApiKeyAuth` for httpx and httpx2, which differ only in their classes."""

    _url_class: ClassVar[type[Any]]
    _bytes_class: ClassVar[type[Any]]

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
        if not self._is_key_rejected(response):
            return
        renewed = await renew(self._source, credentials)
        # Only bytes can be sent again; a stream or a file has been consumed.
        if renewed is None or not isinstance(request.stream, self._bytes_class):
            return
        request.headers["Authorization"] = basic_auth_header(renewed)
        yield request

    def _is_own(self, url: Any) -> bool:
        return _origin(url) == self._origin

    def _is_key_rejected(self, response: Any) -> bool:
        # After a redirect, the response may be from another server.
        return (
            response.status_code == 401
            and self._is_own(response.url)
            and has_zulip_challenge(response.headers.get_list("www-authenticate"))
        )


def _origin(url: Any) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port
