"""The login page for browsers: an identity provider for tests."""

from __future__ import annotations

import re
from html import escape
from urllib.parse import urlencode

from attrs import frozen
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from .http import ErrorResponse, read_request, realm_url
from .state import Account, Realm, State

_PAD_RE = re.compile(r"[0-9A-Fa-f]{64}")
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Log in to {name}</title></head>
<body><h1>Log in to {name}</h1>
<ul>
{users}</ul></body></html>
"""


@frozen
class SingleSignOn:
    """The page behind the `login_path` of each external method."""

    state: State

    async def login(self, request: Request) -> Response:
        """Return a page with the accounts, or redirect with the key of the one in `email`."""
        parameters = await read_request(request, self.state)
        realm = self._realm(request)
        pad = parameters.get("mobile_flow_otp", "")
        if not _PAD_RE.fullmatch(pad):
            raise ErrorResponse(400, "BAD_REQUEST", "Invalid OTP")
        active = [account for account in realm.accounts if account.active]
        if "email" not in parameters:
            return HTMLResponse(_page(realm, active, pad))
        for account in active:
            if account.email == parameters["email"]:
                return _redirect(account, pad, realm_url(realm, request))
        raise HTTPException(404)

    def _realm(self, request: Request) -> Realm:
        # The real server returns various web pages for these errors.
        realm = self.state.find_realm(request.headers.get("host", ""))
        name = request.path_params["name"]
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
