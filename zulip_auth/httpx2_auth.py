"""Zulip's authentication for `httpx2.AsyncClient`.

httpx2.AsyncClient(auth=ApiKeyAuth(source), base_url=f"{source.site}/api/v1")
"""

from __future__ import annotations

try:
    import httpx2
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "zulip_auth.httpx2_auth requires an extra: pip install 'zulip-auth[httpx2]', "
        "in a clone '.[httpx2]'",
        name="httpx2",
    ) from None

from ._auth_flow import HTTPXAuthFlow


class ApiKeyAuth(HTTPXAuthFlow, httpx2.Auth):
    """Authenticate the requests to one site, and renew a revoked key.

    Requests to any other origin are sent unchanged. After a 401 because of the
    key, the request is sent once more with a new key from the source, unless its
    body is a stream or a file that has been consumed: then the caller gets the
    401, and the next request has the new key.

    httpx2 keeps the key on a redirect from `http://` to `https://` of the same host.
    It also uses the proxy of the environment for `http://localhost`; pass
    `trust_env=False` to the client for such a site.

    Exceptions of the source, each a `ZulipAuthError`, are raised by the request.

    Args:
        source: The source of the key, or credentials. Only its site receives the key.

    Raises:
        InvalidInputError: If `source` is neither.

    Source: https://zulip.com/api/http-headers, and recorded 401 responses.
    """

    _url_class = httpx2.URL
    _bytes_class = httpx2.ByteStream
