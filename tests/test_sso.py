from __future__ import annotations

import copy
import html
import json
import pickle
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import chromium
import httpx
import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

import zulip_auth
from helpers.constants import API_KEY
from helpers.raw_server import ScriptedServer, respond
from helpers.recordings import load_recordings
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


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


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
def clock() -> Clock:
    return Clock()


@pytest.fixture
def flow(clock: Clock) -> SSOFlow:
    return SSOFlow(SITE, METHOD, clock=clock)


# ---- The URL to open


def test_url_has_a_pad() -> None:
    client = AuthClient(SITE)
    for login_url, begin in {
        METHOD.login_url: f"{METHOD.login_url}?",
        f"{SITE}/login/?next=%2F&x=": f"{SITE}/login/?next=%2F&x=&",
        f"{SITE}/login?": f"{SITE}/login?",
        "http://localhost:9991/sso/": "http://localhost:9991/sso/?",
    }.items():
        flow = client.start_sso(evolve(METHOD, login_url=login_url))
        assert re.fullmatch(re.escape(begin) + "mobile_flow_otp=[0-9a-f]{64}", flow.url)
        assert flow.url == flow.url
    flow = client.start_sso(evolve(METHOD, login_url=f"{SITE}/login#top"))
    assert re.fullmatch(rf"{SITE}/login\?mobile_flow_otp=[0-9a-f]{{64}}#top", flow.url)
    assert flow.site == SITE


def test_pad_is_random_and_unique(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = AuthClient(SITE)
    assert len({client.start_sso(METHOD).url for _ in range(100)}) == 100
    monkeypatch.setattr(secrets, "token_hex", lambda length: "0f" * length)
    assert pad_of(client.start_sso(METHOD)) == "0f" * 32


@pytest.mark.parametrize(
    "login_url",
    [
        "http://chat.example.com/login",
        "http://localhost.evil.com/login",
        "http://localhost@evil.com/login",
        "http://localhost\\@evil.com/login",
        "http://localhost:9991\\.evil.com/login",
        "https://iago:secret@chat.example.com/login",
        "https://chat.example.com/lo\ngin",
        "https://chat.example.com/\u202enigol",
        "https:///login",
        "https://[/login",
        "https:chat.example.com",
        "/accounts/login",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "zulip://login",
        "",
        None,
        b"https://chat.example.com",
    ],
)
def test_method_with_insecure_url(login_url: Any) -> None:
    method = evolve(METHOD, login_url=login_url)
    with pytest.raises(InvalidInputError, match=r"^method\.login_url must use https://"):
        AuthClient(SITE).start_sso(method)


@pytest.mark.parametrize(
    "method", [None, "google", METHOD.login_url, FakeMethod("google", "Google"), (METHOD,)]
)
def test_method_of_another_type(method: Any) -> None:
    with pytest.raises(
        InvalidInputError, match=r"^method must be an instance of ExternalMethod, not "
    ):
        AuthClient(SITE).start_sso(method)


def test_method_with_http_allowed() -> None:
    site = "http://chat.example.com"
    flow = SSOFlow(site, ExternalMethod("x", "X", f"{site}/login"), allow_http=True)
    assert flow.url.startswith(f"{site}/login?mobile_flow_otp=")
    assert flow.finish(redirect(flow, realm=site)).site == site


# ---- The redirect


def test_finish_returns_credentials(flow: SSOFlow) -> None:
    assert flow.finish(redirect(flow)) == EXPECTED


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # Servers before Zulip 5.0 omit the user ID; newer ones may add parameters.
        ({"user_id": ...}, evolve(EXPECTED, user_id=None)),
        ({"user_id": 1}, evolve(EXPECTED, user_id=1)),
        ({"realm_name": "Chat", "x": "", "email2": "a b"}, EXPECTED),
        ({"realm": "HTTPS://Chat.Example.com:443/"}, EXPECTED),
        (
            {"email": "jürgen%40&=#+@example.com"},
            evolve(EXPECTED, email="jürgen%40&=#+@example.com"),
        ),
    ],
)
def test_finish_accepts_other_servers(
    flow: SSOFlow, fields: dict[str, object], expected: Credentials
) -> None:
    assert flow.finish(redirect(flow, **fields)) == expected


