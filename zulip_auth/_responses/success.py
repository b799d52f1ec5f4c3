"""What a 200 means: what it holds, or an error where anything about it is odd.

The generated client does not look at types, so any field may be anything.
Nothing here waits or touches the network, so that every recorded answer can be
put to it as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar
from urllib.parse import urljoin

from zulip_auth._credentials import Credentials, is_api_key, is_email
from zulip_auth._exceptions import InvalidResponseError, SubdomainRequiredError, ZulipAuthError
from zulip_auth._models import ExternalMethod, Owner, ServerSettings
from zulip_auth._urls import is_secure_url, try_normalize_site
from zulip_auth_client.models import (
    ApiKeyResponse,
    AuthenticationMethods,
    ExternalAuthenticationMethod,
    NewApiKeyResponse,
    OwnUserResponse,
    ServerSettingsResponse,
)
from zulip_auth_client.types import Unset

from .context import RawResponse, RequestContext
from .errors import error_from_response, invalid_api_key

Kind = TypeVar("Kind")
Content = TypeVar("Content")
Reader = Callable[[object, RequestContext], Content | ZulipAuthError]
"""Reads what the generated client made of a 200; raises `OddError` where it is odd."""


class UnexpectedValue(Exception):
    """Ends the reading of an answer that is not as Zulip gives it."""


def parse_response(
    answer: RawResponse, question: RequestContext, read: Reader[Content]
) -> Content | ZulipAuthError:
    """Return what an answer means. Nothing is raised."""
    if answer.status_code != 200:
        return error_from_response(answer, question)
    try:
        return read(answer.parsed, question)
    except UnexpectedValue:
        pass
    return InvalidResponseError(
        f"{question.site} answered 200, but not as Zulip does. "
        "Check the address: another program may be answering there.",
        status_code=200,
    )


def parse_credentials(parsed: object, question: RequestContext) -> Credentials:
    """Return the credentials that a login gives."""
    parsed = _checked(parsed, ApiKeyResponse)
    if not (is_api_key(parsed.api_key) and is_email(parsed.email)):
        raise UnexpectedValue
    number = None if isinstance(parsed.user_id, Unset) else _user_id(parsed.user_id)
    return Credentials(question.site, parsed.email, parsed.api_key, number)


def parse_new_key(parsed: object, _question: RequestContext) -> str:
    """Return the key that takes another one's place."""
    parsed = _checked(parsed, NewApiKeyResponse)
    if not is_api_key(parsed.api_key):
        raise UnexpectedValue
    return parsed.api_key


def owner_parser(user_id: int | None) -> Reader[Owner]:
    """Return what reads whose key it is.

    Args:
        user_id: Whose it should be; None where that is not known.
    """
    return partial(_read_owner, user_id)


def _read_owner(
    user_id: int | None, parsed: object, question: RequestContext
) -> Owner | ZulipAuthError:
    parsed = _checked(parsed, OwnUserResponse)
    number = _user_id(parsed.user_id)
    if user_id not in (None, number):
        return invalid_api_key(question, status_code=200)
    # The address that logs in is the delivery address, where there is one.
    email = parsed.delivery_email or parsed.email
    if not is_email(email):
        raise UnexpectedValue
    return Owner(number, str(email), _checked(parsed.full_name, str), _role(parsed))


def _role(parsed: OwnUserResponse) -> int:
    if not isinstance(parsed.role, Unset):
        return _checked(parsed.role, int)
    # Servers before Zulip 4.0 do not give it as a number.
    flags = ((parsed.is_owner, 100), (parsed.is_admin, 200), (parsed.is_guest, 600))
    return next((role for flag, role in flags if flag is True), 400)


def parse_settings(parsed: object, question: RequestContext) -> ServerSettings | ZulipAuthError:
    """Return what a server says of itself."""
    parsed = _checked(parsed, ServerSettingsResponse)
    url = _checked(parsed.realm_url or parsed.realm_uri, str, default="")
    if not url:
        return SubdomainRequiredError(
            f"{question.site} is a Zulip server, but none of its organizations. "
            "Give the address of one of them.",
            status_code=200,
        )
    ways = _checked(
        parsed.authentication_methods, AuthenticationMethods, default=AuthenticationMethods()
    )
    email_enabled = _checked(parsed.email_auth_enabled, bool, default=False)
    return ServerSettings(
        zulip_version=_checked(parsed.zulip_version, str),
        feature_level=_checked(parsed.zulip_feature_level, int, default=0),
        realm_name=_checked(parsed.realm_name, str, default=""),
        realm_url=try_normalize_site(url) or url,
        password_enabled=_checked(ways.password, bool, default=email_enabled),
        ldap_enabled=_checked(ways.ldap, bool, default=False),
        dev_enabled=_checked(ways.dev, bool, default=False),
        require_email_format_usernames=_checked(
            parsed.require_email_format_usernames, bool, default=True
        ),
        external_methods=tuple(
            _external_method(each, question.site)
            for each in parsed.external_authentication_methods or ()
        ),
    )


def _external_method(parsed: ExternalAuthenticationMethod, site: str) -> ExternalMethod:
    url = _absolute(_checked(parsed.login_url, str), site)
    return ExternalMethod(_checked(parsed.name, str), _checked(parsed.display_name, str), url)


def _absolute(url: str, site: str) -> str:
    try:
        absolute = urljoin(f"{site}/", url)
    except ValueError:
        absolute = ""
    # Something secret will be sent there.
    if not is_secure_url(absolute) or not url.isprintable():
        raise UnexpectedValue
    return absolute


def _user_id(value: object) -> int:
    number = _checked(value, int)
    if not 1 <= number < 10**18:
        raise UnexpectedValue
    return number


def _checked(value: object, kind: type[Kind], *, default: Kind | None = None) -> Kind:
    """Return a value of a kind; the default, if there is one, where it is absent."""
    if isinstance(value, Unset) and default is not None:
        return default
    if type(value) is not kind:
        raise UnexpectedValue
    return value
