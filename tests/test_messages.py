"""The messages for what is not Zulip's: gateways, proxies, TLS, and arguments that are mistakes.

Each is the message of a login over a real socket.
"""

from __future__ import annotations

import datetime as dt
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import certifi
import httpx
import pytest
import trustme
from httpx_aiohttp import AiohttpTransport

from helpers.constants import AUTH_FAILED, PASSWORD, USERNAME
from helpers.faults import (
    HTML,
    Target,
    TargetFactory,
    client_context,
    http_target,
    http_to_a_tls_port,
    https_target,
    proxied,
    shared_ca,
)
from helpers.messages import messages
from helpers.raw_server import (
    Connection,
    ScriptedServer,
    raw_response,
    respond,
    tunnel_to,
)
from helpers.secret_scanner import SecretScanner
from helpers.tls import lax_contexts, server_context
from zulip_auth import InvalidInputError, RetryPolicy, ZulipAuthError, login

HEADERS = {"CF-Access-Client-Secret": "s3cr3t-of-the-gateway"}
SCANNER = SecretScanner(PASSWORD, "hunter3", *HEADERS.values())
NOW = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)


def response(status: int, body: Any = HTML, options: Any = None, **headers: str) -> TargetFactory:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return http_target(respond(status, body, headers), **(options or {}))


def speaks(greeting: bytes, scheme: str = "https") -> TargetFactory:
    """Greet as a server of another protocol, and close the connection after a line."""

    async def greet(connection: Connection) -> None:
        await connection.write(greeting)
        if scheme == "http":
            await connection.read()

    return http_target(greet, scheme=scheme)


def through_proxy(*, proxy_tls: bool = False, of_transport: bool = False) -> TargetFactory:
    """Tunnel to a server with a certificate of another CA, through a proxy with one of the CA."""

    @asynccontextmanager
    async def target() -> AsyncIterator[Target]:
        async with (
            ScriptedServer(respond(200), tls=OTHER_CA) as server,
            ScriptedServer(
                tunnel_to(server.port), tls=server_context(shared_ca()) if proxy_tls else None
            ) as proxy,
        ):
            context = client_context()
            options: dict[str, Any] = {"ssl_context": context}
            if of_transport:
                options = {"transport": httpx.AsyncHTTPTransport(context, proxy=proxy.site)}
            yield Target(HTTPS, proxy, options, {} if of_transport else {"HTTPS_PROXY": proxy.site})

    return target


def lax(*, is_ca: bool) -> TargetFactory:
    @asynccontextmanager
    async def target() -> AsyncIterator[Target]:
        tls, context = lax_contexts(is_ca=is_ca)
        async with ScriptedServer(respond(200), tls=tls) as server:
            yield Target(server.site, server, {"ssl_context": context})

    return target


def self_signed() -> ssl.SSLContext:
    own, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with own.private_key_pem.tempfile() as key, own.cert_pem.tempfile() as cert:
        context.load_cert_chain(cert, key)
    return context