def test_finish_accepts_rewritten_urls() -> None:
    changes: list[Callable[[str], str]] = [
        lambda url: url.replace("zulip://login?", "zulip://login/?"),
        lambda url: url.replace("%3A", "%3a").replace("%2F", "%2f"),
        lambda url: url.replace("%40", "@").replace("%3A", ":").replace("%2F", "/"),
        lambda url: "zulip://login?" + "&".join(reversed(url.partition("?")[2].split("&"))),
    ]
    for change in changes:
        flow = AuthClient(SITE).start_sso(METHOD)
        changed = change(redirect(flow))
        assert changed != redirect(flow)
        assert flow.finish(changed) == EXPECTED


async def test_recorded_redirect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [exchange] = load_recordings("sso: remote user")
    pad = exchange.query["mobile_flow_otp"]
    assert pad == "ab" * 32
    monkeypatch.setattr(secrets, "token_hex", lambda length: "ab" * length)
    replay = respond(exchange.status, exchange.body, exchange.headers)
    async with ScriptedServer(replay) as server, httpx.AsyncClient() as browser:
        method = ExternalMethod("remoteuser", "SSO", f"{server.site}{exchange.path}")
        flow = AuthClient(f"http://{exchange.host}").start_sso(method)
        response = await browser.get(flow.url)
        [request] = server.requests
    assert request.line == f"GET {exchange.path}?{urlencode(exchange.query)} HTTP/1.1"
    location = response.headers["location"]
    assert location == exchange.headers["location"]
    credentials = flow.finish(location)
    encrypted = dict(parse_qsl(urlsplit(location).query))["otp_encrypted_api_key"]
    key = (int(encrypted, 16) ^ int(pad, 16)).to_bytes(32).decode()
    assert credentials == Credentials("http://localhost:9991", "hamlet@zulip.com", key, 15)
    # Another recorded response has the same account's key.
    [by_token] = load_recordings("jwt: success")
    assert by_token.json()["api_key"] == key


@given(key=st.from_regex(r"[A-Za-z0-9]{32}", fullmatch=True))
def test_any_key_is_decrypted(key: str) -> None:
    flow = AuthClient(SITE).start_sso(METHOD)
    assert flow.finish(redirect(flow, key)).api_key == key


# ---- Invalid redirects

Change = Callable[[str], str]


def put(name: str, value: str) -> Change:
    """Return a change of one parameter."""

    def change(url: str) -> str:
        changed = re.sub(rf"(?<=[?&]){name}=[^&]*", lambda _: f"{name}={value}", url)
        assert changed != url
        return changed

    return change


def encrypted(change: Change) -> Change:
    """Return a change of the encrypted key."""
    return lambda url: re.sub(r"(?<=_key=)[^&]*", lambda match: change(match[0]), url)


def without(name: str) -> Change:
    return lambda url: re.sub(rf"(?<=[?&]){name}=[^&]*&?", "", url).removesuffix("&")


def replaced(old: str, new: str) -> Change:
    def change(url: str) -> str:
        assert old in url
        return url.replace(old, new, 1)

    return change


def upper(text: str) -> str:
    changed = text.upper()
    # Uppercase even if there was no letter.
    return "A" + changed[1:]


