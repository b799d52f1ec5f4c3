"""AuthClient: one method per endpoint, one retry loop."""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from attrs import evolve

from zulip_auth_client import models
from zulip_auth_client.api import authentication as endpoints

from ._credentials import Credentials, basic_auth_header, is_api_key, is_email
from ._exceptions import (
    APIConnectionError,
    APIStatusError,
    InvalidInputError,
    InvalidResponseError,
    InvalidSubdomainError,
    ServerError,
    SubdomainRequiredError,
    ZulipAuthError,
)
from ._http.exchange import Endpoint, send
from ._http.pool import TransportPool, adapt_transport
from ._http.transport import AnyTransport, Transport
from ._models import Bot, ExternalMethod, Owner, ServerSettings
from ._redaction import hide_locals
from ._responses.context import RequestContext
from ._responses.success import (
    Parser,
    parse_bots,
    parse_credentials,
    parse_jwt_credentials,
    parse_key,
    parse_owner,
    parse_response,
    parse_settings,
)
from ._retry import RetryPolicy, RetryState
from ._sso import SSOFlow
from ._throttle import login_slot
from ._urls import is_development_site, is_secure_url, normalize_site
from ._validation import (
    MAX_TOKEN_LENGTH,
    get_asyncio_loop,
    validate_seconds,
    validate_ssl_context,
    validate_text,
    validate_type,
    validate_user_agent,
)

logger = logging.getLogger("zulip_auth")
DEFAULT_RETRY_POLICY = RetryPolicy()
_REGENERATE_HINT = (
    "The key may have been replaced anyway. Check the old key with verify(); if it is "
    "rejected, log in again to get the new one."
)

T = TypeVar("T")


