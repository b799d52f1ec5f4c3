"""What counts as the address of a Zulip organization, and how it is written."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import idna

from ._exceptions import InsecureSiteError, InvalidSiteError

_MAX_LENGTH = 1024
_EXAMPLE = "Give the organization's address, such as https://chat.example.com."
WHITESPACE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SITE = re.compile(
    r"(?:(?P<scheme>[^/:]*)://)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:@\[\]\\%?#]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/|/api/?|/api/v1/?)?"
)
_HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_DEFAULT_PORTS = {"https": 443, "http": 80}


def normalize_site(site: str) -> str:
    """Return the address of an organization the way this package writes it.

    Args:
        site: What a person would type: with or without a scheme, the path of
            the API, or capitals. Without a scheme it is https, but http where
            the host is a loopback address.

    Returns:
        Scheme, host and, where it is not the default, port:
        `https://chat.example.com`. Normalising it again changes nothing.

    Raises:
        InvalidSiteError: It is not such an address. The error does not repeat
            it, since it may hold a password.
        InsecureSiteError: It is plain http to another machine.
    """
    if not isinstance(site, str):
        raise InvalidSiteError(f"site must be a str, not {type(site).__name__}.")
    if len(site) > _MAX_LENGTH:
        raise InvalidSiteError(f"site is longer than {_MAX_LENGTH} characters.")
    if WHITESPACE_OR_CONTROL.search(site):
        raise InvalidSiteError(f"site has white space or a control character in it. {_EXAMPLE}")
    if "@" in site:
        raise InvalidSiteError(f"site has a user name in it. {_EXAMPLE}")
    parts = _SITE.fullmatch(site)
    if parts is None:
        raise InvalidSiteError(
            f"site is empty, or has a query, a fragment, a path or a malformed port. {_EXAMPLE}"
        )
    host = _normalise_host(parts["host"])
    if host is None:
        raise InvalidSiteError(f"site has a host that is not allowed. {_EXAMPLE}")
    loopback = _is_loopback(host)
    scheme = (
        ("http" if loopback else "https") if parts["scheme"] is None else parts["scheme"].lower()
    )
    if scheme not in _DEFAULT_PORTS:
        raise InvalidSiteError("site must start with https:// (http:// for this machine alone).")
    if scheme == "http" and not loopback:
        raise InsecureSiteError(
            f"Plain http to {host} would send the password unencrypted. Use https://{host}."
        )
    port = int(parts["port"] or _DEFAULT_PORTS[scheme])
    if not 1 <= port <= 65535:
        raise InvalidSiteError("site has a port out of range.")
    return f"{scheme}://{host}" + ("" if port == _DEFAULT_PORTS[scheme] else f":{port}")


def try_normalize_site(site: str | None) -> str | None:
    """Return what `normalise_site` does, or None where it would refuse."""
    try:
        return None if site is None else normalize_site(site)
    except InvalidSiteError:
        return None


def is_secure_url(url: str) -> bool:
    """Tell whether something is a URL that takes what is sent there over https, or not far."""
    if not isinstance(url, str) or not url.isprintable():
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return try_normalize_site(f"{parts.scheme}://{parts.netloc}") is not None


def _normalise_host(host: str) -> str | None:
    """Return a host as it stands in a URL, or None where it is none."""
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1])}]"
        labels = [_normalise_label(label) for label in host.split(".")]
        name = ".".join(labels)
        # What httpx would raise for, much later:
        if labels[-1].isdigit():
            IPv4Address(name)
        if "xn--" in name:
            idna.decode(name)
    except ValueError:  # which AddressValueError and IDNAError are
        return None
    return name if _HOST_NAME.fullmatch(name) else None


def _normalise_label(label: str) -> str:
    # Strictly by IDNA 2008, which maps no character to another one: no host is
    # ever asked but the one that was typed.
    return label.lower() if label.isascii() else idna.alabel(label).decode("ascii")


def _is_loopback(host: str) -> bool:
    """Tell whether a host is this machine whatever a resolver says.

    Names that end in `.localhost` are not: some resolvers ask the network.
    """
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1]).is_loopback
        return IPv4Address(host).is_loopback
    except ValueError:
        return host == "localhost"
