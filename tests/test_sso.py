from __future__ import annotations

import copy
import json
import pickle
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

import chromium
import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

import zulip_auth
from helpers.constants import API_KEY
from helpers.secret_scanner import SecretScanner
from zulip_auth import (
    AuthClient,
    Credentials,
    ExternalMethod,
    InvalidInputError,
    SSOFlow,
    SSOFlowEndedError,
)
from zulip_auth._sso import FLOW_TIMEOUT
from zulip_auth.testing import ExternalMethod as FakeMethod
from zulip_auth.testing import FakeZulip

SITE = "https://chat.example.com"
METHOD = ExternalMethod("google", "Google", f"{SITE}/accounts/login/social/google")
EMAIL = "iago+zulip@zulip.com"
EXPECTED = Credentials(SITE, EMAIL, API_KEY, 16)


def pad_of(flow: SSOFlow) -> str:
    return dict(parse_qsl(urlsplit(flow.url).query))["mobile_flow_otp"]


def encrypt(key: str, pad: str) -> str:
    """Encrypt as Zulip does: both in hexadecimal, digit by digit."""
    return "".join(
        f"{int(a, 16) ^ int(b, 16):x}" for a, b in zip(key.encode().hex(), pad, strict=True)
    )


def redirect(flow: SSOFlow, key: str = API_KEY, /, **fields: object) -> str:
    """Return the redirect URL; a field that is ... is left out."""
    values: dict[str, object] = {
        "otp_encrypted_api_key": encrypt(key, pad_of(flow)),
        "email": EMAIL,
        "user_id": 16,
        "realm": SITE,
        **fields,
    }
    values = {name: value for name, value in values.items() if value is not ...}
    return f"zulip://login?{urlencode(values)}"


@pytest.fixture
def flow() -> SSOFlow:
    return AuthClient(SITE).start_sso(METHOD)


# ---- The URL to open


def test_url_has_a_pad() -> None:
    client = AuthClient(SITE)
    for login_url, begin, end in (
        (METHOD.login_url, f"{METHOD.login_url}?", ""),
        (f"{SITE}/login/?next=%2F&x=", f"{SITE}/login/?next=%2F&x=&", ""),
        (f"{SITE}/login?", f"{SITE}/login?", ""),
        (f"{SITE}/login#top", f"{SITE}/login?", "#top"),
    ):
        flow = client.start_sso(evolve(METHOD, login_url=login_url))
        pattern = f"{re.escape(begin)}mobile_flow_otp=[0-9a-f]{{64}}{end}"
        assert re.fullmatch(pattern, flow.url)
        assert flow.url == flow.url
    assert flow.site == SITE


def test_pad_is_random_and_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    client = AuthClient(SITE)
    assert len({client.start_sso(METHOD).url for _ in range(100)}) == 100
    monkeypatch.setattr(secrets, "token_hex", lambda length: "0f" * length)
    assert pad_of(client.start_sso(METHOD)) == "0f" * 32


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (evolve(METHOD, login_url="http://chat.example.com/login"), "method.login_url must use h"),
        (evolve(METHOD, login_url="/accounts/login"), "method.login_url must use https://"),
        (ExternalMethod("x", "X", None), "method.login_url must be a str, not NoneType."),  # type: ignore[arg-type]
        (METHOD.login_url, "method must be an instance of ExternalMethod, not str."),
        (FakeMethod("x", "X"), "method must be an instance of ExternalMethod, not ExternalMethod."),
    ],
)
def test_method_invalid(method: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        AuthClient(SITE).start_sso(method)


# ---- The redirect


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, EXPECTED),
        # Servers before Zulip 5.0 omit the user ID; newer ones may add parameters.
        ({"user_id": ...}, evolve(EXPECTED, user_id=None)),
        ({"user_id": 1}, evolve(EXPECTED, user_id=1)),
        ({"realm_name": "Chat", "x": "", "email2": "a b"}, EXPECTED),
        ({"realm": "HTTPS://Chat.Example.com:443/"}, EXPECTED),
        ({"email": "jürgen%&=#+@x.org"}, evolve(EXPECTED, email="jürgen%&=#+@x.org")),
    ],
)
def test_finish_accepts_other_servers(
    flow: SSOFlow, fields: dict[str, object], expected: Credentials
) -> None:
    assert flow.finish(redirect(flow, **fields)) == expected


