"""Normalize the URL of a Zulip organization."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import idna

from ._exceptions import InsecureSiteError, InvalidInputError, InvalidSiteError
from ._redaction import hide_locals
from ._validation import validate_text

_HINT = "Use the organization URL, such as https://chat.example.com."
_SITE_RE = re.compile(
    # Without a possessive quantifier: one skips a character in Python 3.11.2, as in Debian 12.
    r"(?:(?P<scheme>[^/?#]+)://|(?![^/?#]+://))"
    r"(?P<userinfo>[^/?#]*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/?#\[\]]*)"
    r"(?::(?P<port>[^/?#]*))?(?P<path>(?:/[^?#]*)?)(?P<query>\?[^#]*)?"
)
_ORIGIN_RE = re.compile(r"[^/?#]*://[^/?#]*")
_PORT_RE = re.compile(r"[0-9]{1,5}")
_ROOT_OR_API_RE = re.compile(r"/?|/api/?|/api/v1/?")
_LOGIN_PAGE_RE = re.compile(r"/login/?|/accounts/login(?:/.*)?")
_HOSTNAME_RE = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_DEVELOPMENT_SUFFIXES = (".localhost", ".zulipdev.com")
_DEFAULT_PORTS = {"https": 443, "http": 80}


@hide_locals
def normalize_site(site: str, *, allow_http: bool = False) -> str:
    """Return the URL of an organization in its normal form.

    Normalizing the result again returns it unchanged.

    Args:
        site: The URL as typed, or as in a browser's address bar. The scheme may
            be missing, which means http for loopback addresses and https for
            all others. The paths of the API and of login pages are removed, and
            so is a fragment.
        allow_http: Whether plain http is allowed for all hosts.

    Returns:
        Scheme, host and any port other than the default one, such as
        `https://chat.example.com`.

    Raises:
        InvalidSiteError: If *site* is not such a URL. The message does not
            repeat it, since it may contain a password.
        InsecureSiteError: If *site* is plain http and *allow_http* is False.
    """
    try:
        # A fragment may contain anything.
        url = validate_text("site", site.partition("#")[0] if isinstance(site, str) else site)
        scheme, host, port = _split(url)
    except InvalidInputError as error:
        raise InvalidSiteError(f"{error} {_HINT}") from None
    if scheme == "http" and not (allow_http or _is_loopback(host)):
        raise InsecureSiteError(
            f"Plain http to {host} would send the password unencrypted. Use https://{host}."
        )
    return f"{scheme}://{host}" + ("" if port == _DEFAULT_PORTS[scheme] else f":{port}")


@lru_cache  # each request needs it
def _split(url: str) -> tuple[str, str, int]:
    """Return the scheme, host and port of a site, or raise InvalidInputError."""
    match = _SITE_RE.fullmatch(url)
    if " " in url or match is None:
        problem = "contains a space" if " " in url else "has an invalid host name"
        raise InvalidInputError(f"site {problem}.")
    if match["userinfo"]:
        is_email = match["scheme"] is None
        problem = "looks like an email address. Is the site the first argument?"
        raise InvalidInputError(f"site {problem if is_email else 'must not contain credentials.'}")
    host = _normalize_host(match["host"])
    scheme = (match["scheme"] or ("http" if _is_loopback(host) else "https")).lower()
    if scheme not in _DEFAULT_PORTS:
        raise InvalidInputError("site must use https:// (http:// only for localhost).")
    port = match["port"] or str(_DEFAULT_PORTS[scheme])
    if not (_PORT_RE.fullmatch(port) and 1 <= int(port) <= 65535):
        raise InvalidInputError("site has an invalid port.")
    if not _LOGIN_PAGE_RE.fullmatch(match["path"]):
        if not _ROOT_OR_API_RE.fullmatch(match["path"]):
            raise InvalidInputError("site must not contain a path.")
        if match["query"]:
            raise InvalidInputError("site must not contain a query.")
    return scheme, host, int(port)


def _normalize_host(host: str) -> str:
    """Return *host* in its normal form, which httpx does not change; or raise InvalidInputError."""
    with suppress(ValueError):  # the base class of AddressValueError and IDNAError
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1])}]"
        name = host.lower()
        if not name.isascii() or "xn--" in name:
            name = idna.encode(name, strict=True).decode("ascii")
        if name.rpartition(".")[2].isdigit():
            IPv4Address(name)
        if _HOSTNAME_RE.fullmatch(name):
            return name
    raise InvalidInputError("site has an invalid host name.")


@lru_cache
def _is_loopback(host: str) -> bool:
    """Return whether *host* is this machine without asking a resolver.

    Names that end in `.localhost` are not: some resolvers ask the network.
    """
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def try_normalize_site(site: str, *, allow_http: bool = False) -> str | None:
    """Return the result of `normalize_site`, or None if *site* is invalid."""
    with suppress(InvalidSiteError):
        return normalize_site(site, allow_http=allow_http)
    return None


def is_secure_url(url: str, *, allow_http: bool = False) -> bool:
    """Return whether *url* uses https, or http to a loopback address.

    Args:
        url: The URL.
        allow_http: Whether plain http is allowed for all hosts.
    """
    origin = _ORIGIN_RE.match(url)
    if origin is None or not url.isprintable():
        return False
    return try_normalize_site(origin[0], allow_http=allow_http) is not None


def is_development_site(site: str) -> bool:
    """Return whether *site*, normalized, has a host name reserved for development servers.

    `dev_login` sends no password, so it may use plain http to such a site.
    """
    return (urlsplit(site).hostname or "").endswith(_DEVELOPMENT_SUFFIXES)