OTHER_CA = server_context(trustme.CA())
RATE_LIMITED = {
    "result": "error",
    "code": "RATE_LIMIT_HIT",
    "msg": "API usage exceeded rate limit; see "
    "https://zulip.com/api/http-headers#rate-limiting-response-headers",
}
NOT_AN_EMAIL = {"result": "error", "code": "BAD_REQUEST", "msg": "Enter a valid email address."}
HTTPS, HTTP = "https://chat.example.com", "http://chat.example.com"
CASES: dict[str, TargetFactory] = {
    # The sender of a response
    "429 of a gateway": response(429, server="cloudflare", cf_ray="1-LHR", retry_after="60"),
    "429 of an unknown sender": response(429),
    "429 of Zulip": response(429, RATE_LIMITED, retry_after="1799.8"),
    "401 of a gateway": response(401, server="nginx/1.24.0", www_authenticate='Basic realm="x"'),
    "401 in Zulip's form with another challenge": response(
        401, AUTH_FAILED, www_authenticate="Bearer"
    ),
    "403 in spite of headers": response(403, options={"headers": HEADERS}, server="cloudflare"),
    "404 of another server": response(404, via="1.1 Caddy"),
    "407 without a proxy": response(407),
    "500 of an unknown sender": response(500),
    "502 of a gateway": response(502, server="nginx"),
    "503 of a load balancer": response(503, server="awselb/2.0"),
    "redirect to a login page": response(
        302, location="https://x.cloudflareaccess.com/cdn-cgi/access/login/y", server="cloudflare"
    ),
    "redirect to a login page of the same host": response(302, location="/oauth2/start?rd=x"),
    "redirect to another host": response(
        301, location="https://zulip.example.org/api/v1/fetch_api_key"
    ),
    "400 for a username": response(400, NOT_AN_EMAIL),
    "proxy that requires credentials": proxied(407),
    "proxy that requires credentials, for all": proxied(407, HTTPS, "ALL_PROXY"),
    "proxy that rejects the credentials": proxied(407, url="http://user:hunter3@{}"),
    "proxy of the transport that requires credentials": proxied(407, HTTPS, ""),
    "http proxy of the transport that requires credentials": proxied(407, HTTP, ""),
    "proxy that rejects a tunnel": proxied(403),
    "proxy that fails": proxied(502),
    "http proxy that requires credentials": proxied(407, HTTP, "HTTP_PROXY"),
    "http proxy that fails": proxied(504, HTTP, "HTTP_PROXY"),
    "http proxy that rejects the request": proxied(404, HTTP, "HTTP_PROXY"),
    "plain http on the port of an https site": speaks(raw_response(400, HTML)),
    "SSH on the port of an https site": speaks(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "closed in the handshake": speaks(b""),
    "https on the port of an http site, nginx": response(
        400, "<h1>400</h1>The plain HTTP request was sent to HTTPS port"
    ),
    "https on the port of an http site, Go": response(
        400, "Client sent an HTTP request to an HTTPS server.\n"
    ),
    "https on the port of an http site, an alert": speaks(bytes.fromhex("15030100020246"), "http"),
    "https on the port of an http site, closed": http_to_a_tls_port,
    # TLS
    "not yet valid": https_target(not_before=NOW + HOUR, not_after=NOW + 9 * HOUR),
    "expired an hour ago": https_target(not_before=NOW - 9 * HOUR, not_after=NOW - HOUR),
    "another host": https_target(site="https://localhost:{}", name="chat.example.com"),
    "another host, by address": https_target(name="chat.example.com"),
    "unknown CA": https_target(trusted=False),
    "unknown CA, with SSL_CERT_FILE": https_target(
        trusted=False, environment={"SSL_CERT_FILE": certifi.where()}
    ),
    "unknown CA, with an empty SSL_CERT_FILE": https_target(
        trusted=False, environment={"SSL_CERT_FILE": ""}
    ),
    "unknown CA, with an ssl_context": https_target(context=OTHER_CA),
    "unknown CA, with a transport": https_target(context=OTHER_CA, over=httpx.AsyncHTTPTransport),
    "unknown CA, with aiohttp": https_target(context=OTHER_CA, over=AiohttpTransport),
    "self-signed": https_target(context=self_signed()),
    "lax CA": lax(is_ca=True),
    "certificate that is not one of a CA": lax(is_ca=False),
    "proxy without TLS": proxied(400, url="https://{}"),
    "proxy with an untrusted certificate": through_proxy(proxy_tls=True),
    "proxy that inspects TLS": through_proxy(),
    "proxy of the transport that inspects TLS": through_proxy(of_transport=True),
    "proxy of another kind": proxied(0, url="ftp://user:hunter3@{}"),
    "CA file that does not exist": https_target(
        trusted=False, environment={"SSL_CERT_FILE": "/nowhere.pem"}
    ),
}
# Arguments in place of valid ones.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "site with a zero-width space": {"site": "https://chat\u200b.example.com"},
    "site with a byte order mark": {"site": "\ufeffchat.example.com"},
    "site in quotes": {"site": "'https://chat.example.com'"},
    "site that is a variable": {"site": "${ZULIP_SITE}"},
    "site with a variable": {"site": "https://$ZULIP_HOST"},
    "site that is a template": {"site": "https://{{ zulip_host }}"},
    "site with a placeholder": {"site": "https://<your-org>.zulipchat.com"},
    "site that is an email address": {"site": USERNAME},
    "site with a username": {"site": "https://iago@chat.example.com"},
    "site of a variable that is not set": {"site": None},
    "username with a no-break space": {"username": "iago@zulip.com\u00a0"},
    "username with a mark of direction": {"username": "\u202aiago@zulip.com"},
    "username with a joiner": {"username": "ia\u200dgo@zulip.com"},
    "username in quotes": {"username": '"iago@zulip.com"'},
    "username in curly quotes": {"username": "\u201ciago@zulip.com\u201d"},
    "username that is a variable": {"username": "$ZULIP_EMAIL"},
    "username that is a variable of Windows": {"username": "%ZULIP_EMAIL%"},
    "username that is a template": {"username": "{{ email }}"},
    "username that is a placeholder": {"username": "<your-email>"},
    "username that is a placeholder in capitals": {"username": "YOUR_EMAIL"},
    "username that is a sample": {"username": "your-email@example.com"},
    "username that is a URL": {"username": "https://chat.example.com"},
    "username that is bytes": {"username": b"iago@zulip.com"},
    "password after a byte order mark": {"password": "\ufeffhunter3"},
    "headers that replace one of the protocol": {"headers": {"authorization": "hunter3"}},
    "headers with an invalid name": {"headers": {"hunter3\n": "x"}},
    "headers with an invalid value": {"headers": {"X-Token": "hunter3\n"}},
    "headers that are not a mapping": {"headers": ["hunter3"]},
    "site with plain http": {"site": "http://chat.example.com"},
    "username with a line break": {"username": "iago@zulip.com\n"},
    "password with a line break": {"password": "hunter3\n"},
    "timeout of zero": {"timeout": 0},
    "retry that is a number": {"retry": 3},
    "ssl_context that is false": {"ssl_context": False},
    "ssl_context for servers": {"ssl_context": OTHER_CA},
    "transport that is false": {"transport": False},
    "allow_http that is text": {"allow_http": "false"},
    "user_agent with a line break": {"user_agent": "a\r\nb: c"},
}
MESSAGES, ARGUMENT_MESSAGES = messages("Servers"), messages("Arguments")


