"""Run the examples as their readers do, errors included."""

from __future__ import annotations

import asyncio
import json
import os
import re
import runpy
import signal
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from io import StringIO
from pathlib import Path
from subprocess import PIPE
from typing import Any

import accounts_in_sqlite
import fastapi_login
import httpx
import httpx_bot
import pytest
import small_bot
import test_my_bot
from cryptography.fernet import Fernet
from test_my_bot import running_bot

import zulip_auth
from helpers import raw_server
from helpers.constants import API_KEY, PASSWORD, USERNAME
from helpers.secret_scanner import SecretScanner
from zulip_auth import ApiKeySource, AuthClient, Credentials, NotLoggedInError, ZulipAuthError
from zulip_auth.testing import Account, FakeZulip

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_example_has_tests_and_readme_row(name: str) -> None:
    stem = name.removesuffix(".py").removeprefix("test_")
    assert [test for test in globals() if test.startswith(f"test_{stem}_")]
    [row] = re.findall(
        rf"^\| \[{re.escape(name)}\]\({re.escape(name)}\) \|.*\|$", README, re.MULTILINE
    )
    assert name.removesuffix(".py") in row.rpartition("` | `")[2]


def test_readme_lists_only_existing_examples() -> None:
    assert sorted(re.findall(r"^\| \[(\S+)\]", README, re.MULTILINE)) == NAMES


# ---- Helpers


class Finished:
    """The exit code and the output of an example, after a scan for secrets."""

    def __init__(self, code: object, out: str, err: str, scanner: SecretScanner) -> None:
        self.code, self.out, self.err = code, out, err
        scanner.check(out, "standard output")
        scanner.check(err, "standard error")

    def failed_with(self, message: str) -> bool:
        """Return whether the only output is one line on standard error with *message*."""
        assert (self.code, self.out, self.err.count("\n")) == (1, "", 1), self.err
        return message in self.err


Run = Callable[..., Finished]


@pytest.fixture
def scanner(fake_zulip: FakeZulip) -> SecretScanner:
    account = fake_zulip.add_user(USERNAME, PASSWORD, full_name="Iago")
    return SecretScanner(PASSWORD, account.api_key, API_KEY)


@pytest.fixture
def run(
    tmp_path: Path,
    scanner: SecretScanner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run an example as a program in this process, in a home directory of its own."""
    for name in [name for name in os.environ if name.startswith("ZULIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: object, password: str = PASSWORD) -> Finished:
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", StringIO(f"{password}\n"))
        code: object = 0
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        except SystemExit as exit_:
            code = exit_.code or 0
            if isinstance(code, str):
                print(code, file=sys.stderr)
                code = 1
        output = capsys.readouterr()
        return Finished(code, output.out, output.err, scanner)

    return run


async def start(home: Path, *command: object, **env: str) -> asyncio.subprocess.Process:
    """Start Python in *home*, without the ZULIP_ variables of the developer."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ZULIP_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", *map(str, command)),
        env={**inherited, "HOME": str(home), **env},
        cwd=home,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )


# ---- asyncio_script.py


@pytest.mark.slow
async def test_asyncio_script_as_a_process(
    fake_zulip: FakeZulip, tmp_path: Path, scanner: SecretScanner
) -> None:
    script = EXAMPLES / "asyncio_script.py"
    process = await start(tmp_path, script, fake_zulip.site, USERNAME)
    out, err = await process.communicate(PASSWORD.encode() + b"\n")
    result = Finished(process.returncode, out.decode(), err.decode(), scanner)
    assert (result.code, result.out, result.err) == (0, "Logged in as Iago.\n", "")
    file = tmp_path / ".zuliprc"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Credentials.load(file).api_key == fake_zulip.account(USERNAME).api_key


