from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.errors import error_message
from zulip_auth import InsecureSiteError, InvalidSiteError
from zulip_auth._site import is_development_site, is_secure_url, normalize_site

# By the normal form; separated by spaces.
VALID = {
    "https://chat.example.com": """
        chat.example.com https://chat.example.com/ HTTPS://Chat.Example.com chat.example.com/api/
        https://chat.example.com/api https://chat.example.com/api/v1 https://chat.example.com:443
        https://chat.example.com/api/v1/#x https://chat.example.com# https://chat.example.com/login
        https://chat.example.com/#narrow/channel/7-general/topic/a.20b
        https://chat.example.com/#narrow/dm/7,8-iago@zulip.com/?x=y
        https://chat.example.com/login/?next=%2F#a
        chat.example.com/accounts/login/?next=https://chat.example.com
        https://chat.example.com/accounts/login/social/google""",
    "https://chat.example.com:8443": "https://chat.example.com:08443/accounts/login",
    "https://chat.example.com:80": "chat.example.com:80",
    "https://chat.example.com.": "chat.example.com.",
    "http://localhost:9991": "localhost:9991 LOCALHOST:9991/#narrow/is/dm",
    "http://localhost": "http://localhost:80",
    "http://localhost:443": "http://localhost:443",
    "https://localhost": "https://localhost",
    "http://127.255.255.254": "127.255.255.254",
    "http://[::1]:9991": "[::1]:9991 [0:0:0:0:0:0:0:1]:9991",
    "https://[2001:db8::1]": "https://[2001:DB8::1]",
    "https://10.0.0.1": "10.0.0.1",
    "https://zulip_internal": "zulip_internal",
    "https://xn--cht-rla.example": "chät.example CHÄT.example xn--cht-rla.example",
    "https://xn--fa-hia.example": "faß.example",
    "https://xn--mgba3gch31f060k.example": "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example",
}
VALID_SITES = [(site, normal) for normal, sites in VALID.items() for site in sites.split()]
VALID_SITES += [("chat.example.com/#narrow/topic/{{x}}\u200b\n", "https://chat.example.com")]


@pytest.mark.parametrize(("site", "expected"), VALID_SITES)
def test_site_is_normalized(site: str, expected: str) -> None:
    assert normalize_site(site) == expected


PLAIN_HTTP = """
    HTTP://chat.example.com http://localhost.evil.com http://localhost. http://zulip.localhost
    http://127.0.0.1.evil.com http://0x7f000001 http://0.0.0.0 http://[::2] http://[::]
    http://zulip.zulipdev.com:9991 http://chat.example.com/login/#narrow"""


@pytest.mark.parametrize("site", PLAIN_HTTP.split())
def test_plain_http_needs_an_option(site: str) -> None:
    with pytest.raises(InsecureSiteError, match="unencrypted"):
        normalize_site(site)
    assert site.lower().startswith(normalize_site(site, allow_http=True))


def test_allow_http_does_not_change_the_scheme() -> None:
    assert normalize_site("chat.example.com", allow_http=True) == "https://chat.example.com"
    assert normalize_site("https://x.org:80", allow_http=True) == "https://x.org:80"


