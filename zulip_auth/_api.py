"""A login in one call, for who needs no client."""

from __future__ import annotations

import ssl

from ._client import DEFAULT_RETRY_POLICY, AuthClient
from ._credentials import Credentials
from ._http.transport import Transport
from ._redaction import Secret
from ._retry import RetryPolicy


async def login(
    site: str,
    username: str,
    password: str,
    *,
    timeout: float = 30.0,
    retry: RetryPolicy = DEFAULT_RETRY_POLICY,
    ssl_context: ssl.SSLContext | None = None,
    transport: Transport | None = None,
    user_agent: str | None = None,
) -> Credentials:
    """Log in to an organization with a password, once.

    For many logins to one organization, use one `AuthClient`. The options, and
    what is raised, are those of `AuthClient` and `AuthClient.login`.

    Args:
        site: The organization's address.
        username: The account's e-mail address, or its LDAP name.
        password: The account's password.
        timeout: Seconds for the whole login: tries, waits, slow answers.
        retry: How often it is tried again, and after which waits.
        ssl_context: Which certificates to trust, in place of httpx's.
        transport: An httpx transport, which the caller owns and closes.
        user_agent: What to put before `zulip-auth/<version>`.

    Returns:
        The credentials.

    Raises:
        ZulipAuthError: What went wrong; each kind has a class of its own.

    Source: https://zulip.com/api/fetch-api-key
    """
    secret = Secret(password)
    del password  # so that no traceback which shows variables shows it
    client = AuthClient(
        site,
        timeout=timeout,
        retry=retry,
        ssl_context=ssl_context,
        transport=transport,
        user_agent=user_agent,
    )
    return await client.login(username, secret.value)


async def dev_login(
    site: str,
    username: str,
    *,
    timeout: float = 30.0,
    retry: RetryPolicy = DEFAULT_RETRY_POLICY,
    ssl_context: ssl.SSLContext | None = None,
    transport: Transport | None = None,
    user_agent: str | None = None,
) -> Credentials:
    """Log in to a development server without a password, once.

    The options, and what is raised, are those of `AuthClient` and
    `AuthClient.dev_login`.

    Args:
        site: The organization's address, such as `http://localhost:9991`.
        username: The account's e-mail address.
        timeout: Seconds for the whole login: tries, waits, slow answers.
        retry: How often it is tried again, and after which waits.
        ssl_context: Which certificates to trust, in place of httpx's.
        transport: An httpx transport, which the caller owns and closes.
        user_agent: What to put before `zulip-auth/<version>`.

    Returns:
        The credentials.

    Raises:
        ZulipAuthError: What went wrong; each kind has a class of its own.

    Source: https://zulip.com/api/dev-fetch-api-key
    """
    client = AuthClient(
        site,
        timeout=timeout,
        retry=retry,
        ssl_context=ssl_context,
        transport=transport,
        user_agent=user_agent,
    )
    return await client.dev_login(username)
