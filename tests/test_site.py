from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.errors import error_message
from zulip_auth import InsecureSiteError, InvalidSiteError
from zulip_auth._site import (
    is_development_site,
    is_secure_url,
    normalize_site,
    try_normalize_site,
)

GOOD = {
    "chat.example.com": "https://chat.example.com",
    "https://chat.example.com": "https://chat.example.com",
    "https://chat.example.com/": "https://chat.example.com",
    "HTTPS://Chat.Example.com": "https://chat.example.com",
    "https://chat.example.com/api": "https://chat.example.com",
    "https://chat.example.com/api/": "https://chat.example.com",
    "https://chat.example.com/api/v1": "https://chat.example.com",
    "https://chat.example.com/api/v1/": "https://chat.example.com",
    "chat.example.com/api": "https://chat.example.com",
    "https://chat.example.com:443": "https://chat.example.com",
    "https://chat.example.com:8443": "https://chat.example.com:8443",
    "https://chat.example.com:08443": "https://chat.example.com:8443",
    "chat.example.com:65535": "https://chat.example.com:65535",
    "chat.example.com:80": "https://chat.example.com:80",
    "localhost:9991": "http://localhost:9991",
    "LOCALHOST": "http://localhost",
    "127.0.0.1:9991": "http://127.0.0.1:9991",
    "127.255.255.254": "http://127.255.255.254",
    "[::1]:9991": "http://[::1]:9991",
    "[0:0:0:0:0:0:0:1]": "http://[::1]",
    "http://localhost:80": "http://localhost",
    "http://localhost:443": "http://localhost:443",
    "https://localhost": "https://localhost",
    "https://[2001:DB8::1]": "https://[2001:db8::1]",
    "10.0.0.1": "https://10.0.0.1",
    "zulip_internal": "https://zulip_internal",
    "https://chät.example": "https://xn--cht-rla.example",
    "https://faß.example": "https://xn--fa-hia.example",
    "https://xn--cht-rla.example": "https://xn--cht-rla.example",
    "https://chat.example.com.": "https://chat.example.com.",
    "https://chat.example.com/#narrow/channel/7-general/topic/a.20b": "https://chat.example.com",
    "https://chat.example.com/#narrow/dm/7,8-iago@zulip.com/?x=y": "https://chat.example.com",
    "https://chat.example.com/#": "https://chat.example.com",
    "https://chat.example.com#inbox": "https://chat.example.com",
    "chat.example.com/#recent": "https://chat.example.com",
    "localhost:9991/#narrow/is/dm": "http://localhost:9991",
    "https://chat.example.com/login": "https://chat.example.com",
    "https://chat.example.com/login/": "https://chat.example.com",
    "https://chat.example.com/login/?next=%2F#a": "https://chat.example.com",
    "https://chat.example.com/accounts/login": "https://chat.example.com",
    "https://chat.example.com/accounts/login/": "https://chat.example.com",
    "https://chat.example.com/accounts/login/social/google": "https://chat.example.com",
    "https://chat.example.com:8443/accounts/login/?next=/#x": "https://chat.example.com:8443",
    "https://chat.example.com/api/#x": "https://chat.example.com",
    "https://chat.example.com/#narrow/topic/{{x}}\u200b": "https://chat.example.com",
    "https://\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example": (
        "https://xn--mgba3gch31f060k.example"
    ),
}

INSECURE = [
    "http://chat.example.com",
    "HTTP://chat.example.com",
    "http://localhost.evil.com",
    "http://localhost.",
    "http://zulip.localhost",
    "http://127.0.0.1.evil.com",
    "http://0x7f000001",
    "http://0.0.0.0",
    "http://10.0.0.1",
    "http://[::2]",
    "http://[::]",
    "http://zulip.zulipdev.com:9991",
    "http://chat.example.com/#narrow",
    "http://chat.example.com/login/",
]

