"""login() and dev_login(): one call, without a client."""

from __future__ import annotations

import ssl

from ._client import DEFAULT_RETRY_POLICY, AuthClient
from ._credentials import Credentials
from ._http.transport import AnyTransport
from ._redaction import hide_locals
from ._retry import RetryPolicy


@hide_locals
async def login(
    site: str,
    username: str,
    password: str,
    *,
    timeout: float = 30.0,
    retry: RetryPolicy = DEFAULT_RETRY_POLICY,
    ssl_context: ssl.SSLContext | None = None,
    transport: AnyTransport | None = None,
    user_agent: str | None = None,
    allow_http: bool = False,
) -> Credentials:
    """Log in to an organization with a password, once.

    For many logins to one organization, use one `AuthClient`. The options and
    exceptions are those of `AuthClient` and `AuthClient.login`.

    Args:
        site: The organization URL.
        username: The account's email address, or its LDAP name.
        password: The account's password.
        timeout: Seconds for the whole login, retries included.
        retry: The retry policy.
        ssl_context: The trusted CAs; the default is httpx's.
        transport: A transport of httpx or httpx2, which the caller closes.
        user_agent: Text to put before `zulip-auth/<version>` in the User-Agent
            header.
        allow_http: Whether plain http is allowed for all hosts.

    Returns:
        The credentials.

    Raises:
        ZulipAuthError: If the login fails; the class is the reason.

    Source: https://zulip.com/api/fetch-api-key
    """
    client = AuthClient(
        site,
        timeout=timeout,
        retry=retry,
        ssl_context=ssl_context,
        transport=transport,
        user_agent=user_agent,
        allow_http=allow_http,
    )
    return await client.login(username, password)


@hide_locals
async def dev_login(
    site: str,
    username: str,
    *,
    timeout: float = 30.0,
    retry: RetryPolicy = DEFAULT_RETRY_POLICY,
    ssl_context: ssl.SSLContext | None = None,
    transport: AnyTransport | None = None,
    user_agent: str | None = None,
    allow_http: bool = False,
) -> Credentials:
    """Log in to a development server without a password, once.

    The options and exceptions are those of `AuthClient` and
    `AuthClient.dev_login`.

    Args:
        site: The organization URL, such as `http://localhost:9991`.
        username: The account's email address.
        timeout: Seconds for the whole login, retries included.
        retry: The retry policy.
        ssl_context: The trusted CAs; the default is httpx's.
        transport: A transport of httpx or httpx2, which the caller closes.
        user_agent: Text to put before `zulip-auth/<version>` in the User-Agent
            header.
        allow_http: Whether plain http is allowed for all hosts.

    Returns:
        The credentials.

    Raises:
        ZulipAuthError: If the login fails; the class is the reason.

    Source: https://zulip.com/api/dev-fetch-api-key
    """
    client = AuthClient(
        site,
        timeout=timeout,
        retry=retry,
        ssl_context=ssl_context,
        transport=transport,
        user_agent=user_agent,
        allow_http=allow_http,
    )
    return await client.dev_login(username)
