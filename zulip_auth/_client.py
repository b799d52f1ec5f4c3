"""A login, and each other call, from top to bottom."""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from attrs import evolve

from zulip_auth_client.api.authentication import (
    dev_fetch_api_key,
    fetch_api_key,
    get_own_user,
    get_server_settings,
    jwt_fetch_api_key,
    regenerate_own_api_key,
)
from zulip_auth_client.models import DevFetchApiKeyBody, FetchApiKeyBody, JwtFetchApiKeyBody

from ._credentials import Credentials, is_api_key, is_email
from ._exceptions import (
    APIConnectionError,
    APIStatusError,
    InvalidInputError,
    InvalidResponseError,
    ZulipAuthError,
)
from ._http.exchange import Endpoint, send
from ._http.pool import TransportPool
from ._http.transport import Transport
from ._models import ExternalMethod, Owner, ServerSettings
from ._redaction import Secret
from ._responses.context import RawResponse, RequestContext
from ._responses.success import (
    Reader,
    owner_parser,
    parse_credentials,
    parse_new_key,
    parse_response,
    parse_settings,
)
from ._retry import RetryPolicy, RetryState
from ._sso import SSOFlow
from ._urls import normalize_site
from ._validation import (
    MAX_TOKEN_LENGTH,
    validate_optional_type,
    validate_seconds,
    validate_text,
    validate_type,
    validate_user_agent,
)

_log = logging.getLogger("zulip_auth")
DEFAULT_RETRY_POLICY = RetryPolicy()
_LOST_KEY = (
    "The old key may be dead all the same, and the new one lost. Check the old one with "
    "verify(); where it is refused, log in again, which gives the new one."
)

