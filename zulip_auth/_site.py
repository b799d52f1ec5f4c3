"""Normalize the URL of a Zulip organization."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import idna

from ._exceptions import InsecureSiteError, InvalidSiteError
from ._redaction import hide_locals
from ._validation import find_mistake

_MAX_LENGTH = 1024
_HINT = "Use the organization URL, such as https://chat.example.com."
WHITESPACE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# It matches any text without a line break.
_SITE_RE = re.compile(
    r"(?:(?P<scheme>[^/?#]*)://)?(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?:#.*)?"
)
_AUTHORITY_RE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>.*))?")
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
    if not isinstance(site, str):
        raise InvalidSiteError(f"site must be a str, not {type(site).__name__}.")
    return _normalize_site(site, allow_http)


@lru_cache  # a login needs the form of its site three times
def _normalize_site(site: str, allow_http: bool) -> str:
    if not site:
        raise InvalidSiteError(f"site is empty. {_HINT}")
    if len(site) > _MAX_LENGTH:
        raise InvalidSiteError(f"site is longer than {_MAX_LENGTH} characters. {_HINT}")
    if mistake := find_mistake(site.partition("#")[0]):
        raise InvalidSiteError(f"site {mistake}. {_HINT}")
    if WHITESPACE_OR_CONTROL.search(site):
        raise InvalidSiteError(f"site contains whitespace or control characters. {_HINT}")
    match = _SITE_RE.fullmatch(site)
    assert match is not None
    if "@" in match["authority"] and match["scheme"] is None:
        raise InvalidSiteError(
            f"site looks like an email address. Is the site the first argument? {_HINT}"
        )
    if "@" in match["authority"]:
        raise InvalidSiteError(f"site must not contain credentials. {_HINT}")
    host, port = _split_authority(match["authority"])
    scheme = match["scheme"]
    if scheme is None:
        scheme = "http" if _is_loopback(host) else "https"
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise InvalidSiteError("site must use https:// (http:// only for localhost).")
    is_login_page = _LOGIN_PAGE_RE.fullmatch(match["path"])
    if not is_login_page and not _ROOT_OR_API_RE.fullmatch(match["path"]):
        raise InvalidSiteError(f"site must not contain a path. {_HINT}")
    if match["query"] is not None and not is_login_page:
        raise InvalidSiteError(f"site must not contain a query. {_HINT}")
    if scheme == "http" and not (allow_http or _is_loopback(host)):
        raise InsecureSiteError(
            f"Plain http to {host} would send the password unencrypted. Use https://{host}."
        )
    return f"{scheme}://{host}" + ("" if port in (None, _DEFAULT_PORTS[scheme]) else f":{port}")


def try_normalize_site(site: str | None, *, allow_http: bool = False) -> str | None:
    """Return the result of `normalize_site`, or None if *site* is invalid."""
    try:
        return None if site is None else normalize_site(site, allow_http=allow_http)
    except InvalidSiteError:
        return None


def is_secure_url(url: str, *, allow_http: bool = False) -> bool:
    """Return whether *url* uses https, or http to a loopback address.

    Args:
        url: The URL.
        allow_http: Whether plain http is allowed for all hosts.
    """
    if not isinstance(url, str) or not url.isprintable():
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    origin = f"{parts.scheme}://{parts.netloc}"
    return try_normalize_site(origin, allow_http=allow_http) is not None


def is_development_site(site: str) -> bool:
    """Return whether *site*, normalized, has a host name reserved for development servers.

    `dev_login` sends no password, so it may use plain http to such a site.
    """
    return (urlsplit(site).hostname or "").endswith(_DEVELOPMENT_SUFFIXES)


def _split_authority(authority: str) -> tuple[str, int | None]:
    match = _AUTHORITY_RE.fullmatch(authority)
    host = _normalize_host(match["host"]) if match else None
    if match is None or host is None:
        raise InvalidSiteError(f"site has an invalid host name. {_HINT}")
    if match["port"] is None:
        return host, None
    port = int(match["port"]) if _PORT_RE.fullmatch(match["port"]) else 0
    if not 1 <= port <= 65535:
        raise InvalidSiteError(f"site has an invalid port. {_HINT}")
    return host, port


def _normalize_host(host: str) -> str | None:
    """Return *host* in its normal form, or None if it is invalid."""
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1])}]"
        # IDNA 2008 maps no character to another one, so the request goes to
        # the host that was typed.
        labels = [
            label.lower() if label.isascii() else idna.alabel(label).decode("ascii")
            for label in host.split(".")
        ]
        name = ".".join(labels)
        # httpx rejects these only when it sends the request.
        if labels[-1].isdigit():
            IPv4Address(name)
        if "xn--" in name:
            idna.decode(name)
    except ValueError:  # the base class of AddressValueError and IDNAError
        return None
    return name if _HOSTNAME_RE.fullmatch(name) else None


def _is_loopback(host: str) -> bool:
    """Return whether *host* is this machine without asking a resolver.

    Names that end in `.localhost` are not: some resolvers ask the network.
    """
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1]).is_loopback
        return IPv4Address(host).is_loopback
    except ValueError:
        return host == "localhost"