class AuthClient:
    """Log in to one organization, with the same options each time.

    A client works in any event loop, any number of times, with many logins
    concurrently. As `async with AuthClient(…) as client:` it reuses connections.

    Args:
        site: The organization URL. `chat.example.com` means https; plain http
            is for loopback addresses only. For `*.localhost` and
            `*.zulipdev.com`, `dev_login` and `server_settings` work over it.
        timeout: Seconds for a whole call, retries included.
        retry: The retry policy.
        ssl_context: The trusted CAs; the default is httpx's.
        transport: A transport of httpx or httpx2, which the caller closes. It is
            responsible for proxies, certificates and connection limits, and
            gets the body of each request as a stream that can be read once.
            An `httpx.AsyncHTTPTransport` searches all of its connections for
            each request, which makes many concurrent logins slow.
        user_agent: Text to put before `zulip-auth/<version>` in the User-Agent
            header.
        allow_http: Whether plain http is allowed for all hosts, which sends
            passwords and keys unencrypted.

    Raises:
        InvalidInputError: If an argument is invalid.
        InsecureSiteError: If the site is plain http and *allow_http* is False.
    """

    def __init__(
        self,
        site: str,
        *,
        timeout: float = 30.0,
        retry: RetryPolicy = DEFAULT_RETRY_POLICY,
        ssl_context: ssl.SSLContext | None = None,
        transport: AnyTransport | None = None,
        user_agent: str | None = None,
        allow_http: bool = False,
    ) -> None:
        self._allow_http = validate_type("allow_http", allow_http, bool)
        self._site = normalize_site(site, allow_http=True)
        self._is_secure = is_secure_url(self._site, allow_http=allow_http)
        if not is_development_site(self._site):
            self._check_secure()
        self._timeout = validate_seconds("timeout", timeout, allow_zero=False)
        self._retry = validate_type("retry", retry, RetryPolicy)
        self._user_agent = validate_user_agent(user_agent)
        self._pool = TransportPool(
            self._site,
            validate_ssl_context(ssl_context),
            adapt_transport(transport),
        )

    @property
    def site(self) -> str:
        """The normalized organization URL."""
        return self._site

    def __repr__(self) -> str:
        # A traceback may show one whose arguments were invalid.
        return f"<AuthClient {getattr(self, '_site', 'without a site')}>"

    async def __aenter__(self) -> Self:
        self._pool.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._pool.aclose()

    @hide_locals
    async def login(self, username: str, password: str) -> Credentials:
        """Log in with a password.

        The server counts an attempt, and emails the account's owner on success.

        Args:
            username: The account's email address in any case, or its LDAP name
                if the organization accepts those.
            password: The account's password.

        Returns:
            The credentials, with the email address as the server spells it.

        Raises:
            InvalidInputError: If an argument is invalid; no request was made.
            APIConnectionError: If there is no response from the server.
            InvalidResponseError: If the response is not from the Zulip API.
            APIStatusError: If the server rejects the login; the class is the
                reason.

        Source: https://zulip.com/api/fetch-api-key, and error responses
        recorded from real servers.
        """
        body = models.FetchApiKeyBody(
            username=validate_text("username", username),
            password=validate_text("password", password),
        )
        endpoint = partial(endpoints.fetch_api_key.asyncio_detailed, body=body)
        is_bot = "-bot@" in username.lower()
        context = RequestContext(self._site, "password", (password,), is_bot)
        del password, body
        deadline = self._deadline()
        async with login_slot(self._site, username, deadline):
            return await self._request(endpoint, parse_credentials, context, deadline=deadline)

    @hide_locals
    async def dev_login(self, username: str) -> Credentials:
        """Log in to a development server without a password.

        Args:
            username: The account's email address.

        Returns:
            The credentials, with the email address as the server spells it.

        Raises:
            InvalidInputError: If the username is invalid; no request was made.
            APIConnectionError: If there is no response from the server.
            InvalidResponseError: If the response is not from the Zulip API.
            DevAuthDisabledError: If the server does not offer development login.
            APIStatusError: If the server rejects the login; the class is the
                reason.

        Source: https://zulip.com/api/dev-fetch-api-key, and error responses
        recorded from real servers.
        """
        body = models.DevFetchApiKeyBody(username=validate_text("username", username))
        endpoint = partial(endpoints.dev_fetch_api_key.asyncio_detailed, body=body)
        context = RequestContext(self._site, "dev")
        return await self._request(endpoint, parse_credentials, context)

    @hide_locals
    async def jwt_login(self, token: str) -> Credentials:
        """Log in with a JSON web token, signed by a program that the server trusts.

        Args:
            token: The token, with the account's email address as a claim.

        Returns:
            The credentials.

        Raises:
            InvalidInputError: If the token is invalid; no request was made.
            APIConnectionError: If there is no response from the server.
            InvalidResponseError: If the response is not from the Zulip API, or
                the server is older than Zulip 7.0.
            BadRequestError: If the organization rejects the token, or all tokens.
            APIStatusError: If the server rejects the login; the class is the
                reason.

        Source: feature level 160 in https://zulip.com/api/changelog
        """
        body = models.JwtFetchApiKeyBody(
            token=validate_text("token", token, max_length=MAX_TOKEN_LENGTH),
            include_profile=True,  # for the user ID
        )
        endpoint = partial(endpoints.jwt_fetch_api_key.asyncio_detailed, body=body)
        context = RequestContext(self._site, "jwt", (token,))
        del token, body
        return await self._request(endpoint, parse_jwt_credentials, context)

    @hide_locals
    async def server_settings(self) -> ServerSettings:
        """Return the settings of the organization, with its login methods.

        Returns:
            The settings. They do not prove that a login works: a deactivated
            organization returns them as well.

        Raises:
            APIConnectionError: If there is no response from the server.
            InvalidResponseError: If the response is not from the Zulip API.
            InvalidSubdomainError: If there is no such organization.
            SubdomainRequiredError: If this is the root domain of a server,
                without an organization.
            APIStatusError: If the server rejects the request.

        Source: https://zulip.com/api/get-server-settings
        """
        endpoint = endpoints.get_server_settings.asyncio_detailed
        return await self._get(endpoint, parse_settings, RequestContext(self._site, "none"))

    def start_sso(self, method: ExternalMethod) -> SSOFlow:
        """Start a login in a browser.

        No request is made: the browser makes them. The client's options do not
        apply to it.

        Args:
            method: One of the `external_methods` of `server_settings()`.

        Returns:
            The flow. Open its `url` in a browser, and pass the URL that the
            browser is redirected to to `finish`, within 10 minutes.

        Raises:
            InvalidInputError: If the method is invalid, or its URL is plain
                http to another machine.

        Source: https://zulip.com/api/changelog (feature level 108), and a
        redirect recorded from a real server.
        """
        return SSOFlow(self._site, method, allow_http=self._allow_http)

    @hide_locals
    async def verify(self, credentials: Credentials) -> Owner:
        """Return the owner of an API key, if the key is valid.

        Args:
            credentials: The credentials, for this client's site.

        Raises:
            InvalidInputError: If the credentials are for another site, or
                invalid; no request was made.
            InvalidApiKeyError: If the key is invalid or revoked, belongs to
                another account or to an incoming webhook bot, or did not reach
                the server.
            UserDeactivatedError: If the account is deactivated.
            RealmDeactivatedError: If the organization is deactivated.
            InvalidSubdomainError: If the account belongs to another
                organization, or there is none at the site.
            APIConnectionError: If there is no response from the server.
            InvalidResponseError: If the response is not from the Zulip API.
            APIStatusError: If the server rejects the request.

        Source: https://zulip.com/api/get-own-user
        """
        context = self._api_key_context(credentials)
        parse = partial(parse_owner, user_id=credentials.user_id)
        return await self._get(endpoints.get_own_user.asyncio_detailed, parse, context)

    @hide_locals
    async def regenerate_api_key(self, credentials: Credentials) -> Credentials:
        """Replace the account's API key.

        The old key is revoked immediately, and the account's mobile push
        registrations are removed. A request that may have reached the
        server is not sent again: the second one would carry a revoked key, and
        its rejection would hide the success of the first.

        Args:
            credentials: The credentials with the old key, for this client's
                site.

        Returns:
            The credentials with the new key.

        Raises:
            InvalidInputError: If the credentials are for another site, or
                invalid; no request was made.
            InvalidApiKeyError: If the server rejects the old key; see `verify`
                for the other reasons.
            APIConnectionError: If there is no response from the server. If
                `.sent` is True, the old key may be revoked.
            InvalidResponseError: If the response is not from the Zulip API.
            APIStatusError: If the server rejects the request.

        Source: `POST /users/me/api_key/regenerate`, recorded from Zulip 10.
        """
        context = self._api_key_context(credentials)
        endpoint = endpoints.regenerate_own_api_key.asyncio_detailed
        try:
            # A fresh connection: a server may close an idle one just now, and
            # the request would count as sent.
            api_key = await self._request(endpoint, parse_key, context, max_sends=1, fresh=True)
        except ZulipAuthError as error:
            if _may_have_succeeded(error):
                error.args = (f"{error} {_REGENERATE_HINT}",)
            raise
        return evolve(credentials, api_key=api_key)

    @hide_locals
    async def bots(self, credentials: Credentials) -> tuple[Bot, ...]:
        """Return the active bots that the account owns, with their API keys.

        Args:
            credentials: The credentials of the owner, for this client's site.

        Returns:
            The bots, oldest first.

        Raises:
            InvalidInputError: If the credentials are for another site, or
                invalid; no request was made.
            InvalidApiKeyError: If the server rejects the key; see `verify` for
                the other reasons.
            APIConnectionError: If there is no response from the server.
            InvalidResponseError: If the response is not from the Zulip API.
            APIStatusError: If the server rejects the request.

        Source: `GET /bots`, recorded from Zulip 10, and
        https://zulip.com/api/get-bot-api-key (feature level 463).
        """
        context, deadline = self._api_key_context(credentials), self._deadline()
        bots = []
        endpoint: Endpoint = endpoints.get_own_bots.asyncio_detailed
        for name, full_name, api_key, user_id in await self._get(
            endpoint, parse_bots, context, deadline
        ):
            if api_key is None:
                assert user_id is not None  # by parse_bots
                endpoint = partial(endpoints.get_bot_api_key.asyncio_detailed, user_id)
                api_key = await self._get(endpoint, parse_key, context, deadline)
            bots.append(Bot(name, full_name, Credentials(self._site, name, api_key, user_id)))
        return tuple(bots)

    def _check_secure(self) -> None:
        """Raise InsecureSiteError if secrets must not be sent to the site."""
        if not self._is_secure:
            normalize_site(self._site)

    def _api_key_context(self, credentials: Credentials) -> RequestContext:
        """Return the context of requests with these credentials, if they are valid."""
        validate_type("credentials", credentials, Credentials)
        if not (is_email(credentials.email) and is_api_key(credentials.api_key)):
            raise InvalidInputError("credentials contain an invalid email or API key.")
        if credentials.site != self._site:
            raise InvalidInputError(f"credentials are for a different site, not {self._site}.")
        email, api_key = credentials.basic_auth
        return RequestContext(
            self._site,
            "api_key",
            # A server may repeat the header, which encodes both as one.
            (f"{email}:{api_key}", api_key),
            authorization=basic_auth_header(credentials),
        )

    async def _get(
        self,
        endpoint: Endpoint,
        parse: Parser[T],
        context: RequestContext,
        deadline: float | None = None,
    ) -> T:
        """Send an idempotent request."""
        return await self._request(
            endpoint, parse, context, max_sends=self._retry.attempts, deadline=deadline
        )

    def _deadline(self) -> float:
        return get_asyncio_loop().time() + self._timeout

    async def _request(
        self,
        endpoint: Endpoint,
        parse: Parser[T],
        context: RequestContext,
        *,
        max_sends: int | None = None,
        deadline: float | None = None,
        fresh: bool = False,
    ) -> T:
        """Send a request, with retries, and parse the response.

        Args:
            endpoint: The endpoint function of the generated client.
            parse: The parser of its model.
            context: The request.
            max_sends: The limit of sends, in place of the policy's.
            deadline: The end of the call, by the clock of the running loop;
                the default is `timeout` from now.
            fresh: Whether to open a new connection.
        """
        if context.auth not in ("dev", "none"):
            self._check_secure()
        loop = get_asyncio_loop()
        deadline = deadline or self._deadline()
        policy = self._retry if max_sends is None else evolve(self._retry, max_sends=max_sends)
        state = RetryState(policy)
        check_site = context.auth in ("password", "dev")
        async with self._pool.acquire(deadline, fresh=fresh) as transport:
            while True:
                try:
                    return await self._send(endpoint, parse, context, transport, deadline)
                except ZulipAuthError as error:
                    if check_site and _may_have_no_organization(error):
                        check_site = False
                        await self._check_organization(transport, deadline)
                    delay = state.next_wait(error, remaining=deadline - loop.time())
                    if delay is None:
                        if isinstance(error, APIConnectionError):
                            error.sent = state.sent
                        raise
                    logger.info(
                        "%s Retrying in %.1f s (attempt %d of %d).",
                        *(error, delay, state.attempts + 1, self._retry.attempts),
                    )
                await asyncio.sleep(delay)

    async def _send(
        self,
        endpoint: Endpoint,
        parse: Parser[T],
        context: RequestContext,
        transport: Transport,
        deadline: float,
    ) -> T:
        """Send a request once, and parse the response."""
        parsed = await send(
            endpoint,
            context,
            transport=transport,
            timeout=self._timeout,
            deadline=deadline,
            user_agent=self._user_agent,
        )
        return parse_response(parsed, parse, context)

    async def _check_organization(self, transport: Transport, deadline: float) -> None:
        """Raise the exception of `server_settings` if there is no organization."""
        endpoint = endpoints.get_server_settings.asyncio_detailed
        context = RequestContext(self._site, "none")
        try:
            await self._send(endpoint, parse_settings, context, transport, deadline)
        except ZulipAuthError as error:
            if isinstance(error, InvalidSubdomainError | SubdomainRequiredError):
                raise


def _may_have_no_organization(error: ZulipAuthError) -> bool:
    """Return whether *error* may be that of Zulip 3 for a site without an organization."""
    return (
        isinstance(error, ServerError)
        and (error.status_code, error.code, error.attempts_remaining) == (500, None, None)
        and error.message == "Internal server error"
    )


def _may_have_succeeded(error: ZulipAuthError) -> bool:
    """Return whether the server may have done what was requested."""
    if isinstance(error, APIConnectionError):
        return error.sent
    if not isinstance(error, APIStatusError | InvalidResponseError):
        return False
    status = error.status_code or 0
    return status < 300 or status == 408 or status >= 500
