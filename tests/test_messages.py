"""The messages for what is not Zulip's: gateways, proxies, TLS, and arguments that are mistakes.

Each is the message of a login over a real socket.
"""

from __future__ import annotations

import datetime as dt
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest
import trustme
from httpx_aiohttp import AiohttpTransport

from helpers.constants import AUTH_FAILED, PASSWORD, USERNAME
from helpers.faults import HTML
from helpers.raw_server import Connection, Scenario, ScriptedServer, raw_response, respond
from helpers.secret_scanner import SecretScanner
from helpers.tls import client_context, lax_contexts, server_context
from zulip_auth import InvalidInputError, RetryPolicy, ZulipAuthError, _http, login
from zulip_auth._validation import validate_text

NO_BACKOFF = RetryPolicy(wait_max=0)
HEADERS = {"CF-Access-Client-Secret": "s3cr3t-of-the-gateway"}
SCANNER = SecretScanner(PASSWORD, "hunter3", *HEADERS.values())
Target = AbstractAsyncContextManager[tuple[ScriptedServer, str, dict[str, Any]]]
Factory = Callable[[trustme.CA, Path], Target]


def plain(scenario: Scenario, **options: Any) -> Factory:
    @asynccontextmanager
    async def target(ca: trustme.CA, directory: Path) -> AsyncIterator[Any]:
        async with ScriptedServer(scenario) as server:
            yield server, server.site, options

    return target


def response(status: int, body: Any = HTML, options: Any = None, **headers: str) -> Factory:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return plain(respond(status, body, headers), **(options or {}))


def proxied(
    status: int, site: str, variable: str, userinfo: str = "", transport: bool = False
) -> Factory:
    @asynccontextmanager
    async def target(ca: trustme.CA, directory: Path) -> AsyncIterator[Any]:
        async def reject(connection: Connection) -> None:
            await connection.read_raw_request()
            await connection.write(raw_response(status, HTML))

        async with ScriptedServer(reject) as proxy:
            url = f"http://{userinfo}127.0.0.1:{proxy.port}"
            if transport:
                async with AiohttpTransport(proxy=httpx.Proxy(url)) as own:
                    yield proxy, site, {"transport": own, "allow_http": True}
                return
            with pytest.MonkeyPatch.context() as monkeypatch:
                monkeypatch.setenv(variable, url)
                yield proxy, site, {"allow_http": True}

    return target


def tls(
    make_server: Callable[[trustme.CA], ssl.SSLContext],
    *,
    host: str = "127.0.0.1",
    trusting: bool = True,
    environment: Mapping[str, str] | None = None,
    over: Any = None,
) -> Factory:
    @asynccontextmanager
    async def target(ca: trustme.CA, directory: Path) -> AsyncIterator[Any]:
        context = client_context(ca) if trusting else ssl.create_default_context()
        options: dict[str, Any] = {"ssl_context": context}
        if environment is not None:
            options = {}
        transport = over(verify=context) if over else None
        async with ScriptedServer(respond(200), tls=make_server(ca)) as server:
            with pytest.MonkeyPatch.context() as monkeypatch:
                for name, value in (environment or {}).items():
                    monkeypatch.setenv(name, value)
                if transport:
                    options = {"transport": transport}
                yield server, f"https://{host}:{server.port}", options
        if transport:
            await transport.aclose()

    return target


def lax(*, is_ca: bool) -> Factory:
    @asynccontextmanager
    async def target(ca: trustme.CA, directory: Path) -> AsyncIterator[Any]:
        tls_server, context = lax_contexts(directory, is_ca=is_ca)
        async with ScriptedServer(respond(200), tls=tls_server) as server:
            yield server, server.site, {"ssl_context": context}

    return target