@pytest.mark.parametrize(
    ("pattern", "change"),
    [
        (r"login\?", "login/?"),
        ("%3A%2F%2F", "%3a%2f%2f"),
        ("%3A%2F%2F", "://"),
        (r"\?(.*)&(.*)&(.*)&(.*)", r"?\4&\3&\2&\1"),
    ],
)
def test_finish_accepts_rewritten_urls(flow: SSOFlow, pattern: str, change: str) -> None:
    changed = re.sub(pattern, change, redirect(flow))
    assert changed != redirect(flow)
    assert flow.finish(changed) == EXPECTED


@given(key=st.from_regex(r"[A-Za-z0-9]{32}", fullmatch=True))
def test_any_key_is_decrypted(key: str) -> None:
    flow = SSOFlow(SITE, METHOD)
    assert flow.finish(redirect(flow, key)).api_key == key


# ---- Invalid redirects

# Values of parameters, percent-encoded and separated by spaces.
VALUES = {
    "realm": """
        https%3A%2F%2Fevil.example.com https%3A%2F%2Fevil.chat.example.com
        https%3A%2F%2Fchat.example.com.evil.com https://chat.example.com@evil.com
        http%3A%2F%2Fchat.example.com https%3A%2F%2Fchat.example.com%3A8443
        https%3A%2F%2Fchat.example.com%2Fother https%3A%2F%2Fchat.example.com%0A""",
    "email": f"""
        iago%40zulip.com%0A iago%40zulip.com%0D%0AX%3A+y iago+zulip@zulip.com iago%00%40zulip.com
        iago%FF%40zulip.com iago%ED%A0%80%40zulip.com iago%4 100%zulip.com {"a" * 1025}""",
    "user_id": f"0 -16 %2B16 16.0 016 +16 1_6 %D9%A1 null {'9' * 5000}",
    # \1 and \2 are the first two digits, \4 is the last one.
    "otp_encrypted_api_key": rf"""
        \1\2\3 \1\3 \1\2\3\g<4>0 \1\2\3\g<4>00 \1\2\3\4%0A g\2\3\4 A\2\3\4 %D9%A1\2\3\4 0x\3\4
        \1\2\3+ {"0" * 64}""",
}
REPEATED = ["realm=https%3A%2F%2Fchat.example.com", "re%61lm=https%3A%2F%2Fevil.com", "user_id=16"]
REPEATED += ["email=evil%40example.com", f"otp_encrypted_api_key={'0' * 64}"]
# Regular expressions, and what replaces the match in a right URL.
CHANGES: list[tuple[str, str]] = [
    *(
        (rf"(?<=[?&]{name}=)([^&])([^&])([^&]*?)([^&]?)(?=&|\Z)", value)
        for name, text in VALUES.items()
        for value in (*text.split(), "")
    ),
    *((rf"\b{name}=[^&]*&?", "") for name in ("realm", "email", "otp_encrypted_api_key")),
    *((r"\Z", f"&{more}") for more in (*REPEATED, "extra", "", "x=" + "a" * 8192)),
    *((r"\Z", more) for more in ("#", "\n", "\0", "\ud800")),
    *((r"\?.*", rest) for rest in ("", "?", r"?email=x")),
    *(("zulip:", scheme) for scheme in ("https:", "zulips:", "", "ZULIP:")),
    *(
        ("//login", host)
        for host in (
            *("/login", "//message", "///login", "//login.evil.com", "login", "//iago@login"),
            *("//login:443", "//lo\tgin", "//login/x", "//login//", r"//login\\", "//lo\ngin"),
        )
    ),
    *(
        (r"(?s)\A.*\Z", text)
        for text in (r" \g<0>", r"<\g<0>>", r'"\g<0>"', r"\g<0>\g<0>", "correct horse", "")
    ),
    *((r"\?", "#"), ("&", ";"), ("&", "&amp;"), (":", "%3A"), (r"(.{60}).*", r"\1")),
]