Content = TypeVar("Content")


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
        retry: RetryPolicy = DEFAULT_RETRY_POLICY,
        ssl_context: ssl.SSLContext | None = None,
        transport: Transport | None = None,
        user_agent: str | None = None,
    ) -> None:
        self._site = normalize_site(site)
        self._timeout = validate_seconds("timeout", timeout, allow_zero=False)
        self._retry = validate_type("retry", retry, RetryPolicy)
        self._user_agent = validate_user_agent(user_agent)
        self._connections = TransportPool(
            self._site,
            validate_optional_type("ssl_context", ssl_context, ssl.SSLContext),
            validate_optional_type("transport", transport, Transport),
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
            username=validate_text("username", username),
            password=validate_text("password", secret.value),
        )
        endpoint = partial(fetch_api_key.asyncio_detailed, body=body)
        question = RequestContext(self._site, "password", (secret,))
        return await self._ask(endpoint, question, parse_credentials)

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
        body = DevFetchApiKeyBody(username=validate_text("username", username))
        endpoint = partial(dev_fetch_api_key.asyncio_detailed, body=body)
        return await self._ask(endpoint, RequestContext(self._site, "dev"), parse_credentials)

    async def jwt_login(self, token: str) -> Credentials:
        """Log in with a JSON web token that a program which the server trusts has signed.

        Args:
            token: The token, with the account's e-mail address in it.

        Returns:
            The credentials, without the account's number.

        Raises:
            InvalidInputError: The token makes no sense; nothing was sent.
            APIConnectionError: The server was not reached, or was lost.
            InvalidResponseError: Something answered, but not as Zulip does;
                so do servers before Zulip 7.0, which take no tokens.
            BadRequestError: The organization takes no tokens, or not this one.
            APIStatusError: The server refused; the class says why.

        Source: feature level 160 in https://zulip.com/api/changelog
        """
        secret = Secret(token)
        del token  # so that no traceback which shows variables shows it
        body = JwtFetchApiKeyBody(
            token=validate_text("token", secret.value, max_length=MAX_TOKEN_LENGTH)
        )
        endpoint = partial(jwt_fetch_api_key.asyncio_detailed, body=body)
        question = RequestContext(self._site, "jwt", (secret,))
        return await self._ask(endpoint, question, parse_credentials)

    async def server_settings(self) -> ServerSettings:
        """Ask the server which ways in there are, and what it is.

        Returns:
            What it says, which is no proof that a login works: it says so for
            a deactivated organization, too.

        Raises:
            APIConnectionError: The server was not reached, or was lost.
            InvalidResponseError: Something answered, but it is no Zulip server.
            InvalidSubdomainError: There is no such organization here.
            SubdomainRequiredError: This is the root of a server with many
                organizations.
            APIStatusError: The server refused; the class says why.

        Source: https://zulip.com/api/get-server-settings
        """
        return await self._ask(
            get_server_settings.asyncio_detailed,
            RequestContext(self._site, "nothing"),
            parse_settings,
            retry=self._harmless(),
        )

    def start_sso(self, method: ExternalMethod) -> SSOFlow:
        """Begin a login through a browser.

        Nothing is sent: the browser asks the server. The client's options play
        no part in it.

        Args:
            method: One of the `external_methods` of `server_settings()`.

        Returns:
            The flow: open its `url` in a browser, and give its `finish` the
            address that the browser ends at, within 10 minutes.

        Raises:
            InvalidInputError: It is no such method, or leads to another machine
                unencrypted.

        Source: https://zulip.com/api/changelog (feature level 108), and the
        recorded redirect of a real server.
        """
        return SSOFlow(self._site, method)

    async def verify(self, credentials: Credentials) -> Owner:
        """Ask the server whether an API key is good, and whose it is.

        Args:
            credentials: Those to check, which must be for this client's site.

        Returns:
            The key's owner.

        Raises:
            InvalidInputError: The credentials are for another site; nothing
                was sent.
            InvalidApiKeyError: The key is wrong or was revoked, or it is another
                account's. Zulip 10 says the same where the account or the
                organization is deactivated.
            UserDeactivatedError: The account is, and the server says so.
            RealmDeactivatedError: The organization is, and the server says so.
            APIConnectionError: The server was not reached, or was lost.
            InvalidResponseError: Something answered, but not as Zulip does.
            APIStatusError: The server refused; the class says why.

        Source: https://zulip.com/api/get-own-user
        """
        problem = _problem_with(credentials, self._site)
        if problem is not None:
            del credentials  # which may be anything, the key itself for one
            raise InvalidInputError(problem)
        return await self._ask(
            get_own_user.asyncio_detailed,
            self._question_with(credentials),
            owner_parser(credentials.user_id),
            credentials=credentials,
            retry=self._harmless(),
        )

    async def regenerate_api_key(self, credentials: Credentials) -> Credentials:
        """Replace the account's API key by a new one.

        The old key is dead at once, for everybody who holds it. A request that
        may have reached the server is not sent again: the second one would
        come with a dead key, and what it is refused with would hide that the
        first one went well.

        Args:
            credentials: Those with the old key, for this client's site.

        Returns:
            The same with the new key.

        Raises:
            InvalidInputError: The credentials are for another site; nothing
                was sent.
            InvalidApiKeyError: The old key is no good.
            APIConnectionError: The server was not reached, or was lost; where
                `.sent` is True, the old key may be dead, and the message says
                what to do.
            InvalidResponseError: Something answered, but not as Zulip does.
            APIStatusError: The server refused; the class says why.

        Source: `POST /users/me/api_key/regenerate`, as recorded from Zulip 10.
        """
        problem = _problem_with(credentials, self._site)
        if problem is not None:
            del credentials  # which may be anything, the key itself for one
            raise InvalidInputError(problem)
        api_key = await self._ask(
            regenerate_own_api_key.asyncio_detailed,
            self._question_with(credentials),
            parse_new_key,
            credentials=credentials,
            retry=evolve(self._retry, max_sends=1),
            if_lost=_LOST_KEY,
        )
        return evolve(credentials, api_key=api_key)

    def _question_with(self, credentials: Credentials) -> RequestContext:
        email, api_key = credentials.basic_auth
        # The server might repeat the header, in which both are encoded as one.
        secrets = (Secret(f"{email}:{api_key}"), Secret(api_key))
        return RequestContext(self._site, "key", secrets)

    def _harmless(self) -> RetryPolicy:
        """Return the policy for what may be asked any number of times."""
        return evolve(self._retry, max_sends=self._retry.attempts)

    async def _ask(
        self,
        endpoint: Endpoint,
        question: RequestContext,
        read: Reader[Content],
        *,
        credentials: Credentials | None = None,
        retry: RetryPolicy | None = None,
        if_lost: str | None = None,
    ) -> Content:
        retry = retry or self._retry
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout
        tries = RetryState(retry)
        async with self._connections.lend(deadline) as transport:
            while True:
                outcome = await send(
                    endpoint,
                    site=self._site,
                    transport=transport,
                    timeout=self._timeout,
                    deadline=deadline,
                    user_agent=self._user_agent,
                    credentials=credentials,
                )
                came = outcome.result
                result = (
                    parse_response(came, question, read) if isinstance(came, RawResponse) else came
                )
                if not isinstance(result, ZulipAuthError):
                    return result
                wait = tries.next_wait(result, sent=outcome.sent, remaining=deadline - clock())
                if wait is None:
                    break
                _log.info(
                    "%s Trying again in %.1f s, attempt %d of %d.",
                    *(result, wait, tries.made + 1, retry.attempts),
                )
                await asyncio.sleep(wait)
        if isinstance(result, APIConnectionError):
            result.sent = tries.seen
        if if_lost and _may_be_done(result):
            result.args = (f"{result} {if_lost}",)
        raise result


def _problem_with(credentials: Credentials, site: str) -> str | None:
    """Return what, if anything, is wrong with credentials to send to a site."""
    if not isinstance(credentials, Credentials):
        return f"credentials must be Credentials, not {type(credentials).__name__}."
    if not (is_email(credentials.email) and is_api_key(credentials.api_key)):
        return "credentials have an email or an API key that no login gives."
    if credentials.site != site:
        return f"credentials are for another site than {site}."
    return None


def _may_be_done(error: ZulipAuthError) -> bool:
    """Tell whether the server may have done what it was asked to, and nobody heard of it."""
    if isinstance(error, APIConnectionError):
        return error.sent
    # Nothing else is raised once there has been a request.
    assert isinstance(error, InvalidResponseError | APIStatusError)
    status = error.status_code or 0
    return status < 300 or status == 408 or status >= 500
