"""The login page for browsers: an identity provider for tests."""

from __future__ import annotations

import re
from html import escape
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from zulip_auth.testing.accounts import Account, Realm
from zulip_auth.testing.errors import bad_request
from zulip_auth.testing.http import ANONYMOUS, Call, endpoint

_PAD_RE = re.compile(r"[0-9A-Fa-f]{64}")
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Log in to {name}</title></head>
<body><h1>Log in to {name}</h1>
<ul>
{users}</ul></body></html>
"""


@endpoint("GET /accounts/login/social/{name:path}", ANONYMOUS)
def login_with_browser(call: Call, name: str) -> Response:
    """Return a page with the accounts, or redirect with the key of the one in `email`."""
    realm = _find_realm(call, name)
    pad = call.params.get("mobile_flow_otp", "")
    if not _PAD_RE.fullmatch(pad):
        raise bad_request("Invalid OTP")
    active = [account for account in realm.accounts if account.active and not account.is_bot]
    if "email" not in call.params:
        return HTMLResponse(_page(realm, active, pad))
    for account in active:
        if account.email == call.params["email"]:
            return _redirect(account, pad, call.url(realm.host))
    raise HTTPException(404)


def _find_realm(call: Call, name: str) -> Realm:
    # The real server returns various web pages for these errors.
    realm = call.state.find_realm(call.host)
    if realm and realm.active and any(name == method.name for method in realm.external_methods):
        return realm
    raise HTTPException(404)


def _page(realm: Realm, accounts: list[Account], pad: str) -> str:
    users = ""
    for account in accounts:
        query = urlencode({"mobile_flow_otp": pad, "email": account.email})
        users += f'<li><a href="?{escape(query)}">{escape(account.email)}</a></li>\n'
    return _PAGE.format(name=escape(realm.name), users=users)


def _redirect(account: Account, pad: str, site: str) -> Response:
    pairs = zip(account.api_key.encode(), bytes.fromhex(pad), strict=True)
    query = urlencode(
        {
            "otp_encrypted_api_key": bytes(a ^ b for a, b in pairs).hex(),
            "email": account.email,
            "user_id": account.user_id,
            "realm": site,
        }
    )
    return HTMLResponse(status_code=302, headers={"Location": f"zulip://login?{query}"})
