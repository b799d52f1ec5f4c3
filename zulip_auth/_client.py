"""AuthClient: one method per operation, one retry loop; login() and dev_login()."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, NoReturn, TypeVar

from attrs import evolve

from ._credentials import Credentials, basic_auth_header, is_api_key, is_email
from ._errors import AuthMethod, RequestContext
from ._event_loop import get_asyncio_loop, load
from ._exceptions import (
    APIConnectionError,
    InvalidInputError,
    InvalidSubdomainError,
    ServerError,
    SubdomainRequiredError,
    ZulipAuthError,
    may_have_succeeded,
)
from ._limits import attempt_slot
from ._models import Bot, ExternalMethod, Owner, ServerSettings
from ._redaction import hide_locals
from ._retry import RetryPolicy, RetryState
from ._site import is_development_site, normalize_site
from ._sso import SSOFlow
from ._validation import (
    header_secrets,
    validate_ascii,
    validate_headers,
    validate_seconds,
    validate_ssl_context,
    validate_text,
    validate_type,
)

if TYPE_CHECKING:
    import httpx

    from . import _http, _operations
    from ._operations import Operation

logger = logging.getLogger("zulip_auth")
DEFAULT_RETRY_POLICY = RetryPolicy()
_REGENERATE_HINT = "The key may have been replaced: if verify() rejects it, log in again."

T = TypeVar("T")


class AuthClient:
    """Log in to one organization, with the same options each time.

    A client holds its options and no connection: it works in any event loop,
    thread and forked process, any number of times, with many concurrent logins.

    Args:
        site: The organization URL. `chat.example.com` means https; plain http
            is for loopback addresses only. For `*.localhost` and
            `*.zulipdev.com`, `dev_login` and `server_settings` work over it.
        timeout: Seconds for a whole call, retries included.
        retry: The retry policy.
        ssl_context: The trusted CAs; the default is httpx's.
        transport: A transport of httpx, which the caller closes. It is
            responsible for proxies, certificates and the reuse of connections.
            By default, each attempt opens a connection and closes it.
        user_agent: Text to put before `zulip-auth/<version>` in the User-Agent
            header.
        headers: Headers to send with each request, for an access gateway in
            front of the server. They are secrets, and may not replace those
            of the protocol.
        allow_http: Whether plain http is allowed for all hosts, which sends
            passwords and keys unencrypted.

    Raises:
        InvalidInputError: If an argument is invalid.
        InsecureSiteError: If the site is plain http and *allow_http* is False.
    """

    @hide_locals
    def __init__(
        self,
        site: str,
        *,
        timeout: float = 30.0,
        retry: RetryPolicy = DEFAULT_RETRY_POLICY,
        ssl_context: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        user_agent: str | None = None,
        headers: Mapping[str, str] | None = None,
        allow_http: bool = False,
    ) -> None:
        self._allow_http = validate_type("allow_http", allow_http, bool)
        site = normalize_site(site, allow_http=True)
        # Secrets are not sent to a development site over http, see _request.
        self._site = normalize_site(site, allow_http=allow_http or is_development_site(site))
        self._timeout = validate_seconds("timeout", timeout)
        self._retry = validate_type("retry", retry, RetryPolicy)
        self._user_agent = None if user_agent is None else validate_ascii("user_agent", user_agent)
        self._headers = validate_headers(headers)
        self._ssl_context = validate_ssl_context(ssl_context)
        if transport is not None:
            from ._http import validate_transport

            validate_transport(transport)
        self._transport = transport

    @property
    def site(self) -> str:
        """The normalized organization URL."""
        return self._site

    def __repr__(self) -> str:
        # A traceback may show one whose arguments were invalid.
        return f"<AuthClient {getattr(self, '_site', 'without a site')}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "cannot pickle AuthClient: it may have a transport or a TLS context. Pass its site and "
            "options to the other process, and create a client there."
        )

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
        validate_text("username", username)
        validate_text("password", password)
        context = self._context("password", password, username=username)
        deadline = await self._start()
        return await self._request(_operations.login(username, password), context, deadline)

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
        context = self._context("dev", username=validate_text("username", username))
        deadline = await self._start()
        return await self._request(_operations.dev_login(username), context, deadline)

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
        context = self._context("jwt", validate_text("token", token))
        deadline = await self._start()
        return await self._request(_operations.jwt_login(token), context, deadline)

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
        context = self._context("none")
        deadline = await self._start()
        return await self._request(_operations.server_settings(), context, deadline)

    def start_sso(self, method: ExternalMethod) -> SSOFlow:
        """Start a login in a browser.

        No request is made: the browser makes them. The client's options do not
        apply to it.

        Args:
            method: One of the `external_methods` of `server_settings()`.

        Returns:
            The flow. Open its `url` in a browser, and pass the redirect URL
            to `finish`, within 10 minutes.

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
        return await self._owner(credentials, await self._start())

    @hide_locals
    async def regenerate_api_key(
        self, credentials: Credentials, *, bot: Bot | None = None
    ) -> Credentials:
        """Replace the API key of the account, or of one of its bots, with a new one.

        The old key is revoked immediately: every program that holds it has to get
        the new one. Mobile push notifications of the account end as well. A
        request that may have reached the server is not sent again.

        Args:
            credentials: The credentials with the old key, or those of the
                bot's owner, for this client's site.
            bot: One of `bots(credentials)`.

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

        Source: `POST /users/me/api_key/regenerate` and
        `POST /bots/{id}/api_key/regenerate`, recorded from Zulip 10.
        """
        context = self._api_key_context(credentials)
        deadline = await self._start()
        old, bot_id = credentials, None
        if bot is not None:
            old = await self._credentials_of(bot, context, deadline)
            bot_id = bot.user_id or (await self._owner(old, deadline)).user_id
            old = evolve(old, user_id=bot_id)
        operation = _operations.regenerate_api_key(bot_id)
        try:
            api_key = await self._request(operation, context, deadline)
        except ZulipAuthError as error:
            if may_have_succeeded(error):
                error.args = (f"{error} {_REGENERATE_HINT}",)
            raise
        return evolve(old, api_key=api_key)

    @hide_locals
    async def bots(self, credentials: Credentials, *, keys: bool = True) -> tuple[Bot, ...]:
        """Return the active bots that the account owns.

        Args:
            credentials: The credentials of the owner, for this client's site.
            keys: Whether to request the keys that the server keeps apart. If
                not, `Bot.credentials` is None for those bots.

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
        context = self._api_key_context(credentials)
        deadline = await self._start()
        bots = await self._request(_operations.own_bots(), context, deadline)
        if not keys:
            return bots

        async def with_key(bot: Bot) -> Bot:
            return evolve(bot, credentials=await self._credentials_of(bot, context, deadline))

        return tuple([await with_key(bot) for bot in bots])

    @hide_locals
    async def bot_credentials(self, credentials: Credentials, bot: Bot) -> Credentials:
        """Return the credentials of one bot of the account.

        Args:
            credentials: The credentials of the owner, for this client's site.
            bot: One of `bots(credentials, keys=False)`.

        Raises:
            InvalidInputError: If the credentials are for another site, or
                invalid; no request was made.
            APIStatusError: If the server rejects the request; see `bots` for
                the other reasons.

        Source: https://zulip.com/api/get-bot-api-key (feature level 463).
        """
        context = self._api_key_context(credentials)
        return await self._credentials_of(bot, context, await self._start())

    async def _credentials_of(
        self, bot: Bot, context: RequestContext, deadline: float
    ) -> Credentials:
        """Return the credentials of a bot; the context is that of its owner."""
        validate_type("bot", bot, Bot)
        if bot.credentials is not None:
            return bot.credentials
        if bot.user_id is None:
            raise InvalidInputError("bot has neither credentials nor a user ID.")
        api_key = await self._request(_operations.bot_api_key(bot.user_id), context, deadline)
        return Credentials(self._site, bot.username, api_key, bot.user_id)

    async def _owner(self, credentials: Credentials, deadline: float) -> Owner:
        context = self._api_key_context(credentials)
        operation = _operations.own_user(credentials.user_id)
        return await self._request(operation, context, deadline)

    def _api_key_context(self, credentials: Credentials) -> RequestContext:
        """Return the context of requests with these credentials, if they are valid."""
        validate_type("credentials", credentials, Credentials)
        if not (is_email(credentials.email) and is_api_key(credentials.api_key)):
            raise InvalidInputError("credentials contain an invalid email or API key.")
        if credentials.site != self._site:
            raise InvalidInputError(f"credentials are for a different site, not {self._site}.")
        email, api_key = credentials.basic_auth
        # A server may repeat the header, which encodes both as one.
        context = self._context("api_key", f"{email}:{api_key}", api_key)
        return evolve(context, authorization=basic_auth_header(credentials))

    def _context(
        self, auth: AuthMethod, *secrets: str, username: str | None = None
    ) -> RequestContext:
        secrets += header_secrets(self._headers)
        return RequestContext(self._site, auth, secrets, username, headers=self._headers)

    async def _start(self) -> float:
        """Prepare for requests, and return the end of the call, by the clock of the loop."""
        deadline = get_asyncio_loop().time() + self._timeout
        await load(_import_http)
        return deadline

    async def _request(
        self,
        operation: Operation[T],
        context: RequestContext,
        deadline: float,
        policy: RetryPolicy | None = None,
    ) -> T:
        """Send a request, with retries until the deadline, and parse the response."""
        if context.auth not in ("dev", "none"):
            normalize_site(self._site, allow_http=self._allow_http)
        policy = policy or self._retry
        state = RetryState(policy, operation.max_sends or policy.max_sends)
        while True:
            try:
                async with attempt_slot(context, deadline):
                    parsed = await _http.send(
                        operation.endpoint,
                        context,
                        transport=self._transport,
                        ssl_context=self._ssl_context,
                        user_agent=self._user_agent,
                        timeout=self._timeout,
                        deadline=deadline,
                    )
                return operation.parse(parsed, context)
            except ZulipAuthError as error:
                if state.sends == 0 and context.auth in ("password", "dev"):
                    await self._check_organization(error, deadline)
                remaining = deadline - asyncio.get_running_loop().time()
                delay = state.next_wait(error, remaining=remaining)
                if delay is None:
                    if isinstance(error, APIConnectionError):
                        error.sent = state.sent
                    raise
                # Not the error itself: its traceback leads to the password.
                logger.info(
                    "%s Retrying in %.1f s (attempt %d of %d).",
                    *(str(error), delay, state.attempts + 1, self._retry.attempts),
                    extra={
                        "attempt": state.attempts,
                        "delay": delay,
                        "status_code": getattr(error, "status_code", None),
                        "sent": getattr(error, "sent", None),
                    },
                )
            await asyncio.sleep(delay)

    async def _check_organization(self, error: ZulipAuthError, deadline: float) -> None:
        """Raise the exception of `server_settings` if there is no organization.

        For that, Zulip 3 responds to logins with a status that others have too.
        """
        if not isinstance(error, ServerError) or error.message != "Internal server error":
            return
        operation, once = _operations.server_settings(), RetryPolicy(attempts=1)
        try:
            await self._request(operation, self._context("none"), deadline, once)
        except ZulipAuthError as exc:
            if isinstance(exc, InvalidSubdomainError | SubdomainRequiredError):
                raise


@cache
def _import_http() -> None:
    """Import httpx and the generated client, which takes longer than a login."""
    global _http, _operations
    from . import _http, _operations


@hide_locals
async def login(
    site: str,
    username: str,
    password: str,
    *,
    timeout: float = 30.0,
    retry: RetryPolicy = DEFAULT_RETRY_POLICY,
    ssl_context: ssl.SSLContext | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    user_agent: str | None = None,
    headers: Mapping[str, str] | None = None,
    allow_http: bool = False,
) -> Credentials:
    """Log in to an organization with a password, once.

    The options and exceptions are those of `AuthClient` and `AuthClient.login`.
    For many logins to one organization, use one `AuthClient`.

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
        headers=headers,
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
    transport: httpx.AsyncBaseTransport | None = None,
    user_agent: str | None = None,
    headers: Mapping[str, str] | None = None,
    allow_http: bool = False,
) -> Credentials:
    """Log in to a development server without a password, once.

    The options and exceptions are those of `AuthClient` and
    `AuthClient.dev_login`.

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
        headers=headers,
        allow_http=allow_http,
    )
    return await client.dev_login(username)