INVALID_REDIRECTS: dict[str, Change] = {
    "realm of another organization": put("realm", "https%3A%2F%2Fevil.example.com"),
    "realm below this one": put("realm", "https%3A%2F%2Fevil.chat.example.com"),
    "realm that begins like this one": put("realm", "https%3A%2F%2Fchat.example.com.evil.com"),
    "realm with this one as a user name": put("realm", "https://chat.example.com@evil.com"),
    "realm in plain http": put("realm", "http%3A%2F%2Fchat.example.com"),
    "realm at another port": put("realm", "https%3A%2F%2Fchat.example.com%3A8443"),
    "realm with a path": put("realm", "https%3A%2F%2Fchat.example.com%2Fother"),
    "realm with a trailing newline": put("realm", "https%3A%2F%2Fchat.example.com%0A"),
    "realm empty": put("realm", ""),
    "realm twice": lambda url: f"{url}&realm=https%3A%2F%2Fchat.example.com",
    "realm twice, once disguised": lambda url: f"{url}&re%61lm=https%3A%2F%2Fevil.com",
    "realm missing": without("realm"),
    "key of 63 digits": encrypted(lambda text: text[:-1]),
    "key of 62 digits": encrypted(lambda text: text[:-2]),
    "key of 65 digits": encrypted(lambda text: f"{text}0"),
    "key of 66 digits": encrypted(lambda text: f"{text}00"),
    "key with a letter beyond f": encrypted(lambda text: f"g{text[1:]}"),
    "key with digits of another script": encrypted(lambda text: f"%D9%A1{text[1:]}"),
    "key with 0x": encrypted(lambda text: f"0x{text[2:]}"),
    "key in upper case": encrypted(upper),
    "key with a trailing newline": encrypted(lambda text: f"{text}%0A"),
    "key with a space": encrypted(lambda text: f"{text[:-1]}+"),
    "key empty": encrypted(lambda _: ""),
    "key twice": lambda url: url + re.sub(r".*(otp_.*?)&.*", r"&\1", url),
    "key missing": without("otp_encrypted_api_key"),
    "key under another pad": encrypted(lambda _: encrypt(API_KEY, "ab" * 32)),
    "key with its first bit changed": encrypted(lambda t: f"{int(t[0], 16) ^ 8:x}{t[1:]}"),
    "key all zeros": encrypted(lambda _: "0" * 64),
    "email with a newline": put("email", "iago%40zulip.com%0A"),
    "email with a header after it": put("email", "iago%40zulip.com%0D%0AX%3A+y"),
    "email with a space": put("email", "iago+zulip@zulip.com"),
    "email with a NUL": put("email", "iago%00%40zulip.com"),
    "email that is not UTF-8": put("email", "iago%FF%40zulip.com"),
    "email with a lone surrogate": put("email", "iago%ED%A0%80%40zulip.com"),
    "email with half an escape": put("email", "iago%4"),
    "email with no escape": put("email", "100%zulip.com"),
    "email empty": put("email", ""),
    "email of 1,025 characters": put("email", "a" * 1025),
    "email twice": lambda url: f"{url}&email=evil%40example.com",
    "email missing": without("email"),
    "user id of zero": put("user_id", "0"),
    "user id negative": put("user_id", "-16"),
    "user id with a sign": put("user_id", "%2B16"),
    "user id a fraction": put("user_id", "16.0"),
    "user id with a zero before it": put("user_id", "016"),
    "user id with a space": put("user_id", "+16"),
    "user id with an underscore": put("user_id", "1_6"),
    "user id in digits of another script": put("user_id", "%D9%A1"),
    "user id too long": put("user_id", "9" * 5000),
    "user id a word": put("user_id", "null"),
    "user id empty": put("user_id", ""),
    "user id twice": lambda url: f"{url}&user_id=16",
    "parameter without a value": lambda url: f"{url}&extra",
    "parameter without a name or value": lambda url: f"{url}&",
    "no parameters": lambda url: url.partition("?")[0],
    "nothing after the question mark": lambda _: "zulip://login?",
    "a semicolon between parameters": lambda url: url.replace("&", ";"),
    "a fragment": lambda url: f"{url}#",
    "parameters in the fragment": replaced("?", "#"),
    "scheme https": replaced("zulip:", "https:"),
    "scheme zulips": replaced("zulip:", "zulips:"),
    "scheme missing": replaced("zulip:", ""),
    "scheme in upper case": replaced("zulip:", "ZULIP:"),
    "one slash": replaced("//", "/"),
    "another host": replaced("//login", "//message"),
    "host with more to it": replaced("//login", "//login.evil.com"),
    "host empty": replaced("//login", "///login"),
    "host as a path": replaced("zulip://login", "zulip:login"),
    "user name": replaced("//login", "//iago@login"),
    "port": replaced("//login", "//login:443"),
    "path": replaced("login?", "login/x?"),
    "two slashes for a path": replaced("login?", "login//?"),
    "backslash": replaced("login?", "login\\?"),
    "a newline after it": lambda url: f"{url}\n",
    "a newline in it": lambda url: f"{url[:80]}\n{url[80:]}",
    "a space before it": lambda url: f" {url}",
    "a tab in it": replaced("login", "lo\tgin"),
    "a NUL in it": lambda url: f"{url}\0",
    "lone surrogate in it": lambda url: f"{url}\ud800",
    "angle brackets around it": lambda url: f"<{url}>",
    "quotes around it": lambda url: f'"{url}"',
    "twice on one line": lambda url: url * 2,
    "escaped as a whole": quote,
    "escaped for HTML": html.escape,
    "8 KiB and more": lambda url: f"{url}&x={'a' * 8192}",
    "cut off": lambda url: url[:60],
    "empty": lambda _: "",
    "what a password looks like": lambda _: "correct horse battery staple",
}