def speaks(greeting: bytes, scheme: str = "https") -> Factory:
    """Greet as a server of another protocol, and close the connection after a line."""

    async def greet(connection: Connection) -> None:
        await connection.write(greeting)
        if scheme == "http":
            await connection.read()

    @asynccontextmanager
    async def target(ca: trustme.CA, directory: Path) -> AsyncIterator[Any]:
        async with ScriptedServer(greet) as server:
            yield server, f"{scheme}://127.0.0.1:{server.port}", {}

    return target


def http_to_https_port(ca: trustme.CA, directory: Path) -> Target:
    @asynccontextmanager
    async def target() -> AsyncIterator[Any]:
        async with ScriptedServer(respond(200), tls=server_context(ca)) as server:
            yield server, f"http://127.0.0.1:{server.port}", {}

    return target()


def https_proxy_without_tls(ca: trustme.CA, directory: Path) -> Target:
    @asynccontextmanager
    async def target() -> AsyncIterator[Any]:
        async def greet(connection: Connection) -> None:
            await connection.write(raw_response(400, HTML))

        async with ScriptedServer(greet) as proxy:
            with pytest.MonkeyPatch.context() as monkeypatch:
                monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{proxy.port}")
                yield proxy, "https://chat.example.com", {}

    return target()


def other_ca(ca: trustme.CA) -> ssl.SSLContext:
    return server_context(trustme.CA())


def self_signed(ca: trustme.CA) -> ssl.SSLContext:
    own, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with own.private_key_pem.tempfile() as key, own.cert_pem.tempfile() as cert:
        context.load_cert_chain(cert, key)
    return context


def validity(start: float, end: float) -> Callable[[trustme.CA], ssl.SSLContext]:
    """Return a server's context; the certificate is valid between these hours from now."""
    now = dt.datetime.now(dt.UTC)
    not_before, not_after = now + dt.timedelta(hours=start), now + dt.timedelta(hours=end)
    return lambda ca: server_context(ca, not_before=not_before, not_after=not_after)


def wrong_name(ca: trustme.CA) -> ssl.SSLContext:
    return server_context(ca, "chat.example.com")


RATE_LIMITED = {
    "result": "error",
    "code": "RATE_LIMIT_HIT",
    "msg": "API usage exceeded rate limit; see "
    "https://zulip.com/api/http-headers#rate-limiting-response-headers",
}
NOT_AN_EMAIL = {"result": "error", "code": "BAD_REQUEST", "msg": "Enter a valid email address."}
HTTPS, HTTP = "https://chat.example.com", "http://chat.example.com"
SSH = b"SSH-2.0-OpenSSH_9.2\r\n"
CASES: dict[str, Factory] = {
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
    "proxy that requires credentials": proxied(407, HTTPS, "HTTPS_PROXY"),
    "proxy that requires credentials, for all": proxied(407, HTTPS, "ALL_PROXY"),
    "proxy that rejects the credentials": proxied(407, HTTPS, "HTTPS_PROXY", "user:hunter3@"),
    "proxy of the transport that requires credentials": proxied(407, HTTPS, "", transport=True),
    "http proxy of the transport that requires credentials": proxied(407, HTTP, "", transport=True),
    "proxy that rejects a tunnel": proxied(403, HTTPS, "HTTPS_PROXY"),
    "proxy that fails": proxied(502, HTTPS, "HTTPS_PROXY"),
    "http proxy that requires credentials": proxied(407, HTTP, "HTTP_PROXY"),
    "http proxy that fails": proxied(504, HTTP, "HTTP_PROXY"),
    "http proxy that rejects the request": proxied(404, HTTP, "HTTP_PROXY"),
    "plain http on the port of an https site": speaks(raw_response(400, HTML)),
    "SSH on the port of an https site": speaks(SSH),
    "SMTP on the port of an https site": speaks(b"220 mail.example.com ESMTP\r\n"),
    "closed in the handshake": speaks(b""),
    "https on the port of an http site, nginx": response(
        400, "<h1>400</h1>The plain HTTP request was sent to HTTPS port"
    ),
    "https on the port of an http site, Go": response(
        400, "Client sent an HTTP request to an HTTPS server.\n"
    ),
    "https on the port of an http site, an alert": speaks(bytes.fromhex("15030100020246"), "http"),
    "https on the port of an http site, closed": http_to_https_port,
    "SSH on the port of an http site": speaks(SSH, "http"),
    # TLS
    "not yet valid": tls(validity(1, 9)),
    "expired an hour ago": tls(validity(-9, -1)),
    "expired years ago": tls(validity(-90_000, -50_000)),
    "another host": tls(wrong_name, host="localhost"),
    "another host, by address": tls(wrong_name),
    "unknown CA": tls(server_context, environment={}),
    "unknown CA, with SSL_CERT_FILE": tls(
        server_context, environment={"SSL_CERT_FILE": certifi.where()}
    ),
    "unknown CA, with an empty SSL_CERT_FILE": tls(
        server_context, environment={"SSL_CERT_FILE": ""}
    ),
    "unknown CA, with an ssl_context": tls(other_ca),
    "unknown CA, with a transport": tls(other_ca, over=httpx.AsyncHTTPTransport),
    "unknown CA, with aiohttp": tls(other_ca, over=AiohttpTransport),
    "self-signed": tls(self_signed),
    "lax CA": lax(is_ca=True),
    "certificate that is not one of a CA": lax(is_ca=False),
    "proxy without TLS": https_proxy_without_tls,
}
# The arguments site, username and password in place of valid ones.
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
}
MESSAGES_PATH = Path(__file__).parent / "data" / "messages.md"
MESSAGES = {
    cells[0]: cells[1:]
    for line in MESSAGES_PATH.read_text(encoding="utf-8").splitlines()
    if len(cells := line.strip("| ").split(" | ")) == 4
}


