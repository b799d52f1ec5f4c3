"""The operations of the API: a function of the generated client, and the parser of its result.

The generated client does not check types, so any field may be anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import urljoin

from attrs import frozen

from zulip_auth_client import models
from zulip_auth_client.api.authentication import (
    dev_fetch_api_key,
    fetch_api_key,
    get_bot_api_key,
    get_own_bots,
    get_own_user,
    get_server_settings,
    jwt_fetch_api_key,
    regenerate_bot_api_key,
    regenerate_own_api_key,
)
from zulip_auth_client.types import UNSET, Response, Unset

from ._credentials import Credentials, is_api_key, is_email
from ._errors import RequestContext, invalid_response
from ._exceptions import InvalidApiKeyError, SubdomainRequiredError
from ._models import Bot, ExternalMethod, Owner, ServerSettings
from ._site import is_secure_url, try_normalize_site

T = TypeVar("T")

_UNLIMITED = sys.maxsize


class UnexpectedValue(ValueError):
    """A field of a response is missing, or is not what Zulip sends."""


@frozen
class Operation(Generic[T]):
    """An operation with its arguments.

    Attributes:
        endpoint: The function of the generated client; takes `client`.
        parser: Parses the function's model; raises `UnexpectedValue` for a bad
            field.
        max_sends: Maximum number of attempts that may reach the server; None
            for that of the retry policy.
    """

    endpoint: Callable[..., Coroutine[Any, Any, Response[Any]]]
    parser: Callable[[object, RequestContext], T]
    max_sends: int | None = None

    def parse(self, parsed: object, context: RequestContext) -> T:
        """Return the result of a successful response.

        Args:
            parsed: The model of the generated client; None if it could not make one.
            context: The request.

        Raises:
            InvalidResponseError: If a field is unexpected.
            APIStatusError: If the response is an error with status 200.
        """
        with suppress(UnexpectedValue):
            return self.parser(parsed, context)
        raise invalid_response(context, 200)


def login(username: str, password: str) -> Operation[Credentials]:
    body = models.FetchApiKeyBody(username=username, password=password)
    return Operation(partial(fetch_api_key.asyncio_detailed, body=body), parse_credentials)


def dev_login(username: str) -> Operation[Credentials]:
    body = models.DevFetchApiKeyBody(username=username)
    return Operation(partial(dev_fetch_api_key.asyncio_detailed, body=body), parse_credentials)


def jwt_login(token: str) -> Operation[Credentials]:
    body = models.JwtFetchApiKeyBody(token=token, include_profile=True)  # for the user ID
    return Operation(partial(jwt_fetch_api_key.asyncio_detailed, body=body), parse_jwt_credentials)


def server_settings() -> Operation[ServerSettings]:
    return Operation(get_server_settings.asyncio_detailed, parse_settings, _UNLIMITED)


def own_user(user_id: int | None) -> Operation[Owner]:
    parser = partial(parse_owner, user_id=user_id)
    return Operation(get_own_user.asyncio_detailed, parser, _UNLIMITED)


def own_bots() -> Operation[tuple[Bot, ...]]:
    return Operation(get_own_bots.asyncio_detailed, parse_bots, _UNLIMITED)


def bot_api_key(user_id: int) -> Operation[str]:
    return Operation(partial(get_bot_api_key.asyncio_detailed, user_id), parse_key, _UNLIMITED)


def regenerate_api_key(bot_id: int | None) -> Operation[str]:
    endpoint = regenerate_own_api_key.asyncio_detailed
    if bot_id is not None:
        endpoint = partial(regenerate_bot_api_key.asyncio_detailed, bot_id)
    return Operation(endpoint, parse_key, max_sends=1)


# ---- Parsers


def parse_credentials(parsed: object, context: RequestContext) -> Credentials:
    """Return the credentials of a login."""
    parsed = _expect(parsed, models.ApiKeyResponse)
    return _credentials(context, parsed.email, parsed.api_key, parsed.user_id)


def parse_jwt_credentials(parsed: object, context: RequestContext) -> Credentials:
    """Return the credentials of a JWT login."""
    parsed = _expect(parsed, models.JwtApiKeyResponse)
    user_id = parsed.user.user_id if parsed.user else UNSET
    return _credentials(context, parsed.email, parsed.api_key, user_id)


def parse_key(parsed: object, _context: RequestContext) -> str:
    """Return an API key."""
    return _text(_expect(parsed, models.KeyResponse).api_key, is_api_key)


def parse_bots(parsed: object, context: RequestContext) -> tuple[Bot, ...]:
    """Return the bots of an account.

    One without credentials has a user ID, for the endpoint that has the key.
    """
    bots = []
    for bot in _expect(parsed, models.BotsResponse).bots:
        username, full_name = _text(bot.username, is_email), _expect(bot.full_name, str)
        user_id, credentials = _user_id(bot.user_id), None
        if bot.api_key:
            credentials = _credentials(context, username, bot.api_key, bot.user_id)
        elif user_id is None:
            raise UnexpectedValue
        bots.append(Bot(username, full_name, credentials, user_id))
    return tuple(bots)


def parse_owner(parsed: object, context: RequestContext, *, user_id: int | None) -> Owner:
    """Return the owner of an API key.

    Args:
        parsed: The model of the generated client.
        context: The request.
        user_id: The expected owner; None if unknown.

    Raises:
        InvalidApiKeyError: If it is another account's key.
    """
    parsed = _expect(parsed, models.OwnUserResponse)
    owner_id = _expect(_user_id(parsed.user_id), int)
    if user_id not in (None, owner_id):
        raise InvalidApiKeyError(
            f"The API key belongs to another account of {context.site}. Log in again.",
            status_code=200,
        )
    role = parsed.role
    if isinstance(role, Unset):  # servers before Zulip 4.0 send flags
        flags = ((parsed.is_owner, 100), (parsed.is_admin, 200), (parsed.is_guest, 600))
        role = next((number for flag, number in flags if flag is True), 400)
    return Owner(
        owner_id,
        # Logins take the delivery address, which servers may hide in `email`.
        _text(parsed.delivery_email or parsed.email, is_email),
        _expect(parsed.full_name, str),
        _expect(role, int),
        _expect(parsed.is_bot, bool, default=False),
    )


def parse_settings(parsed: object, context: RequestContext) -> ServerSettings:
    """Return the settings of an organization.

    Raises:
        SubdomainRequiredError: If it is the root domain of a server.
    """
    parsed = _expect(parsed, models.ServerSettingsResponse)
    # At the root domain, realm_url is the server's own.
    if isinstance(parsed.realm_name, Unset):
        raise SubdomainRequiredError(
            f"{context.site} is a Zulip server's root domain, not an organization. "
            "Use the URL of an organization.",
            status_code=200,
        )
    url = _expect(parsed.realm_url or parsed.realm_uri, str)
    methods = parsed.authentication_methods or models.AuthenticationMethods()
    external = parsed.external_authentication_methods or ()
    email_enabled = _expect(parsed.email_auth_enabled, bool, default=False)
    return ServerSettings(
        zulip_version=_expect(parsed.zulip_version, str),
        feature_level=_expect(parsed.zulip_feature_level, int, default=0),
        realm_name=_expect(parsed.realm_name, str),
        realm_url=try_normalize_site(url, allow_http=True) or url,
        password_enabled=_expect(methods.password, bool, default=email_enabled),
        ldap_enabled=_expect(methods.ldap, bool, default=False),
        dev_enabled=_expect(methods.dev, bool, default=False),
        require_email_format_usernames=_expect(
            parsed.require_email_format_usernames, bool, default=True
        ),
        external_methods=tuple(_usable_methods(external, context.site)),
        is_incompatible=_expect(parsed.is_incompatible, bool, default=False),
    )


def _usable_methods(
    parsed: Iterable[models.ExternalAuthenticationMethod], site: str
) -> Iterator[ExternalMethod]:
    # The one-time pad is sent to the URL; plain http only if the site uses it.
    allow_http = not is_secure_url(site)
    for method in parsed:
        with suppress(ValueError):  # of urljoin, or an unexpected value
            name, display_name = _expect(method.name, str), _expect(method.display_name, str)
            url = urljoin(f"{site}/", _expect(method.login_url, str))
            if is_secure_url(url, allow_http=allow_http):
                yield ExternalMethod(name, display_name, url)


def _credentials(
    context: RequestContext, email: object, api_key: object, user_id: object
) -> Credentials:
    email, api_key = _text(email, is_email), _text(api_key, is_api_key)
    return Credentials(context.site, email, api_key, _user_id(user_id))


def _text(value: object, is_valid: Callable[[str], bool]) -> str:
    text = _expect(value, str)
    if not is_valid(text):
        raise UnexpectedValue
    return text


def _user_id(value: object) -> int | None:
    if isinstance(value, Unset):
        return None
    if not 0 < (user_id := _expect(value, int)) < 10**18:
        raise UnexpectedValue
    return user_id


def _expect(value: object, type_: type[T], *, default: T | None = None) -> T:
    """Return a value of exactly this type; the default, if there is one, if it is absent."""
    if isinstance(value, Unset) and default is not None:
        return default
    if type(value) is not type_:
        raise UnexpectedValue
    return value
