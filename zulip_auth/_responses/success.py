"""Parse successful responses.

The generated client does not check types, so any field may be anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar
from urllib.parse import urljoin

from zulip_auth._credentials import Credentials, is_api_key, is_email
from zulip_auth._exceptions import InvalidApiKeyError, SubdomainRequiredError
from zulip_auth._models import ExternalMethod, Owner, ServerSettings
from zulip_auth._urls import is_secure_url, try_normalize_site
from zulip_auth_client import models
from zulip_auth_client.types import Unset

from .context import RequestContext
from .errors import invalid_response

T = TypeVar("T")
Parser = Callable[[object, RequestContext], T]
"""Parses a model of the generated client; raises `UnexpectedValue` for a bad field."""


class UnexpectedValue(Exception):
    """A field of a response is missing, or is not what Zulip sends."""


def parse_response(parsed: object, parse: Parser[T], context: RequestContext) -> T:
    """Return the result of *parse*.

    Args:
        parsed: The model of the generated client; None if it could not make one.
        parse: The parser for the endpoint.
        context: The request.

    Raises:
        InvalidResponseError: If a field is unexpected.
        APIStatusError: If the response is an error with status 200.
    """
    with suppress(UnexpectedValue):
        return parse(parsed, context)
    raise invalid_response(context, 200)


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


def parse_bots(
    parsed: object, _context: RequestContext
) -> list[tuple[str, str, str | None, int | None]]:
    """Return username, full name, API key and user ID of each bot of an account.

    The key is None if the server has another endpoint for it, which takes the
    user ID; otherwise the user ID may be None.
    """
    bots = []
    for bot in _expect(parsed, models.BotsResponse).bots:
        api_key = None if isinstance(bot.api_key, Unset) else bot.api_key
        user_id = None if isinstance(bot.user_id, Unset) else _parse_user_id(bot.user_id)
        has_key = user_id is not None if api_key is None else is_api_key(api_key)
        if not (is_email(bot.username) and has_key):
            raise UnexpectedValue
        bots.append((bot.username, _expect(bot.full_name, str), api_key, user_id))
    return bots


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