def finish_error(
    flow: SSOFlow, url: Any, kind: type[zulip_auth.ZulipAuthError], secrets: list[str]
) -> str:
    """Return the message of `finish`, whose error must not contain *secrets*."""
    with pytest.raises(zulip_auth.ZulipAuthError) as caught:
        flow.finish(url)
    assert type(caught.value) is kind
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    # Short values are in a message by chance.
    SecretScanner(*(each for each in secrets if len(each) > 16)).check_error(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("pattern", "change"), CHANGES, ids=range(len(CHANGES)))
def test_tampered_redirect_keeps_the_flow(flow: SSOFlow, pattern: str, change: str) -> None:
    pad, right = pad_of(flow), redirect(flow)
    tampered = re.sub(pattern, change, right, count=1)
    assert tampered != right
    values = [value for _, value in parse_qsl(tampered.encode("utf-8", "ignore").decode())]
    known = [pad, API_KEY, encrypt(API_KEY, pad), *values]
    known += [tampered] if "\ud800" not in tampered else []
    known = [each for each in known if not each.startswith(SITE)]
    assert finish_error(flow, tampered, InvalidInputError, known).startswith("redirect_url ")
    assert flow.finish(right) == EXPECTED


def test_redirect_error_messages(flow: SSOFlow) -> None:
    incomplete = (
        "is not a complete zulip://login URL with a valid otp_encrypted_api_key, email and realm. "
        "Copy the full URL."
    )
    for url, problem in (
        (None, "must be a str, not NoneType."),
        (redirect(flow)[:60], incomplete),
        (redirect(flow, email="a b"), incomplete),
        (flow.url, incomplete),
        (
            redirect(flow, realm=f"{SITE}:8443"),
            f"is for a different organization, not {SITE}. Use the server's realm_url as the site.",
        ),
        (
            redirect(SSOFlow(SITE, METHOD)),
            "does not belong to this SSO flow. Copy the latest redirect URL.",
        ),
    ):
        message = finish_error(flow, url, InvalidInputError, [pad_of(flow), str(url)])
        assert message == f"redirect_url {problem}"


@given(url=st.text() | st.from_regex(r"zulip://login/?\?[ -~]*", fullmatch=True))
@example("zulip://login?" + "%" * 8000)
@example("zulip://login?" + "&" * 8000)
@example("zulip://login?" + "a=&" * 2700)
def test_any_text_is_a_typed_error(url: str) -> None:
    with pytest.raises(InvalidInputError):
        SSOFlow(SITE, METHOD).finish(url)


NAMES = st.sampled_from(["otp_encrypted_api_key", "email", "user_id", "realm", "more"])
TEXTS = st.sampled_from([EMAIL, "16", SITE, "", "0" * 64, "{encrypted}"]) | st.text(max_size=5)


@given(fields=st.lists(st.tuples(NAMES, TEXTS), max_size=6))
@example([("otp_encrypted_api_key", "{encrypted}"), ("email", EMAIL), ("realm", SITE)])
def test_any_params_are_safe(fields: list[tuple[str, str]]) -> None:
    flow = SSOFlow(SITE, METHOD)
    right = encrypt(API_KEY, pad_of(flow))
    pairs = [(name, value.replace("{encrypted}", right)) for name, value in fields]
    try:
        credentials = flow.finish(f"zulip://login?{urlencode(pairs, errors='surrogatepass')}")
    except InvalidInputError:
        return
    assert (credentials.site, credentials.api_key) == (SITE, API_KEY)
    assert ("email", credentials.email) in pairs


