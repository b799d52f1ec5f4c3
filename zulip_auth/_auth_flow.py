"""The authentication flow of httpx_auth, httpx2_auth and aiohttp_auth."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from typing import Any, ClassVar, NoReturn

from ._credentials import Credentials, basic_auth_header
from ._exceptions import InvalidApiKeyError, InvalidInputError
from ._key_source import ApiKeySource, is_same_key
from ._redaction import hide_locals

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
    type_name = type(source).__name__
    raise InvalidInputError(f"source must be an ApiKeySource or Credentials, not {type_name}.")


class Renewal:
    """The credentials for one request, which may be sent again with other ones.

    Args:
        source: The source of the credentials.
        is_own: Returns whether the request is for a site.
    """

    def __init__(self, source: ApiKeySource, is_own: Callable[[str], bool]) -> None:
        self._source = source
        self._is_own = is_own
        self._is_renewed = False

    async def first(self) -> Credentials | None:
        """Return the credentials for the request; None if it is for another site."""
        site = self._source._site  # noqa: SLF001
        if site is not None and not self._is_own(site):
            return None
        credentials = await self._source.get()
        return credentials if self._is_own(credentials.site) else None

    async def next(
        self, sent: Credentials, status: int, challenges: Iterable[str]
    ) -> Credentials | None:
        """Return the credentials to send the request again with; None to return the response.

        All servers challenge with the same realm (feature levels 27 to 325 were
        recorded), and their proxies pass it on, however they compress the body.

        Args:
            sent: The credentials that it was sent with.
            status: The status code of the response.
            challenges: Its WWW-Authenticate headers.
        """
        if status < 400:
            self._source._note_success()  # noqa: SLF001
        if status != 401 or not any(_CHALLENGE in value.lower() for value in challenges):
            return None
        # After the first renewal, only a key that was replaced is a reason for another.
        renew = self._source.get() if self._is_renewed else self._source.refresh(sent)
        self._is_renewed = True
        with suppress(InvalidApiKeyError):
            credentials = await renew
            return None if is_same_key(credentials, sent) else credentials
        return None


class HTTPXAuthFlow:
    """`ApiKeyAuth` for httpx and httpx2, which differ only in their classes."""

    _url_class: ClassVar[type[Any]]
    _bytes_class: ClassVar[type[Any]]

    @hide_locals
    def __init__(self, source: ApiKeySource | Credentials) -> None:
        self._source = as_source(source)

    def sync_auth_flow(self, request: Any) -> NoReturn:  # noqa: ARG002
        """Raise an error: a synchronous client cannot wait for a login.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f"ApiKeyAuth requires {self._url_class.__module__}.AsyncClient.")

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Send the request with the key; after a rejection, once more with a new key."""
        renewal = Renewal(
            self._source, lambda site: _origin(self._url_class(site)) == _origin(request.url)
        )
        credentials = await renewal.first()
        if credentials is None:
            yield request
        while credentials is not None:
            request.headers["Authorization"] = basic_auth_header(credentials)
            response = yield request
            if _origin(response.url) != _origin(request.url):
                return  # after a redirect, the response is from another server
            challenges = response.headers.get_list("www-authenticate")
            credentials = await renewal.next(credentials, response.status_code, challenges)
            # Only bytes can be sent again; a stream or a file has been consumed.
            if not isinstance(request.stream, self._bytes_class):
                return


def _origin(url: Any) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port