def finish_error(
    flow: SSOFlow, url: Any, kind: type[zulip_auth.ZulipAuthError], secrets: list[str]
) -> zulip_auth.ZulipAuthError:
    """Return the error of `finish`, which must not contain *secrets*."""
    with pytest.raises(zulip_auth.ZulipAuthError) as caught:
        flow.finish(url)
    assert type(caught.value) is kind
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    # Short values are in a message by chance.
    SecretScanner(*(each for each in secrets if len(each) > 16)).check_error(caught.value)
    return caught.value


@pytest.mark.parametrize("change", INVALID_REDIRECTS.values(), ids=INVALID_REDIRECTS)
def test_tampered_redirect_keeps_the_flow(flow: SSOFlow, change: Change) -> None:
    pad, right = pad_of(flow), redirect(flow)
    tampered = change(right)
    assert tampered != right
    values = [value for _, value in parse_qsl(tampered.encode("utf-8", "ignore").decode())]
    known = [pad, API_KEY, encrypt(API_KEY, pad), *values]
    known += [tampered] if "\ud800" not in tampered else []
    known = [each for each in known if not each.startswith(SITE)]
    error = finish_error(flow, tampered, InvalidInputError, known)
    assert str(error).startswith("redirect_url ")
    assert flow.finish(right) == EXPECTED


@pytest.mark.parametrize("value", [None, 7, b"zulip://login?", ["zulip://login?"], object()])
def test_redirect_of_another_type(flow: SSOFlow, value: Any) -> None:
    error = finish_error(flow, value, InvalidInputError, [pad_of(flow)])
    assert str(error) == f"redirect_url must be a str, not {type(value).__name__}."


def test_start_url_is_not_a_redirect(flow: SSOFlow) -> None:
    finish_error(flow, flow.url, InvalidInputError, [pad_of(flow), flow.url])


def test_redirect_error_messages(flow: SSOFlow) -> None:
    for change, text in {
        "a newline in it": "contains whitespace or control characters. Copy the full URL.",
        "8 KiB and more": "is longer than 8192 characters.",
        "cut off": "is not a zulip://login URL with otp_encrypted_api_key, email and realm. "
        "Copy the full URL.",
        "key of 63 digits": "has an invalid otp_encrypted_api_key "
        "(expected 64 lowercase hex digits). Copy the full URL.",
        "realm at another port": f"is for a different organization, not {SITE}. "
        "Use the server's realm_url as the site.",
        "email with a newline": "has an invalid email or user_id.",
        "key under another pad": "does not belong to this SSO flow. Copy the latest redirect URL.",
    }.items():
        with pytest.raises(InvalidInputError) as caught:
            flow.finish(INVALID_REDIRECTS[change](redirect(flow)))
        assert str(caught.value) == f"redirect_url {text}"


def test_redirect_max_length(flow: SSOFlow) -> None:
    right = redirect(flow, more="")
    longest = right + "a" * (8192 - len(right))
    finish_error(flow, f"{longest}a", InvalidInputError, [pad_of(flow)])
    assert flow.finish(longest) == EXPECTED


@given(url=st.text() | st.from_regex(r"zulip://login/?\?[ -~]*", fullmatch=True))
@example("zulip://login?" + "%" * 8000)
@example("zulip://login?" + "&" * 8000)
@example("zulip://login?" + "a=&" * 2700)
def test_any_text_is_a_typed_error(url: str) -> None:
    flow = AuthClient(SITE).start_sso(METHOD)
    with pytest.raises(InvalidInputError):
        flow.finish(url)