INVALID = {
    "empty": "",
    "whitespace": " ",
    "space before": " https://chat.example.com",
    "newline behind": "https://chat.example.com\n",
    "tab inside": "https://chat.exa\tmple.com",
    "newline inside": "https://chat.exa\nmple.com",
    "NUL": "https://chat.example.com\x00",
    "no-break space": "https://chat\u00a0.example.com",
    "control character": "https://chat\x85.example.com",
    "lone surrogate": "https://chat\ud800.example.com",
    "user": "https://iago@chat.example.com",
    "user and password": "https://iago:hunter2@chat.example.com",
    "password before a login page": "https://iago:hunter2@chat.example.com/login/",
    "query": "https://chat.example.com?a=b",
    "empty query": "https://chat.example.com?",
    "query before a fragment": "https://chat.example.com/?a=b#narrow",
    "query after the API": "https://chat.example.com/api/v1/?a=b",
    "another path": "https://chat.example.com/signup",
    "path that begins like a login page": "https://chat.example.com/login.html",
    "path below a login page": "https://chat.example.com/login/x",
    "path like that of a login page": "https://chat.example.com/accounts/logins",
    "path before the API": "https://chat.example.com/zulip/api",
    "host and user in a fragment": "#@chat.example.com",
    "another version": "https://chat.example.com/api/v2",
    "path in capitals": "https://chat.example.com/API",
    "double slash": "https://chat.example.com//",
    "dots": "https://chat.example.com/api/../api",
    "another scheme": "ftp://chat.example.com",
    "no scheme": "://chat.example.com",
    "script": "javascript:alert(1)",
    "mail": "mailto:iago@zulip.com",
    "email": "iago@zulip.com",
    "no host": "https://",
    "no host but port": "https://:443",
    "no host but path": "https:///api",
    "port 0": "https://chat.example.com:0",
    "port too high": "https://chat.example.com:65536",
    "port way too high": "https://chat.example.com:99999999",
    "port negative": "https://chat.example.com:-1",
    "port of letters": "https://chat.example.com:hunter2",
    "port of other digits": "https://chat.example.com:٤٤٣",
    "empty port": "https://chat.example.com:",
    "backslash": "https://chat.example.com\\.evil.com",
    "percent": "https://chat%2eexample.com",
    "no IPv6": "https://[hunter2]",
    "IPv6 that is none": "https://[:::1]",
    "IPv6 with a zone": "https://[fe80::1%25eth0]",
    "IPv6 with more behind": "https://[::1]evil.com",
    "IPv6 with more before": "https://evil.com[::1]",
    "IPv6 without an end": "https://[::1",
    "IPv6 without brackets": "https://::1",
    "empty label": "https://chat..example.com",
    "dot in front": "https://.example.com",
    "label too long": f"https://{'a' * 64}.example.com",
    "host too long": "https://" + ".".join(["a" * 60] * 5),
    "site too long": "https://" + "a" * 2000,
    "symbols": "https://chat,example.com",
    "full-width letters": "https://ｃｈａｔ.example.com",
    "ideographic full stop": "https://chat。example.com",
    "Kelvin sign": "https://\u212aelvin.example.com",
    "capital beyond ASCII": "https://CHÄT.example.com",
    "zero-width space": "https://chat\u200b.example.com",
    "address cut short": "http://127.1",
    "address as one number": "http://2130706433",
    "address out of range": "https://999.1.1.1",
    "address with zeros": "https://01.02.03.04",
    "name that ends in a number": "https://chat.7",
    "IDNA label next to another one": "https://xn--bcher-kva.my_server.de",
    "malformed IDNA label": "https://xn--localhost-",
    "slash look-alike": "https://chat.example.com\u2044login",
}


@pytest.mark.parametrize("site", GOOD)
def test_site_is_normalized(site: str) -> None:
    assert normalize_site(site) == GOOD[site]


@pytest.mark.parametrize("site", INSECURE)
def test_plain_http_is_rejected(site: str) -> None:
    with pytest.raises(InsecureSiteError, match="unencrypted"):
        normalize_site(site)


@pytest.mark.parametrize("site", INVALID.values(), ids=INVALID)
def test_invalid_site_is_not_echoed(site: str) -> None:
    error_message(lambda: normalize_site(site), InvalidSiteError, secrets=("hunter2",))
    error_message(lambda: normalize_site(site, allow_http=True), InvalidSiteError, secrets=())


HINT = "Use the organization URL, such as https://chat.example.com."
REASONS: dict[Any, str] = {
    7: "site must be a str, not int.",
    "": f"site is empty. {HINT}",
    "a" * 1025: f"site is longer than 1024 characters. {HINT}",
    "a b": f"site contains whitespace or control characters. {HINT}",
    "iago@zulip.com": (f"site looks like an email address. Is the site the first argument? {HINT}"),
    "https://iago@zulip.com": f"site must not contain credentials. {HINT}",
    "a\u200b.org": f"site contains an invisible character (U+200B); type it again. {HINT}",
    "'a.org'": f"site is in quotes; remove them. {HINT}",
    "${SITE}": f"site is a variable or placeholder that was not replaced. {HINT}",
    "https://": f"site has an invalid host name. {HINT}",
    "https://chat.7": f"site has an invalid host name. {HINT}",
    "a" * 1024: f"site has an invalid host name. {HINT}",
    "x.org:65536": f"site has an invalid port. {HINT}",
    "x.org:x": f"site has an invalid port. {HINT}",
    "ftp://x.org": "site must use https:// (http:// only for localhost).",
    "x.org/signup": f"site must not contain a path. {HINT}",
    "x.org/?a=b": f"site must not contain a query. {HINT}",
    "http://x.org:80": (
        "Plain http to x.org would send the password unencrypted. Use https://x.org."
    ),
}


