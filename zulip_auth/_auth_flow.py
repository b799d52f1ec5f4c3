"""The authentication flow of httpx_auth, httpx2_auth and aiohttp_auth."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from typing import Any, ClassVar, NoReturn

from ._credentials import Credentials, basic_auth_header
from ._exceptions import InvalidApiKeyError, InvalidInputError
from ._key_source import ApiKeySource

_CHALLENGE = 'basic realm="zulip"'


def as_source(source: ApiKeySource | Credentials) -> ApiKeySource:
    """Return the source of an authentication object.

    Raises:
        InvalidInputError: If *source* is neither a source nor credentials.
    """
    if isinstance(source, Credentials):
        return ApiKeySource.from_credentials(source)
    if isinstance(source, ApiKeySource):
        return source
    kind = type(source).__name__
    raise InvalidInputError(f"source must be an ApiKeySource or Credentials, not {kind}.")


def has_zulip_challenge(values: Iterable[str]) -> bool:
    """Return whether a `WWW-Authenticate` header shows that Zulip rejected an API key.

    All servers send it (feature levels 27 to 325 were recorded), and their proxies
    pass it on, however they compress the body.
    """
    return any(_CHALLENGE in value.lower() for value in values)


async def renew(source: ApiKeySource, rejected: Credentials, *, sends: int) -> Credentials | None:
    """Return the credentials to send a request with again, or None.

    Args:
        source: The source of the credentials.
        rejected: Those that the server rejected.
        sends: The number of times that the request was sent. After the first,
            only a key that was replaced in the meantime is a reason for another.
    """
    if sends == 1 or source._is_replaced(rejected):  # noqa: SLF001
        with suppress(InvalidApiKeyError):
            return await source.refresh(rejected)
    return None


class HTTPXAuthFlow:
    """`ApiKeyAuth` for httpx and httpx2, which differ only in their classes."""

    _url_class: ClassVar[type[Any]]
    _bytes_class: ClassVar[type[Any]]

    def __init__(self, source: ApiKeySource | Credentials) -> None:
        self._source = as_source(source)
        self._site: str | None = None
        self._site_origin: object = None  # parsing takes as long as a request header

    def sync_auth_flow(self, request: Any) -> NoReturn:  # noqa: ARG002
        """Raise an error: a synchronous client cannot wait for a login.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f"ApiKeyAuth requires {self._url_class.__module__}.AsyncClient.")

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Send the request with the key; after a rejection, once more with a new key."""
        credentials: Credentials | None = await self._source._get_for(  # noqa: SLF001
            lambda site: self._is_own(request.url, site)
        )
        if credentials is None:
            yield request
            return
        sends = 0
        while credentials is not None:
            request.headers["Authorization"] = basic_auth_header(credentials)
            response = yield request
            sends += 1
            if _origin(response.url) != _origin(request.url):
                return  # after a redirect, the response is from another server
            if response.status_code < 400:
                self._source._note_success()  # noqa: SLF001
            challenges = response.headers.get_list("www-authenticate")
            if response.status_code != 401 or not has_zulip_challenge(challenges):
                return
            credentials = await renew(self._source, credentials, sends=sends)
            # Only bytes can be sent again; a stream or a file has been consumed.
            if not isinstance(request.stream, self._bytes_class):
                return

    def _is_own(self, url: Any, site: str) -> bool:
        if site != self._site:
            self._site, self._site_origin = site, _origin(self._url_class(site))
        return _origin(url) == self._site_origin


def _origin(url: Any) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port