@pytest.fixture(autouse=True)
def fresh_certificates() -> Iterator[None]:
    _http._default_ssl_context.cache_clear()
    yield
    _http._default_ssl_context.cache_clear()


@pytest.mark.parametrize("name", CASES)
async def test_message(name: str, test_ca: trustme.CA, tmp_path: Path) -> None:
    async with CASES[name](test_ca, tmp_path) as (server, site, options):
        with pytest.raises(ZulipAuthError) as caught:
            await login(site, USERNAME, PASSWORD, **{"retry": NO_BACKOFF, "timeout": 5, **options})
    SCANNER.check_error(caught.value)
    text = str(caught.value).replace(f"127.0.0.1:{server.port}", "HOST").replace("127.0.0.1", "IP")
    text = text.replace(f"localhost:{server.port}", "HOST")
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "NOW", text)
    retried = "yes" if caught.value.transient else "no"
    assert [type(caught.value).__name__, retried, text] == MESSAGES[name]
    assert server.connections <= (5 if caught.value.transient else 1)


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_argument_message(name: str) -> None:
    """Nothing is sent, and the message repeats no secret."""
    arguments = {"username": USERNAME, "password": PASSWORD, **ARGUMENTS[name]}
    async with ScriptedServer(respond(200)) as server:
        with pytest.raises(InvalidInputError) as caught:
            await login(**{"site": server.site, **arguments})
        assert server.connections == 0
    SCANNER.check_error(caught.value)
    assert [type(caught.value).__name__, "no", str(caught.value)] == MESSAGES[name]


def test_message_table() -> None:
    assert [*MESSAGES][1:] == ["---", *CASES, *ARGUMENTS]


VALID = {
    "password": ["${x}", "'x'", "<x>", "a\u200bb", "x\ufeff", "\u00a0x", "https://x"],
    "username": [
        "o'brien@x.org",
        "$x@x.org",
        "50%@x.org",
        "iago",
        "\u0645\u06cc\u200c\u062e",
        "YOURS",
    ],
}


@pytest.mark.parametrize(("name", "text"), [(k, text) for k, v in VALID.items() for text in v])
def test_unusual_text_is_valid(name: str, text: str) -> None:
    assert validate_text(name, text) == text