NAMES = st.sampled_from(["otp_encrypted_api_key", "email", "user_id", "realm", "more"])
VALUES = st.sampled_from([EMAIL, "16", SITE, "", "0" * 64, "{encrypted}"]) | st.text(max_size=5)


@given(fields=st.lists(st.tuples(NAMES, VALUES), max_size=6))
@example([("otp_encrypted_api_key", "{encrypted}"), ("email", EMAIL), ("realm", SITE)])
def test_any_params_are_safe(fields: list[tuple[str, str]]) -> None:
    flow = AuthClient(SITE).start_sso(METHOD)
    right = encrypt(API_KEY, pad_of(flow))
    pairs = [(name, value.replace("{encrypted}", right)) for name, value in fields]
    try:
        url = f"zulip://login?{urlencode(pairs)}"
    except UnicodeEncodeError:
        return
    try:
        credentials = flow.finish(url)
    except InvalidInputError:
        return
    assert (credentials.site, credentials.api_key) == (SITE, API_KEY)
    assert ("email", credentials.email) in pairs


# ---- The end of a flow


def test_flow_is_finished_once(flow: SSOFlow) -> None:
    pad, url = pad_of(flow), redirect(flow)
    flow.finish(url)
    for again in (url, "", None):
        error = finish_error(
            flow, again, SSOFlowEndedError, [pad, API_KEY, url, encrypt(API_KEY, pad)]
        )
        assert str(error) == "This SSO flow is already complete. Start a new one."
    with pytest.raises(SSOFlowEndedError, match="already complete") as caught:
        _ = flow.url
    SecretScanner(pad).check_error(caught.value)
    SecretScanner(pad).check_object(vars(flow), "the flow")


def test_flow_expires(flow: SSOFlow, clock: Clock) -> None:
    pad, url = pad_of(flow), redirect(flow)
    clock.now += FLOW_TIMEOUT
    error = finish_error(flow, url, SSOFlowEndedError, [pad, API_KEY, url, encrypt(API_KEY, pad)])
    assert str(error) == "This SSO flow expired after 10 minutes. Start a new one."
    with pytest.raises(SSOFlowEndedError, match="after 10 minutes") as caught:
        _ = flow.url
    SecretScanner(pad).check_error(caught.value)


def test_flow_lasts_until_it_expires(flow: SSOFlow, clock: Clock) -> None:
    clock.now += FLOW_TIMEOUT - 0.001
    assert flow.finish(redirect(flow)) == EXPECTED


def test_flow_uses_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = AuthClient(SITE).start_sso(METHOD)
    monkeypatch.setattr("time.time", lambda: 1e12)
    assert flow.finish(redirect(flow)) == EXPECTED


def test_ended_error_is_not_invalid_input() -> None:
    # A caller that prompts again after invalid input would never end.
    assert not issubclass(SSOFlowEndedError, InvalidInputError)


# ---- Secrets of a flow


def test_flow_hides_its_pad(flow: SSOFlow) -> None:
    pad = pad_of(flow)
    assert repr(flow) == str(flow) == f"<SSOFlow {SITE}>"
    SecretScanner(pad).check(f"{flow} {flow!r} {vars(flow)} {[flow]}", "the flow")


def test_flow_cannot_be_copied_or_pickled(flow: SSOFlow) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: copy.copy(flow),
        lambda: copy.deepcopy([flow]),
        *(
            lambda protocol=protocol: pickle.dumps(flow, protocol)
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ]
    for attempt in attempts:
        with pytest.raises(TypeError, match=r"^cannot copy or pickle SSOFlow: ") as caught:
            attempt()
        SecretScanner(pad_of(flow)).check_error(caught.value)


# ---- In a real browser


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium that logs its requests."""
    with chromium.run_chromium(tmp_path / "profile", performance="ALL") as driver:
        yield driver


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
async def test_real_chromium_browser(browser: Any) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    async with FakeZulip({"iago+1&2@zulip.com": "x", "hamlet@zulip.com": "x"}) as server:
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