@pytest.mark.parametrize("site", REASONS, ids=lambda site: f"{len(str(site))}:{site!s:.20}")
def test_site_error_message(site: Any) -> None:
    with pytest.raises(InvalidSiteError) as caught:
        normalize_site(site)
    assert str(caught.value) == REASONS[site]


@pytest.mark.parametrize("site", [None, 7, b"https://chat.example.com", ["localhost"]])
def test_site_not_a_str(site: Any) -> None:
    with pytest.raises(InvalidSiteError, match="must be a str"):
        normalize_site(site)


names = st.from_regex(r"[a-zA-Z0-9-]{1,20}(\.[a-zA-Z0-9-]{0,20}[a-zA-Z]){0,3}\.?", fullmatch=True)
hosts = st.one_of(
    names.filter(lambda name: "xn--" not in name.lower() and not name.rstrip(".").isdigit()),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.sampled_from(["localhost", "127.0.0.1", "[::1]"]),
)
ports = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
paths = st.sampled_from(
    ["", "/", "/api", "/api/", "/api/v1", "/api/v1/", "/login/", "/accounts/login/x", "/#narrow/x"]
)


@given(st.sampled_from(["", "https://", "HTTPS://", "http://"]), hosts, ports, paths)
def test_normalizing_is_idempotent(scheme: str, host: str, port: str, path: str) -> None:
    site = normalize_site(scheme + host + port + path, allow_http=True)
    assert normalize_site(site, allow_http=True) == site
    assert scheme == "http://" or normalize_site(site) == site
    requested, typed = httpx.URL(site), httpx.URL(f"https://{host}{port}")
    assert requested.raw_host == typed.raw_host.lower()
    default = {"http": 80, "https": 443}[requested.scheme]
    assert (requested.port or default) == int(port[1:] or default)


@given(
    st.text() | st.from_regex(r"(https?://)?[^/]*(/api|/login/.*|/?#.*)?", fullmatch=True),
    st.booleans(),
)
def test_any_text_is_a_safe_site_or_an_error(text: str, allow_http: bool) -> None:
    try:
        site = normalize_site(text, allow_http=allow_http)
    except InvalidSiteError as error:
        assert error.__context__ is None
        return
    assert normalize_site(site, allow_http=allow_http) == site
    url = httpx.URL(site)
    loopback = url.host in ("localhost", "::1") or url.host[:4] == "127."
    assert url.scheme == "https" or loopback or allow_http
    assert not (url.userinfo or url.query or url.fragment)


@pytest.mark.parametrize("site", [site for site in INSECURE if "/" not in site[7:]])
def test_plain_http_is_allowed_by_option(site: str) -> None:
    assert normalize_site(site, allow_http=True) == site.lower()
    assert normalize_site(site.lower(), allow_http=True) == site.lower()


def test_allow_http_does_not_change_the_scheme() -> None:
    assert normalize_site("chat.example.com", allow_http=True) == "https://chat.example.com"
    assert normalize_site("https://x.org:80", allow_http=True) == "https://x.org:80"


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("http://zulip.localhost:9991", True),
        ("http://zulip.zulipdev.com:9991", True),
        ("https://a.b.zulipdev.com", True),
        ("http://zulipdev.com", False),
        ("http://evilzulipdev.com", False),
        ("http://zulipdev.com.evil.com", False),
        ("http://localhost", False),
        ("https://chat.example.com", False),
    ],
)
def test_development_site(site: str, expected: bool) -> None:
    assert is_development_site(site) is expected


def test_try_normalize_site() -> None:
    assert try_normalize_site("http://x.org", allow_http=True) == "http://x.org"
    assert try_normalize_site("Chat.Example.com/") == "https://chat.example.com"
    assert try_normalize_site("http://chat.example.com") is None
    assert try_normalize_site("") is None
    assert try_normalize_site(None) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://chat.example.com", True),
        ("https://chat.example.com:8443/login?next=/#top", True),
        ("http://localhost:9991/login", True),
        ("http://[::1]/login", True),
        ("http://chat.example.com/login", False),
        ("http://localhost@chat.example.com/login", False),
        ("http://localhost\\@chat.example.com/login", False),
        ("https://chat.example.com/a\nb", False),
        ("//chat.example.com/login", False),
        ("https://[/", False),
        ("", False),
        (None, False),
    ],
)
def test_secure_url(url: Any, expected: bool) -> None:
    assert is_secure_url(url) is expected


def test_secure_url_with_http_allowed() -> None:
    assert is_secure_url("http://chat.example.com/login", allow_http=True)
    assert not is_secure_url("ftp://chat.example.com/login", allow_http=True)
