"""The operations of the API: a function of the generated client, and the parser of its result.

The generated client does not check types, so any field may be anything.
"""

from __future__ import annotations

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
from zulip_auth_client.types import Response, Unset

from ._credentials import Credentials, is_api_key, is_email
from ._errors import RequestContext, invalid_response
from ._exceptions import InvalidApiKeyError, SubdomainRequiredError
from ._models import Bot, ExternalMethod, Owner, ServerSettings
from ._site import is_secure_url, try_normalize_site

T = TypeVar("T")


class UnexpectedValue(Exception):
    """A field of a response is missing, or is not what Zulip sends."""


@frozen
class Operation(Generic[T]):
    """An operation with its arguments.

    Attributes:
        endpoint: The function of the generated client; takes `client`.
        parser: Parses the function's model; raises `UnexpectedValue` for a bad
            field.
    """

    endpoint: Callable[..., Coroutine[Any, Any, Response[Any]]]
    parser: Callable[[object, RequestContext], T]

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
    return Operation(get_server_settings.asyncio_detailed, parse_settings)


def own_user(user_id: int | None) -> Operation[Owner]:
    return Operation(get_own_user.asyncio_detailed, partial(parse_owner, user_id=user_id))


def own_bots() -> Operation[tuple[Bot, ...]]:
    return Operation(get_own_bots.asyncio_detailed, parse_bots)


def bot_api_key(user_id: int) -> Operation[str]:
    return Operation(partial(get_bot_api_key.asyncio_detailed, user_id), parse_key)


def regenerate_api_key(bot_id: int | None) -> Operation[str]:
    if bot_id is None:
        return Operation(regenerate_own_api_key.asyncio_detailed, parse_key)
    return Operation(partial(regenerate_bot_api_key.asyncio_detailed, bot_id), parse_key)


# ---- Parsers


def parse_credentials(parsed: object, context: RequestContext) -> Credentials:
    """Return the credentials of a login."""
    parsed = _expect(parsed, models.ApiKeyResponse)
    return _credentials(context, parsed.email, parsed.api_key, parsed.user_id)


def parse_jwt_credentials(parsed: object, context: RequestContext) -> Credentials:
    """Return the credentials of a JWT login."""
    parsed = _expect(parsed, models.JwtApiKeyResponse)
    user_id = parsed.user if isinstance(parsed.user, Unset) else parsed.user.user_id
    return _credentials(context, parsed.email, parsed.api_key, user_id)


def _credentials(
    context: RequestContext, email: object, api_key: object, user_id: object
) -> Credentials:
    if not (is_email(email) and is_api_key(api_key)):
        raise UnexpectedValue
    number = None if isinstance(user_id, Unset) else _parse_user_id(user_id)
    return Credentials(context.site, str(email), str(api_key), number)


def parse_key(parsed: object, _context: RequestContext) -> str:
    """Return an API key."""
    parsed = _expect(parsed, models.KeyResponse)
    if not is_api_key(parsed.api_key):
        raise UnexpectedValue
    return parsed.api_key


def parse_bots(parsed: object, context: RequestContext) -> tuple[Bot, ...]:
    """Return the bots of an account.

    One without credentials has a user ID, for the endpoint that has the key.
    """
    bots = []
    for bot in _expect(parsed, models.BotsResponse).bots:
        user_id = None if isinstance(bot.user_id, Unset) else _parse_user_id(bot.user_id)
        if not is_email(bot.username):
            raise UnexpectedValue
        credentials = None
        if not isinstance(bot.api_key, Unset | None):
            credentials = _credentials(context, bot.username, bot.api_key, bot.user_id)
        elif user_id is None:
            raise UnexpectedValue
        bots.append(Bot(bot.username, _expect(bot.full_name, str), credentials, user_id))
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
    owner_id = _parse_user_id(parsed.user_id)
    if user_id not in (None, owner_id):
        raise InvalidApiKeyError(
            f"The API key belongs to another account of {context.site}. Log in again.",
            status_code=200,
        )
    # Logins take the delivery address, which servers may hide in `email`.
    email = parsed.delivery_email or parsed.email
    if not is_email(email):
        raise UnexpectedValue
    return Owner(
        owner_id,
        str(email),
        _expect(parsed.full_name, str),
        _parse_role(parsed),
        _expect(parsed.is_bot, bool, default=False),
    )


def _parse_role(parsed: models.OwnUserResponse) -> int:
    if not isinstance(parsed.role, Unset):
        return _expect(parsed.role, int)
    # Servers before Zulip 4.0 send flags.
    flags = ((parsed.is_owner, 100), (parsed.is_admin, 200), (parsed.is_guest, 600))
    return next((role for flag, role in flags if flag is True), 400)


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
        external_methods=tuple(
            _parse_external_methods(parsed.external_authentication_methods or (), context.site)
        ),
        is_incompatible=_expect(parsed.is_incompatible, bool, default=False),
    )


def _parse_external_methods(
    parsed: Iterable[models.ExternalAuthenticationMethod], site: str
) -> Iterator[ExternalMethod]:
    for method in parsed:
        with suppress(UnexpectedValue):  # one that cannot be used is left out
            yield ExternalMethod(
                _expect(method.name, str),
                _expect(method.display_name, str),
                _absolute_login_url(_expect(method.login_url, str), site),
            )


def _absolute_login_url(url: str, site: str) -> str:
    # The one-time pad is sent to this URL; plain http only if the site uses it.
    allow_http = not is_secure_url(site)
    with suppress(ValueError):
        absolute = urljoin(f"{site}/", url)
        if is_secure_url(absolute, allow_http=allow_http) and url.isprintable():
            return absolute
    raise UnexpectedValue


def _parse_user_id(value: object) -> int:
    user_id = _expect(value, int)
    if not 1 <= user_id < 10**18:
        raise UnexpectedValue
    return user_id


def _expect(value: object, type_: type[T], *, default: T | None = None) -> T:
    """Return a value of exactly this type; the default, if there is one, if it is absent."""
    if isinstance(value, Unset) and default is not None:
        return default
    if type(value) is not type_:
        raise UnexpectedValue
    return value