# By the message; separated by spaces.
INVALID = {
    "looks like an email address. Is the site the first argument?": "iago@x.org mailto:iago@x.org",
    "must not contain credentials.": "https://iago@x.org https://iago:hunter2@x.org/login/",
    "must use https:// (http:// only for localhost).": "ftp://x.org",
    "must not contain a path.": """
        x.org/signup https://x.org/login.html https://x.org/login/x https://x.org/accounts/logins
        x.org/zulip/api https://x.org/API https://x.org// https://x.org/api/../api""",
    "must not contain a query.": "https://x.org?a=b x.org? x.org/api/v1/?a=b#x",
    "has an invalid port.": """
        https://x.org:0 https://x.org:65536 x.org:-1 x.org:hunter2 x.org:٤٤٣ javascript:alert(1)""",
    "has an invalid host name.": f"""
        https:// https://:443 https:///api ://x.org https://x.org\\.evil.com x%2eorg [hunter2]
        https://[:::1] https://[fe80::1%25eth0] evil.com[::1] https://[::1 https://::1 [::1]evil.com
        x..org .x.org x,y.org ｃｈａｔ.example.com chat。example.com https://x.org\u2044login
        http://127.1 http://2130706433 999.1.1.1 01.02.03.04 chat.7 xn--bcher-kva.my_server.de
        xn--localhost- {"a" * 64}.example.com {".".join(["b" * 60] * 5)}""",
}
INVALID_TEXT: list[tuple[Any, str]] = [
    (None, "must be a str, not NoneType."),
    ("", "is empty."),
    ("#@x.org", "is empty."),
    ("https://" + "a" * 1024, "is longer than 1024 characters."),
    (" x.org", "contains a space."),
    ("https://x.org/login/?a b", "contains a space."),
    ("x.\torg", "contains an invisible character (U+0009); type it again."),
    ("x\x85.org", "contains an invisible character (U+0085); type it again."),
    ("x.org\n", "contains a line break, NUL or lone surrogate; strip a trailing newline."),
    ("x\ud800.org", "contains a line break, NUL or lone surrogate; strip a trailing newline."),
]
INVALID_TEXT += [(site, problem) for problem, sites in INVALID.items() for site in sites.split()]


@pytest.mark.parametrize(
    ("site", "problem"), INVALID_TEXT, ids=lambda value: ascii(value)[-50:].strip("'")
)
def test_invalid_site_is_not_echoed(site: Any, problem: str) -> None:
    hint = "Use the organization URL, such as https://chat.example.com."
    for allow_http in (False, True):
        found = error_message(
            lambda allow=allow_http: normalize_site(site, allow_http=allow),  # type: ignore[misc]
            InvalidSiteError,
            secrets=("hunter2",),
        )
        assert found == f"site {problem} {hint}"


names = st.from_regex(r"[a-zA-Z0-9-]{1,20}(\.[a-zA-Z0-9-]{0,20}[a-zA-Z]){0,3}\.?", fullmatch=True)
hosts = st.one_of(
    names.filter(lambda name: "xn--" not in name.lower() and not name.rstrip(".").isdigit()),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.sampled_from(["localhost", "127.0.0.1", "[::1]"]),
)
ports = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
paths = st.sampled_from(["", "/", "/api", "/api/v1/", "/login/", "/accounts/login/x", "/#narrow/x"])


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


def test_development_site() -> None:
    for site in ("http://zulip.localhost:9991", "https://a.b.zulipdev.com"):
        assert is_development_site(site)
    for host in ("zulipdev.com", "evilzulipdev.com", "zulipdev.com.evil.com", "localhost"):
        assert not is_development_site(f"http://{host}")


INSECURE = r"""
    http://localhost@evil.com/login http://localhost\@evil.com/login http://localhost:9\.evil.com/
    https://iago:secret@x.org https:///login https://[/ https:x.org //x.org/ javascript:alert(1)"""


@pytest.mark.parametrize(
    ("url", "expected", "with_http"),
    [
        ("https://chat.example.com:8443/login?next=/#top", True, True),
        ("http://[::1]/login", True, True),
        ("http://chat.example.com/login", False, True),
        ("http://localhost.evil.com/login", False, True),
        *((url, False, False) for url in INSECURE.split()),
        ("https://chat.example.com/a\nb", False, False),
        ("https://chat.example.com/\u202enigol", False, False),
        ("", False, False),
    ],
    ids=ascii,
)
def test_secure_url(url: str, expected: bool, with_http: bool) -> None:
    assert is_secure_url(url) is expected
    assert is_secure_url(url, allow_http=True) is with_http