def test_asyncio_script_errors(fake_zulip: FakeZulip, tmp_path: Path, run: Run) -> None:
    script = partial(run, "asyncio_script.py", fake_zulip.site, USERNAME)
    assert script(password="a guess").failed_with("4 attempts remaining.")
    insecure = run("asyncio_script.py", "http://chat.example.com", USERNAME)
    assert insecure.failed_with("chat.example.com")
    assert not (tmp_path / ".zuliprc").exists()
    fake_zulip.fail_next("/api/v1/users/me", status=500)
    assert script().failed_with("Logged in, but the request failed: HTTPStatusError")
    # The login succeeded and need not be repeated.
    assert Credentials.load(tmp_path / ".zuliprc").email == USERNAME
    other = fake_zulip.add_user("hamlet@zulip.com", PASSWORD)
    result = run("asyncio_script.py", fake_zulip.site, other.email)
    assert result.failed_with("a different account")


# ---- aiohttp_client.py and official_client.py


@pytest.fixture
def zuliprc(fake_zulip: FakeZulip, tmp_path: Path, run: Run) -> Path:
    path = tmp_path / ".zuliprc"
    key = fake_zulip.account(USERNAME).api_key
    Credentials(fake_zulip.site, USERNAME, key).save(path)
    return path


@pytest.mark.parametrize("name", ["aiohttp_client.py", "official_client.py"])
def test_aiohttp_client_and_official_client(
    name: str, zuliprc: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = zuliprc.parent / "other"
    for home, arguments in ((zuliprc.parent, ()), (other, (zuliprc,))):
        monkeypatch.setenv("HOME", str(home))
        result = run(name, *arguments)
        assert (result.code, result.err) == (0, "")
        assert result.out.endswith(" Iago.\n")
    assert run(name).failed_with(f"{other}/.zuliprc does not exist")


def test_aiohttp_client_errors(fake_zulip: FakeZulip, zuliprc: Path, run: Run) -> None:
    other = fake_zulip.add_realm("localhost").site
    fake_zulip.fail_next("/api/v1/users/me", status=302, headers={"location": f"{other}/x"})
    assert run("aiohttp_client.py").failed_with("The request failed: HTTP 302.")
    assert fake_zulip.count("GET", "/x") == 0  # the key is not redirected
    fake_zulip.account(USERNAME).regenerate_api_key()
    error = "The request failed: HTTP 401. The API key is invalid or revoked"
    assert run("aiohttp_client.py").failed_with(error)


def test_official_client_renews_revoked_key(fake_zulip: FakeZulip, zuliprc: Path, run: Run) -> None:
    account = fake_zulip.account(USERNAME)
    account.regenerate_api_key()
    result = run("official_client.py", password="a guess")
    assert (result.code, "4 attempts remaining." in result.err) == (1, True)
    result = run("official_client.py")
    assert (result.code, result.err) == (0, f"The key of {USERNAME} was revoked.\n")
    SecretScanner(account.api_key).check(result.out, "standard output")
    assert Credentials.load(zuliprc).api_key == account.api_key
    mark = fake_zulip.mark()
    assert run("official_client.py").code == 0
    assert fake_zulip.count("POST", "/api/v1/fetch_api_key", since=mark) == 0


# ---- httpx_bot.py


bot = test_my_bot.bot
bot_zuliprc = test_my_bot.zuliprc


@asynccontextmanager
async def bot_process(
    server: FakeZulip, zuliprc: Path, scanner: SecretScanner, stop_signal: signal.Signals
) -> AsyncIterator[None]:
    """Run the bot as a process; enter the block when it polls, and check its exit."""
    mark = server.mark()
    process = await start(zuliprc.parent, EXAMPLES / "httpx_bot.py", zuliprc)
    try:
        async with asyncio.timeout(30):
            await server.wait_for("GET", "/api/v1/events", since=mark, timeout=30)
            scanner.check(Path(f"/proc/{process.pid}/cmdline").read_text(), "the arguments")
            yield
    finally:
        if process.returncode is None:
            process.send_signal(stop_signal)
        out, err = await process.communicate()
        print(err.decode())  # if the block has failed
    result = Finished(process.returncode, out.decode(), err.decode(), scanner)
    first, *renewals = result.err.splitlines()
    assert (result.code, result.out, first) == (0, "", "INFO:httpx_bot:Listening.")
    assert all(line.startswith("INFO:zulip_auth:Renewed the API key of ") for line in renewals)
    assert (server.requests[-1].method, server.requests[-1].path) == ("DELETE", "/api/v1/events")


@pytest.mark.slow
async def test_httpx_bot_survives_replaced_key(
    fake_zulip: FakeZulip, bot: Account, bot_zuliprc: Path
) -> None:
    old_key = bot.api_key
    async with bot_process(fake_zulip, bot_zuliprc, SecretScanner(old_key), signal.SIGTERM):
        assert await test_my_bot.ask(fake_zulip, bot, "ping") == "pong"
        # The bot polls at any time, and stops if the old key is rejected before.
        Credentials(fake_zulip.site, bot.email, API_KEY).save(bot_zuliprc)
        bot.api_key = API_KEY
        assert await test_my_bot.ask(fake_zulip, bot, "ping") == "pong"
        assert await test_my_bot.ask(fake_zulip, bot, "ping") == "pong"
    scanner = SecretScanner(old_key, bot.api_key)
    async with bot_process(fake_zulip, bot_zuliprc, scanner, signal.SIGINT):
        assert await test_my_bot.ask(fake_zulip, bot, "ping") == "pong"
    assert fake_zulip.count("POST", "/api/v1/fetch_api_key") == 0


def test_httpx_bot_key_errors(
    fake_zulip: FakeZulip, bot: Account, bot_zuliprc: Path, run: Run, caplog: Any
) -> None:
    assert run("httpx_bot.py").failed_with("NotLoggedInError")
    bot.regenerate_api_key()
    assert run("httpx_bot.py", bot_zuliprc).failed_with("APIError: HTTP 401")
    assert fake_zulip.count("GET", "/api/v1/users/me") == 1


async def test_httpx_bot_replaces_expired_queue(
    fake_zulip: FakeZulip, bot: Account, bot_zuliprc: Path
) -> None:
    async with running_bot(fake_zulip, bot_zuliprc):
        fake_zulip.expire_queues()
        await fake_zulip.wait_for("POST", "/api/v1/register", count=2)
        assert await test_my_bot.ask(fake_zulip, bot, "ping") == "pong"
        assert fake_zulip.count("POST", "/api/v1/register") == 2


def ping_events(number: int) -> dict[str, Any]:
    message = {"id": number, "type": "private", "sender_id": 7, "content": "ping"}
    message["display_recipient"] = [{"id": 7}, {"id": 16}]
    events = [{"id": 2 * number, "type": "message", "message": message}]
    return {"result": "success", "events": [*events, {"id": 2 * number + 1, "type": "heartbeat"}]}


RATE_LIMITED = {"result": "error", "msg": "Later.", "code": "RATE_LIMIT_HIT", "retry-after": 0.01}
BAD_REQUEST = {"result": "error", "msg": "What", "code": "BAD_REQUEST"}
# The bot adds 10 s: it waits 0.1 s for a heartbeat.
QUEUE = {"queue_id": "q", "last_event_id": -1, "event_queue_longpoll_timeout_seconds": -9.9}
# The response, the request that it is for, and the last event ID in that request.
OUTAGE: list[tuple[raw_server.Scenario, str, str]] = [
    (raw_server.succeed, "POST /api/v1/fetch_api_key", ""),
    (raw_server.respond(503, "<p>Not now.</p>"), "GET /api/v1/users/me", ""),
    (raw_server.close_without_response, "GET /api/v1/users/me", ""),
    (raw_server.respond(429, RATE_LIMITED), "GET /api/v1/users/me", ""),
    (raw_server.respond(200, {"result": "success", "user_id": 16}), "GET /api/v1/users/me", ""),
    (raw_server.respond(200, {"result": "success", **QUEUE}), "POST /api/v1/register", ""),
    (raw_server.never_respond, "GET /api/v1/events", "-1"),
    (raw_server.respond(200, ping_events(0)), "GET /api/v1/events", "-1"),
    # The reply was rejected, so the server sends the event again.
    (raw_server.respond(429, RATE_LIMITED), "POST /api/v1/messages", ""),
    (raw_server.respond(200, ping_events(0)), "GET /api/v1/events", "-1"),
    (raw_server.respond(200, {"result": "success"}), "POST /api/v1/messages", ""),
    (raw_server.close_without_response, "GET /api/v1/events", "1"),
    (raw_server.respond(200, ping_events(1)), "GET /api/v1/events", "1"),
    # The reply may have arrived, so it is not repeated.
    (raw_server.close_without_response, "POST /api/v1/messages", ""),
    (raw_server.respond(200, ping_events(2)), "GET /api/v1/events", "3"),
    (raw_server.respond(502), "POST /api/v1/messages", ""),
    (raw_server.respond(200, ping_events(3)), "GET /api/v1/events", "5"),
    (raw_server.respond(400, BAD_REQUEST), "POST /api/v1/messages", ""),
    (raw_server.respond(400, BAD_REQUEST), "GET /api/v1/events", "7"),
    (raw_server.respond(200, {"result": "success"}), "DELETE /api/v1/events", ""),
]


async def test_httpx_bot_survives_outage(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(httpx_bot, "INITIAL_BACKOFF", 0.001)
    async with raw_server.ScriptedServer(*(scenario for scenario, _, _ in OUTAGE)) as server:
        source = ApiKeySource(AuthClient(server.site), USERNAME, PASSWORD)
        with pytest.raises(httpx_bot.APIError, match="HTTP 400, BAD_REQUEST: What"):
            await asyncio.wait_for(httpx_bot.run(source), 30)
        urls = [httpx.URL(request.line.split()[1]) for request in server.requests]
        methods = [request.line.split()[0] for request in server.requests]
    actual = [
        (f"{method} {url.path}", url.params.get("last_event_id", ""))
        for method, url in zip(methods, urls, strict=True)
    ]
    assert actual == [(request, event_id) for _, request, event_id in OUTAGE]
    retries = [message for message in caplog.messages if "Retrying in" in message]
    assert len(retries) == 6
    assert all(message.endswith("in 0.0 s.") for message in retries)
    SecretScanner(PASSWORD, API_KEY).check(caplog.text, "the log")


# ---- small_bot.py


def test_small_bot_is_small() -> None:
    assert len((EXAMPLES / "small_bot.py").read_text(encoding="utf-8").splitlines()) <= 60


async def test_small_bot_survives_everything(
    fake_zulip: FakeZulip, bot: Account, bot_zuliprc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        """Advance a clock; the server is away until a minute has passed."""
        slept.append(seconds)
        if repr(fake_zulip).endswith(" stopped>") and sum(slept) >= 60:
            fake_zulip.start()
        await asyncio.sleep(0)

    async def is_alive() -> bool:
        return await test_my_bot.ask(fake_zulip, bot, "ping") == "pong"

    monkeypatch.setattr(small_bot, "sleep", sleep)
    source = ApiKeySource.from_zuliprc(bot_zuliprc, wait=5)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(small_bot.serve(source))
        await fake_zulip.wait_for("GET", "/api/v1/events")
        assert await is_alive()
        # A minute without a network, and a server that has forgotten the queues.
        fake_zulip.stop()
        fake_zulip.expire_queues()
        await raw_server.wait_until(lambda: sum(slept) >= 60)
        await fake_zulip.wait_for("POST", "/api/v1/register", count=2)
        assert await is_alive()
        # An expired queue only.
        fake_zulip.expire_queues()
        await fake_zulip.wait_for("POST", "/api/v1/register", count=3)
        assert await is_alive()
        # A rate limit.
        del slept[:]
        fake_zulip.fail_next("/api/v1/messages", status=429, headers={"retry-after": "7"}, json={})
        assert await is_alive()
        assert slept == [7]
        # A rotation by another program, and one by a person.
        await ApiKeySource.from_zuliprc(bot_zuliprc).rotate()
        assert await is_alive()
        mark = fake_zulip.mark()
        bot.regenerate_api_key()
        asking = group.create_task(is_alive())
        await raw_server.wait_until(lambda: 401 in {r.status for r in fake_zulip.requests[mark:]})
        Credentials(fake_zulip.site, bot.email, bot.api_key).save(bot_zuliprc)
        assert await asking
        task.cancel()


def test_small_bot_stops(bot: Account, bot_zuliprc: Path, run: Run) -> None:
    with pytest.raises(NotLoggedInError):
        run("small_bot.py")
    bot.regenerate_api_key()
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        asyncio.run(small_bot.serve(ApiKeySource.from_zuliprc(bot_zuliprc)))


# ---- accounts_in_sqlite.py


def test_accounts_in_sqlite_of_organizations(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys of 30 accounts of 3 organizations are rotated, and one is revoked afterwards."""
    fernet_key, file = Fernet.generate_key(), tmp_path / "accounts.db"
    fernet = Fernet(fernet_key)
    monkeypatch.setenv("FERNET_KEY", fernet_key.decode())
    with ExitStack() as stack, closing(sqlite3.connect(file)) as db:
        accounts = [
            (server.site, server.add_user(f"user{number}@example.com", PASSWORD))
            for server in [stack.enter_context(FakeZulip()) for _ in range(3)]
            for number in range(10)
        ]
        db.execute(accounts_in_sqlite.SCHEMA)
        rows = [(s, a.email, fernet.encrypt(a.api_key.encode())) for s, a in accounts]
        db.executemany("INSERT INTO accounts VALUES (?, ?, ?)", rows)
        db.commit()
        old = {account.api_key for _, account in accounts}
        result = run("accounts_in_sqlite.py", file, "--rotate")
        assert (result.code, result.out, result.err) == (0, "", "")
        new = {account.api_key for _, account in accounts}
        assert (len(new), old & new) == (30, set())
        content = file.read_bytes()
        assert not any(key.encode() in content for key in old | new)
        site, account = accounts[-1]
        account.regenerate_api_key()
        result = run("accounts_in_sqlite.py", file)
    assert result.failed_with(f"user9@example.com at {site}: HTTPStatusError(")
    SecretScanner(*new).check(result.err, "standard error")


# ---- test_my_bot.py, which pytest collects as well


async def test_my_bot_fails_with_a_broken_bot(
    fake_zulip: FakeZulip, bot: Account, bot_zuliprc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpx_bot, "compose_reply", lambda _: "what?")
    with pytest.raises(ExceptionGroup) as caught:
        await test_my_bot.test_bot_replies(fake_zulip, bot, bot_zuliprc)
    assert caught.group_contains(AssertionError)


# ---- fastapi_login.py


@asynccontextmanager
async def web_client(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client for the application, which runs in this process."""
    monkeypatch.setenv("ZULIP_SITE", site)
    app = fastapi_login.app
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="https://app.example.com") as http,
    ):
        yield http


async def log_in(http: httpx.AsyncClient, username: str, password: str) -> httpx.Response:
    response = await http.post("/login", json={"username": username, "password": password})
    if password == PASSWORD:
        SecretScanner(password).check(f"{response.headers} {response.text}", "the response")
    return response


async def test_fastapi_login_starts_session(
    fake_zulip: FakeZulip, scanner: SecretScanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with web_client(fake_zulip.site, monkeypatch) as http:
        response = await log_in(http, "IAGO@zulip.com", PASSWORD)
        assert (response.status_code, response.json()) == (200, {"email": USERNAME, "user_id": 10})
        scanner.check(f"{response.headers} {response.text}", "the response")
        for flag in ("HttpOnly", "Secure", "SameSite=strict"):
            assert flag in response.headers["set-cookie"]
        stored = fastapi_login.app.state.sessions[response.cookies["session"]]
    assert stored.api_key == fake_zulip.account(USERNAME).api_key


async def test_fastapi_login_maps_server_errors(
    fake_zulip: FakeZulip, scanner: SecretScanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, realm = fake_zulip.account(USERNAME), fake_zulip.realm
    fake_zulip.add_realm("localhost").add_user("hamlet@zulip.com", PASSWORD)
    async with web_client(fake_zulip.site, monkeypatch) as http:
        rejected = await log_in(http, USERNAME, "a guess")
        assert (rejected.status_code, rejected.json()["attempts_remaining"]) == (401, 4)
        assert "incorrect username or password" in rejected.json()["error"]
        assert rejected.headers["www-authenticate"]
        for username, password in (("no address", PASSWORD), (USERNAME, ""), (USERNAME, "a\nb")):
            assert (await log_in(http, username, password)).status_code == 422
        assert (await log_in(http, "hamlet@zulip.com", PASSWORD)).status_code == 403
        for target, attribute, value in (
            (account, "active", False),
            (account, "password_reset_required", True),
            (realm, "active", False),
            (realm, "password_login", False),
        ):
            previous = getattr(target, attribute)
            setattr(target, attribute, value)
            assert (await log_in(http, USERNAME, PASSWORD)).status_code == 403
            setattr(target, attribute, previous)
            fake_zulip.advance(1800)
        for _ in range(5):
            assert (await log_in(http, USERNAME, "a guess")).status_code == 401
        blocked = await log_in(http, USERNAME, PASSWORD)
        assert (blocked.status_code, blocked.json().keys()) == (429, {"error"})
        assert 1790 < int(blocked.headers["retry-after"]) <= 1800


@pytest.mark.parametrize(
    ("cls", "status"),
    [
        (zulip_auth.NotLoggedInError, 500),
        (zulip_auth.TLSError, 502),
        (zulip_auth.InvalidApiKeyError, 401),
        (zulip_auth.RateLimitedError, 429),
    ],
)
async def test_fastapi_login_maps_error(
    cls: type[ZulipAuthError],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = cls.__new__(cls, "Reason. Hint.")
    error.__dict__.update(status_code=418, attempts_remaining=None, retry_after=None)

    class FailingClient:
        async def login(self, username: str, password: str) -> None:
            raise error

    async with web_client("localhost", monkeypatch) as http:
        fastapi_login.app.state.zulip = FailingClient()
        response = await log_in(http, USERNAME, PASSWORD)
    assert response.status_code == status
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert "retry-after" not in response.headers
    # Only the operator can fix these.
    hidden = status >= 500
    body = {"error": fastapi_login.UNAVAILABLE if hidden else "Reason. Hint."}
    assert body.items() <= response.json().items()
    assert caplog.messages == ([f"{cls.__name__}: Reason. Hint."] if hidden else [])


async def test_fastapi_login_invalid_body(monkeypatch: pytest.MonkeyPatch) -> None:
    surrogate = json.dumps({"username": "\ud800", "password": PASSWORD})
    bodies: list[dict[str, Any]] = [
        {"json": {"password": PASSWORD}},
        {"data": {"username": USERNAME, "password": PASSWORD}},
        {"content": surrogate, "headers": {"content-type": "application/json"}},
    ]
    async with web_client("localhost", monkeypatch) as http:
        for body in bodies:
            response = await http.post("/login", **body)
            assert (response.status_code, response.json().keys()) == (422, {"error"})
            assert "horse" not in response.text
