"""The login page of the stand-in server for browsers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from zulip_auth.testing import ExternalMethod, FakeZulip


@pytest.fixture
def sso() -> Iterator[FakeZulip]:
    with FakeZulip({"iago+1&2@zulip.com": "x", "hamlet@zulip.com": "x"}) as fake:
        fake.realm.external_methods += [
            ExternalMethod("google", "Google"),
            ExternalMethod("saml:idp_name", "SAML"),
        ]
        yield fake


async def test_page_lists_active_accounts(sso: FakeZulip) -> None:
    sso.realm.name = "<Zulip>"
    sso.add_user("gone@zulip.com", "x").active = False
    for method in sso.realm.external_methods:
        url = f"{sso.site}{method.login_path}"
        async with httpx.AsyncClient() as browser:
            page = await browser.get(url, params={"mobile_flow_otp": "aB" * 32})
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert "<h1>Log in to &lt;Zulip&gt;</h1>" in page.text
            links = dict(re.findall(r'<a href="(.*?)">(.*?)</a>', page.text))
            assert list(links.values()) == ["hamlet@zulip.com", "iago+1&amp;2@zulip.com"]
            for link, email in links.items():
                chosen = await browser.get(f"{url}{unescape(link)}")
                assert chosen.status_code == 302
                parts = urlsplit(chosen.headers["location"])
                assert (parts.scheme, parts.netloc, parts.path) == ("zulip", "login", "")
                params = dict(parse_qsl(parts.query))
                account = sso.account(unescape(email))
                key = int(params.pop("otp_encrypted_api_key"), 16) ^ int("ab" * 32, 16)
                assert key.to_bytes(32).decode() == account.api_key
                user_id = str(account.user_id)
                assert params == {"email": account.email, "user_id": user_id, "realm": sso.site}


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("google", {"mobile_flow_otp": "ab" * 32}, 200),
        ("google", {"mobile_flow_otp": "ab" * 31}, 400),
        ("google", {"mobile_flow_otp": "ab" * 33}, 400),
        ("google", {"mobile_flow_otp": "g" * 64}, 400),
        ("google", {}, 400),
        ("google", {"mobile_flow_otp": "ab" * 32, "email": "unknown@zulip.com"}, 404),
        ("github", {"mobile_flow_otp": "ab" * 32}, 404),
        ("", {"mobile_flow_otp": "ab" * 32}, 404),
    ],
)
async def test_page_with_invalid_parameters(
    sso: FakeZulip, path: str, query: dict[str, str], status: int
) -> None:
    async with httpx.AsyncClient(base_url=sso.site) as browser:
        response = await browser.get(f"/accounts/login/social/{path}", params=query)
        assert response.status_code == status
        if status == 400:
            body = {"result": "error", "msg": "Invalid OTP", "code": "BAD_REQUEST"}
            assert response.json() == body
        sso.realm.active = False
        assert (await browser.get(response.url)).status_code == 404
        elsewhere = {"Host": "elsewhere.example.com"}
        assert (await browser.get(response.url, headers=elsewhere)).status_code == 404
