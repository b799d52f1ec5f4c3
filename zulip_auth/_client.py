"""A login, from top to bottom."""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial
from types import TracebackType
from typing import Self

from zulip_auth_client.api.authentication import dev_fetch_api_key, fetch_api_key
from zulip_auth_client.models import DevFetchApiKeyBody, FetchApiKeyBody

from ._answers import Answer, Question, read_answer
from ._connections import Connections
from ._credentials import Credentials
from ._errors import APIConnectionError
from ._inputs import (
    checked_instance,
    checked_option,
    checked_seconds,
    checked_text,
    checked_user_agent,
)
from ._retry import RetryPolicy, Tries
from ._secrets import Secret
from ._send import Endpoint, send
from ._site import normalise_site
from ._transport import Transport

_log = logging.getLogger("zulip_auth")
_DEFAULT_RETRY = RetryPolicy()


class AuthClient:
    """Logs in to one organization, with the same options each time.

    It works in any event loop, any number of times, many logins at once. As
    `async with AuthClient(…) as client:` it keeps connections between them.

    Args:
        site: The organization's address. `chat.example.com` means https;
            plain http is for loopback addresses alone.
        timeout: Seconds for a whole login: tries, waits, slow answers.
        retry: How often a login is tried again, and after which waits.
        ssl_context: Which certificates to trust, in place of httpx's.
        transport: An httpx transport that carries the requests. The caller
            owns and closes it; proxies, certificates and how many connections
            there are at once are its business. It gets the body of each
            request as a stream, once.
        user_agent: What to put before `zulip-auth/<version>` in the header
            of that name.

    Raises:
        InvalidInputError: An argument makes no sense.
    """

    def __init__(
        self,
        site: str,
        *,
        timeout: float = 30.0,
        retry: RetryPolicy = _DEFAULT_RETRY,
        ssl_context: ssl.SSLContext | None = None,
        transport: Transport | None = None,
        user_agent: str | None = None,
    ) -> None:
        self._site = normalise_site(site)
        self._timeout = checked_seconds("timeout", timeout, zero=False)
        self._retry = checked_instance("retry", retry, RetryPolicy)
        self._user_agent = checked_user_agent(user_agent)
        self._connections = Connections(
            self._site,
            checked_option("ssl_context", ssl_context, ssl.SSLContext),
            checked_option("transport", transport, Transport),
        )

    @property
    def site(self) -> str:
        """Return the organization's address, normalised."""
        return self._site

    def __repr__(self) -> str:
        # A traceback may show one whose arguments were refused.
        return f"<AuthClient {getattr(self, '_site', 'without a site')}>"

    async def __aenter__(self) -> Self:
        self._connections.keep()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connections.close()

    async def login(self, username: str, password: str) -> Credentials:
        """Log in with a password.

        Args:
            username: The account's e-mail address in any case, or its LDAP
                name where the organization takes those.
            password: The account's password.

        Returns:
            The credentials, with the e-mail address as the server spells it.

        Raises:
            InvalidInputError: An argument makes no sense; nothing was sent.
            APIConnectionError: The server was not reached, or was lost.
            InvalidResponseError: Something answered, but not as Zulip does.
            APIStatusError: The server refused; the class says why.

        Source: https://zulip.com/api/fetch-api-key, and the answers that real
        servers give beside the documented one.
        """
        secret = Secret(password)
        del password  # so that no traceback which shows variables shows it
        body = FetchApiKeyBody(
            username=checked_text("username", username),
            password=checked_text("password", secret.value),
        )
        endpoint = partial(fetch_api_key.asyncio_detailed, body=body)
        return await self._log_in(endpoint, Question(self._site, secret))

    async def dev_login(self, username: str) -> Credentials:
        """Log in to a development server without a password.

        Args:
            username: The account's e-mail address.

        Returns:
            The credentials, with the e-mail address as the server spells it.

        Raises:
            InvalidInputError: The username makes no sense; nothing was sent.
            APIConnectionError: The server was not reached, or was lost.
            InvalidResponseError: Something answered, but not as Zulip does.
            DevAuthDisabledError: The server does not offer this.
            APIStatusError: The server refused; the class says why.

        Source: https://zulip.com/api/dev-fetch-api-key, and the answers that
        real servers give beside the documented one.
        """
        body = DevFetchApiKeyBody(username=checked_text("username", username))
        endpoint = partial(dev_fetch_api_key.asyncio_detailed, body=body)
        return await self._log_in(endpoint, Question(self._site))

    async def _log_in(self, endpoint: Endpoint, question: Question) -> Credentials:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout
        tries = Tries(self._retry)
        async with self._connections.lend(deadline) as transport:
            while True:
                outcome = await send(
                    endpoint,
                    site=self._site,
                    transport=transport,
                    timeout=self._timeout,
                    deadline=deadline,
                    user_agent=self._user_agent,
                )
                came = outcome.result
                result = read_answer(came, question) if isinstance(came, Answer) else came
                if isinstance(result, Credentials):
                    return result
                wait = tries.wait_after(result, sent=outcome.sent, remaining=deadline - clock())
                if wait is None:
                    break
                _log.info(
                    "%s Trying again in %.1f s, attempt %d of %d.",
                    *(result, wait, tries.made + 1, self._retry.attempts),
                )
                await asyncio.sleep(wait)
        if isinstance(result, APIConnectionError):
            result.sent = tries.seen
        raise result


async def login(
    site: str,
    username: str,
    password: str,
    *,
    timeout: float = 30.0,
    retry: RetryPolicy = _DEFAULT_RETRY,
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
    retry: RetryPolicy = _DEFAULT_RETRY,
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