# ---- The end of a flow


def test_flow_is_finished_once(flow: SSOFlow) -> None:
    pad, url = pad_of(flow), redirect(flow)
    flow.finish(url)
    known = [pad, API_KEY, url, encrypt(API_KEY, pad)]
    for again in (url, "", None):
        message = finish_error(flow, again, SSOFlowEndedError, known)
        assert message == "This SSO flow is already complete. Start a new one."
    with pytest.raises(SSOFlowEndedError, match="already complete") as caught:
        _ = flow.url
    SecretScanner(pad).check_error(caught.value)
    SecretScanner(pad).check_object(vars(flow), "the flow")


def test_flow_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr("time.time", lambda: 1e12)  # a clock that is set does not end it
    flow, late = SSOFlow(SITE, METHOD), SSOFlow(SITE, METHOD)
    pad, url = pad_of(late), redirect(late)
    now += FLOW_TIMEOUT - 0.001
    assert flow.finish(redirect(flow)) == EXPECTED
    now += 0.001
    known = [pad, API_KEY, url, encrypt(API_KEY, pad)]
    message = finish_error(late, url, SSOFlowEndedError, known)
    assert message == "This SSO flow expired after 10 minutes. Start a new one."
    with pytest.raises(SSOFlowEndedError, match="after 10 minutes") as caught:
        _ = late.url
    SecretScanner(pad).check_error(caught.value)


def test_ended_error_is_not_invalid_input() -> None:
    # A caller that prompts again after invalid input would never end.
    assert not issubclass(SSOFlowEndedError, InvalidInputError)


def test_flow_hides_its_pad(flow: SSOFlow) -> None:
    assert repr(flow) == str(flow) == f"<SSOFlow {SITE}>"
    SecretScanner(pad_of(flow)).check(f"{flow} {flow!r} {vars(flow)} {[flow]}", "the flow")
    attempts: list[Callable[[], object]] = [
        lambda: copy.copy(flow),
        lambda: copy.deepcopy([flow]),
        lambda: pickle.dumps(flow),
        lambda: pickle.dumps(flow, 0),
    ]
    for attempt in attempts:
        with pytest.raises(TypeError, match=r"^cannot copy or pickle SSOFlow: ") as caught:
            attempt()
        SecretScanner(pad_of(flow)).check_error(caught.value)


# ---- In a real browser


def find_zulip_url(browser: Any) -> str | Literal[False]:
    """Return the zulip:// URL that the browser was redirected to, if any.

    Chromium has no program for it and stays on its page.
    """
    for entry in browser.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            url: str = event["params"]["request"]["url"]
            if url.startswith("zulip:"):
                return url
    return False


@pytest.mark.slow
@pytest.mark.skipif(not chromium.is_installed(), reason=chromium.MISSING)
async def test_real_chromium_browser(tmp_path: Path) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    users = {"iago+1&2@zulip.com": "x", "hamlet@zulip.com": "x"}
    profile = tmp_path / "profile"
    with chromium.run_chromium(profile, performance="ALL") as browser, FakeZulip(users) as server:
        server.realm.external_methods.append(FakeMethod("google", "Google"))
        client = AuthClient(server.site)
        [method] = (await client.server_settings()).external_methods
        flow = client.start_sso(method)
        browser.get(flow.url)
        assert browser.title == "Log in to Zulip Dev"
        browser.find_element("link text", "iago+1&2@zulip.com").click()
        url = WebDriverWait(browser, 30).until(find_zulip_url)
        credentials = flow.finish(url)
        account = server.account("iago+1&2@zulip.com")
        assert credentials == Credentials(
            server.site, account.email, account.api_key, account.user_id
        )
        assert (await client.verify(credentials)).email == account.email