@pytest.mark.usefixtures("fresh_certificates")
@pytest.mark.parametrize("name", CASES)
async def test_message(name: str, no_backoff: RetryPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    async with CASES[name]() as target:
        for variable, value in target.environment.items():
            monkeypatch.setenv(variable, value)
        options = {"retry": no_backoff, "timeout": 5, **target.options}
        with pytest.raises(ZulipAuthError) as caught:
            await login(target.site, USERNAME, PASSWORD, **options)
    SCANNER.check_error(caught.value)
    text = re.sub(rf"[a-z0-9.]+:{target.server.port}", "HOST", str(caught.value))
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "NOW", text.replace("127.0.0.1", "IP"))
    retried = "yes" if caught.value.transient else "no"
    assert [type(caught.value).__name__, retried, text] == MESSAGES[name]
    assert target.server.connections <= (5 if caught.value.transient else 1)


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_argument_message(name: str) -> None:
    """Nothing is sent, and the message repeats no secret."""
    arguments = {"username": USERNAME, "password": PASSWORD, **ARGUMENTS[name]}
    async with ScriptedServer(respond(200)) as server:
        with pytest.raises(InvalidInputError) as caught:
            await login(**{"site": server.site, **arguments})
        assert server.connections == 0
    SCANNER.check_error(caught.value)
    assert [type(caught.value).__name__, "no", str(caught.value)] == ARGUMENT_MESSAGES[name]


def test_tables() -> None:
    assert [*MESSAGES, *ARGUMENT_MESSAGES] == [*CASES, *ARGUMENTS]
