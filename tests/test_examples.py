"""The examples do what they say, each run as its reader would run it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import Any

import fastapi_login
import httpx
import httpx_bot
import pytest
from test_my_bot import BOT, count, person, running_bot, say

import zulip_auth
from helpers import raw_server
from helpers.constants import API_KEY, PASSWORD, USERNAME
from helpers.secret_scanner import SecretScanner
from zulip_auth import ApiKeySource, AuthClient, Credentials, UserDeactivatedError, ZulipAuthError
from zulip_auth.testing import FakeZulip

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_every_example_has_tests_here_and_a_row_in_their_readme(name: str) -> None:
    stem = name.removesuffix(".py").removeprefix("test_")
    assert [each for each in globals() if each.startswith(f"test_{stem}_")]
    [row] = re.findall(
        rf"^\| \[{re.escape(name)}\]\({re.escape(name)}\) \|.*\|$", README, re.MULTILINE
    )
    assert name.removesuffix(".py") in row.rpartition("` | `")[2]


def test_their_readme_lists_no_other_file() -> None:
    assert sorted(re.findall(r"^\| \[(\S+)\]", README, re.MULTILINE)) == NAMES


# ---- Running them


class Ran:
    """How a program has ended, and what it wrote; there is no secret in that."""

    def __init__(self, code: int | None, out: bytes, err: bytes, leaks: SecretScanner) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()
        leaks.check(self.out, "standard output")
        leaks.check(self.err, "standard error")

    def failed_with(self, words: str) -> bool:
        """Tell whether it has ended with one line on standard error that has some words in it."""
        assert (self.code, self.out, self.err.count("\n")) == (1, "", 1), self.err
        return words in self.err


@pytest.fixture
def leaks(fake_zulip: FakeZulip) -> SecretScanner:
    account = fake_zulip.add_user(USERNAME, PASSWORD)
    return SecretScanner(PASSWORD, account.api_key, API_KEY)


async def start(home: Path, *command: object, **more: str) -> asyncio.subprocess.Process:
    """Start Python where no other zuliprc than the home's is found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZULIP_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", *map(str, command)),
        env={**kept, "HOME": str(home), **more},
        cwd=home,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )


async def run(home: Path, leaks: SecretScanner, *command: object, password: str = PASSWORD) -> Ran:
    process = await start(home, *command)
    out, err = await process.communicate(password.encode() + b"\n")
    return Ran(process.returncode, out, err, leaks)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - it comes about in another thread
        await asyncio.sleep(0.005)


# ---- asyncio_script.py

ASYNCIO_SCRIPT = EXAMPLES / "asyncio_script.py"


async def test_asyncio_script_logs_in_and_keeps_the_credentials(
    fake_zulip: FakeZulip, tmp_path: Path, leaks: SecretScanner
) -> None:
    fake_zulip.account(USERNAME).full_name = "Iago"
    ran = await run(tmp_path, leaks, ASYNCIO_SCRIPT, fake_zulip.site, USERNAME)
    assert (ran.code, ran.out, ran.err) == (0, "Logged in as Iago.\n", "")
    file = tmp_path / ".zuliprc"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Credentials.load(file).api_key == fake_zulip.account(USERNAME).api_key


async def test_asyncio_script_says_why_it_could_not(
    fake_zulip: FakeZulip, tmp_path: Path, leaks: SecretScanner
) -> None:
    file = tmp_path / ".zuliprc"
    arguments = (ASYNCIO_SCRIPT, fake_zulip.site, USERNAME)
    ran = await run(tmp_path, leaks, *arguments, password="a guess")
    assert ran.failed_with("4 attempts are left.")
    ran = await run(tmp_path, leaks, ASYNCIO_SCRIPT, "http://chat.example.com", USERNAME)
    assert ran.failed_with("chat.example.com")
    assert not file.exists()
    async with raw_server.ScriptedServer(raw_server.succeed, raw_server.respond(500)) as server:
        ran = await run(tmp_path, leaks, ASYNCIO_SCRIPT, server.site, USERNAME)
    assert ran.failed_with("Logged in, but the call failed: HTTPStatusError")
    assert file.exists()  # so that nobody has to log in again
    ran = await run(tmp_path, leaks, *arguments)
    assert ran.failed_with("something else than this account")


def test_asyncio_script_asks_for_the_password_on_a_terminal_without_echo(
    fake_zulip: FakeZulip, tmp_path: Path, leaks: SecretScanner
) -> None:
    master, slave = pty.openpty()
    on_the_terminal = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
    script = (sys.executable, ASYNCIO_SCRIPT, fake_zulip.site, USERNAME)
    process = subprocess.Popen(
        [sys.executable, "-c", on_the_terminal, *script],
        env={**os.environ, "ZULIP_CONFIG": str(tmp_path / "zuliprc")},
        stdin=slave,
    )
    os.close(slave)
    shown = b""
    while b"Password: " not in shown:
        shown += os.read(master, 1024)
    os.write(master, PASSWORD.encode() + b"\n")
    with suppress(OSError):  # how Linux says that the other side is gone
        while data := os.read(master, 1024):
            shown += data
    os.close(master)
    assert process.wait(10) == 0
    assert b"Logged in as " in shown
    leaks.check(shown.decode(), "the terminal")


# ---- aiohttp_client.py and official_client.py, which want a zuliprc


@pytest.fixture
async def zuliprc(fake_zulip: FakeZulip, tmp_path: Path, leaks: SecretScanner) -> Path:
    path = tmp_path / ".zuliprc"
    (await zulip_auth.login(fake_zulip.site, USERNAME, PASSWORD)).save(path)
    fake_zulip.account(USERNAME).full_name = "Iago"
    return path


@pytest.mark.parametrize("name", ["aiohttp_client.py", "official_client.py"])
async def test_aiohttp_client_and_official_client_use_the_zuliprc(
    name: str, zuliprc: Path, tmp_path: Path, leaks: SecretScanner
) -> None:
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    for home, arguments in ((tmp_path, ()), (elsewhere, (zuliprc,))):
        ran = await run(home, leaks, EXAMPLES / name, *arguments)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.endswith(" Iago.\n")
    ran = await run(elsewhere, leaks, EXAMPLES / name)
    assert ran.failed_with(f"{elsewhere}/.zuliprc cannot be read")


async def test_aiohttp_client_says_that_the_key_was_revoked(
    fake_zulip: FakeZulip, zuliprc: Path, tmp_path: Path, leaks: SecretScanner
) -> None:
    fake_zulip.account(USERNAME).regenerate_api_key()
    ran = await run(tmp_path, leaks, EXAMPLES / "aiohttp_client.py")
    assert ran.failed_with("The server answered 401. The key is wrong or was revoked")


async def test_aiohttp_client_takes_the_key_nowhere_else(
    fake_zulip: FakeZulip, tmp_path: Path, leaks: SecretScanner
) -> None:
    async with raw_server.ScriptedServer(raw_server.respond(200)) as other:
        away = raw_server.respond(302, headers={"location": f"http://localhost:{other.port}/"})
        async with raw_server.ScriptedServer(away) as server:
            Credentials(server.site, USERNAME, API_KEY).save(tmp_path / ".zuliprc")
            ran = await run(tmp_path, leaks, EXAMPLES / "aiohttp_client.py")
        assert server.requests[0].headers["authorization"].startswith("Basic ")
        assert (other.connections, ran.failed_with("The server answered 302.")) == (0, True)


async def test_official_client_gets_another_key_for_the_one_that_was_revoked(
    fake_zulip: FakeZulip, zuliprc: Path, tmp_path: Path, leaks: SecretScanner
) -> None:
    account = fake_zulip.account(USERNAME)
    account.regenerate_api_key()
    official = EXAMPLES / "official_client.py"
    ran = await run(tmp_path, leaks, official, password="a guess")
    assert (ran.code, "4 attempts are left." in ran.err) == (1, True)
    ran = await run(tmp_path, SecretScanner(PASSWORD, account.api_key), official)
    assert (ran.code, ran.err) == (0, f"The key of {USERNAME} was revoked.\n")
    assert Credentials.load(zuliprc).api_key == account.api_key
    logins = count(fake_zulip, "fetch_api_key")
    assert (await run(tmp_path, leaks, official)).code == 0
    assert count(fake_zulip, "fetch_api_key") == logins


# ---- httpx_bot.py


@asynccontextmanager
async def bot_process(
    server: FakeZulip, home: Path, leaks: SecretScanner, end: signal.Signals
) -> AsyncIterator[None]:
    """Run the bot as a program, from when it listens, until it has ended well."""
    (home / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    polls = count(server, "events")
    process = await start(
        *(home, EXAMPLES / "httpx_bot.py", server.site, BOT),
        *("--password-file", home / "password", "--zuliprc", home / "zuliprc"),
    )
    try:
        async with asyncio.timeout(30):
            await until(lambda: count(server, "events") > polls)
            leaks.check(Path(f"/proc/{process.pid}/cmdline").read_text(), "the arguments")
            yield
            process.send_signal(end)
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    ran = Ran(process.returncode, out, err, leaks)
    assert (ran.code, ran.out, ran.err) == (0, "", "INFO:httpx_bot:Listening.\n")
    assert (server.requests[-1].method, server.requests[-1].path) == ("DELETE", "/api/v1/events")


async def test_httpx_bot_goes_on_with_one_more_login_when_its_key_is_revoked(
    fake_zulip: FakeZulip, tmp_path: Path
) -> None:
    account = fake_zulip.add_user(BOT, PASSWORD)
    leaks = SecretScanner(PASSWORD, account.api_key)
    async with person(fake_zulip) as http:
        start = count(fake_zulip, "fetch_api_key")
        async with bot_process(fake_zulip, tmp_path, leaks, signal.SIGTERM):
            assert await say(http, "ping") == "pong"
            assert count(fake_zulip, "fetch_api_key") == start + 1
            account.regenerate_api_key()
            assert await say(http, "ping") == "pong"
            assert await say(http, "ping") == "pong"
            assert count(fake_zulip, "fetch_api_key") == start + 2
        # The next run finds the new key.
        leaks = SecretScanner(PASSWORD, account.api_key)
        async with bot_process(fake_zulip, tmp_path, leaks, signal.SIGINT):
            assert await say(http, "ping") == "pong"
        assert count(fake_zulip, "fetch_api_key") == start + 2


async def test_httpx_bot_ends_with_a_line_when_it_cannot_log_in(
    fake_zulip: FakeZulip, tmp_path: Path
) -> None:
    fake_zulip.add_user(BOT, PASSWORD)
    command = (EXAMPLES / "httpx_bot.py", fake_zulip.site, BOT, "--password-file", "password")
    ran = await run(tmp_path, SecretScanner(PASSWORD), *command)
    assert ran.failed_with("FileNotFoundError")
    (tmp_path / "password").write_text("s3cret guess\n")
    ran = await run(tmp_path, SecretScanner("s3cret guess"), *command)
    assert ran.failed_with("4 attempts are left.")
    assert count(fake_zulip, "fetch_api_key") == 1


async def test_httpx_bot_takes_a_new_queue_when_the_server_has_forgotten_its_own(
    fake_zulip: FakeZulip,
) -> None:
    async with running_bot(fake_zulip), person(fake_zulip) as http:
        fake_zulip._state.close_queues()
        await until(lambda: count(fake_zulip, "register") == 2)
        assert await say(http, "ping") == "pong"
        assert count(fake_zulip, "register") == 3  # one of them is the person's


async def test_httpx_bot_ticks_off_heartbeats(
    fake_zulip: FakeZulip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zulip_auth.testing.state.HEARTBEAT", 0.005)
    async with running_bot(fake_zulip):
        await until(lambda: count(fake_zulip, "events") >= 10)
        [queue] = fake_zulip._state.queues.values()
        assert [each["type"] for each in queue.events] in ([], ["heartbeat"])
        assert queue.events == [] or queue.events[0]["id"] > 5
        assert count(fake_zulip, "register") == 1


async def test_httpx_bot_ends_when_its_account_is_deactivated(fake_zulip: FakeZulip) -> None:
    form = {"type": "direct", "to": json.dumps([BOT]), "content": "ping"}
    with pytest.RaisesGroup(UserDeactivatedError):
        async with running_bot(fake_zulip), person(fake_zulip) as http:
            fake_zulip.account(BOT).active = False
            await httpx_bot.ask(http, "POST", "/messages", data=form)
            await asyncio.Event().wait()  # until the bot's end ends this


def ping(number: int) -> dict[str, Any]:
    message = {"id": number, "type": "private", "sender_id": 7, "content": "ping"}
    message["display_recipient"] = [{"id": 7}, {"id": 16}]
    events = [{"id": 2 * number, "type": "message", "message": message}]
    return {"result": "success", "events": [*events, {"id": 2 * number + 1, "type": "heartbeat"}]}


LATER = {"result": "error", "msg": "Later.", "code": "RATE_LIMIT_HIT", "retry-after": 0.01}
OTHER = {"result": "error", "msg": "What", "code": "BAD_REQUEST"}
# Within 0.1 s there has to be a heartbeat.
QUEUE = {"queue_id": "q", "last_event_id": -1, "event_queue_longpoll_timeout_seconds": -9.9}
# What the server does, to which request, and from which event on that asks.
TROUBLE: list[tuple[raw_server.Scenario, str, str]] = [
    (raw_server.succeed, "POST /api/v1/fetch_api_key", ""),
    (raw_server.respond(503, "<p>Not now.</p>"), "GET /api/v1/users/me", ""),
    (raw_server.close_without_response, "GET /api/v1/users/me", ""),
    (raw_server.respond(429, LATER), "GET /api/v1/users/me", ""),
    (raw_server.respond(200, {"result": "success", "user_id": 16}), "GET /api/v1/users/me", ""),
    (raw_server.respond(200, {"result": "success", **QUEUE}), "POST /api/v1/register", ""),
    (raw_server.never_respond, "GET /api/v1/events", "-1"),
    (raw_server.respond(200, ping(0)), "GET /api/v1/events", "-1"),
    # Nothing was done: the message comes again, and is answered.
    (raw_server.respond(429, LATER), "POST /api/v1/messages", ""),
    (raw_server.respond(200, ping(0)), "GET /api/v1/events", "-1"),
    (raw_server.respond(200, {"result": "success"}), "POST /api/v1/messages", ""),
    (raw_server.close_without_response, "GET /api/v1/events", "1"),
    (raw_server.respond(200, ping(1)), "GET /api/v1/events", "1"),
    # The answer may be there: no other one.
    (raw_server.close_without_response, "POST /api/v1/messages", ""),
    (raw_server.respond(200, ping(2)), "GET /api/v1/events", "3"),
    (raw_server.respond(502), "POST /api/v1/messages", ""),
    (raw_server.respond(200, ping(3)), "GET /api/v1/events", "5"),
    (raw_server.respond(400, OTHER), "POST /api/v1/messages", ""),
    (raw_server.respond(400, OTHER), "GET /api/v1/events", "7"),
    (raw_server.respond(200, {"result": "success"}), "DELETE /api/v1/events", ""),
]


async def test_httpx_bot_outlasts_lost_connections_and_a_server_that_is_busy_or_has_failed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(httpx_bot, "FIRST_WAIT", 0.001)
    async with raw_server.ScriptedServer(*(scenario for scenario, _, _ in TROUBLE)) as server:
        source = ApiKeySource(AuthClient(server.site), USERNAME, PASSWORD)
        with pytest.raises(httpx_bot.RefusedError, match="status 400, BAD_REQUEST: What"):
            await asyncio.wait_for(httpx_bot.run(source), 30)
        asked = [httpx.URL(each.line.split()[1]) for each in server.requests]
        methods = [each.line.split()[0] for each in server.requests]
    found = [
        (f"{method} {url.path}", url.params.get("last_event_id", ""))
        for method, url in zip(methods, asked, strict=True)
    ]
    assert found == [(what, since) for _, what, since in TROUBLE]
    waits = [each.getMessage() for each in caplog.records if "Trying again" in each.getMessage()]
    assert len(waits) == 6
    assert all(wait.endswith("in 0.0 s.") for wait in waits)
    SecretScanner(PASSWORD, API_KEY).check(caplog.text, "the log")


async def test_httpx_bot_waits_for_a_server_that_is_away_also_for_a_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    away = httpx.ConnectError("refused")
    outcomes = [
        *[away] * 8,
        zulip_auth.RateLimitedError("Later.", status_code=429, retry_after=1500.0),
        zulip_auth.APITimeoutError("Silence.", sent=True),
        zulip_auth.ServerError("Down.", status_code=502),
        zulip_auth.PasswordAuthDisabledError("No.", status_code=401),
    ]

    async def fail(*_: object, **__: object) -> None:
        raise outcomes.pop(0)

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(httpx_bot, "ask", fail)
    monkeypatch.setattr("asyncio.sleep", note)
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    with pytest.raises(zulip_auth.PasswordAuthDisabledError):
        await httpx_bot.run(ApiKeySource(AuthClient("localhost"), BOT, PASSWORD))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 1500, 60, 60]


# ---- test_my_bot.py


@pytest.mark.parametrize("place", ["here", "elsewhere"])
async def test_my_bot_passes_here_and_where_it_is_copied_to(place: str, tmp_path: Path) -> None:
    folder = EXAMPLES
    if place == "elsewhere":
        folder = tmp_path
        for name in ("httpx_bot.py", "test_my_bot.py"):
            shutil.copy(EXAMPLES / name, folder)
    command = ("-m", "pytest", "-p", "no:cacheprovider", "-q", folder / "test_my_bot.py")
    ran = await run(tmp_path, SecretScanner(PASSWORD), *command)
    assert (ran.code, ran.err) == (0, "")
    assert "6 passed" in ran.out


async def test_my_bot_fails_with_a_bot_that_does_not_answer(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "test_my_bot.py", tmp_path)
    bot = (EXAMPLES / "httpx_bot.py").read_text(encoding="utf-8")
    assert '"pong"' in bot
    (tmp_path / "httpx_bot.py").write_text(bot.replace('"pong"', '"what?"'), encoding="utf-8")
    ran = await run(
        tmp_path, SecretScanner(PASSWORD), "-m", "pytest", "-p", "no:cacheprovider", "-q"
    )
    assert ran.code == 1
    assert "2 failed, 4 passed" in ran.out


# ---- fastapi_login.py


@asynccontextmanager
async def web(site: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the application, which runs in this process."""
    monkeypatch.setenv("ZULIP_SITE", site)
    app = fastapi_login.app
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="https://app.example.com") as http,
    ):
        yield http


async def log_in(http: httpx.AsyncClient, username: str, password: str) -> httpx.Response:
    respond = await http.post("/login", json={"username": username, "password": password})
    if password == PASSWORD:
        SecretScanner(password).check(f"{respond.headers} {respond.text}", "the answer")
    return respond


async def test_fastapi_login_starts_a_session_and_keeps_the_key(
    fake_zulip: FakeZulip, leaks: SecretScanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with web(fake_zulip.site, monkeypatch) as http:
        respond = await log_in(http, "IAGO@zulip.com", PASSWORD)
        assert (respond.status_code, respond.json()) == (200, {"email": USERNAME, "user_id": 10})
        leaks.check(f"{respond.headers} {respond.text}", "the answer")
        for flag in ("HttpOnly", "Secure", "SameSite=strict"):
            assert flag in respond.headers["set-cookie"]
        kept = fastapi_login.app.state.sessions[respond.cookies["session"]]
    assert kept.api_key == fake_zulip.account(USERNAME).api_key


async def test_fastapi_login_turns_what_the_server_says_into_http(
    fake_zulip: FakeZulip, leaks: SecretScanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, realm = fake_zulip.account(USERNAME), fake_zulip.realm
    fake_zulip.add_realm("localhost").add_user("hamlet@zulip.com", PASSWORD)
    async with web(fake_zulip.site, monkeypatch) as http:
        refused = await log_in(http, USERNAME, "a guess")
        assert (refused.status_code, refused.json()["attempts_remaining"]) == (401, 4)
        assert "password is wrong" in refused.json()["error"]
        assert refused.headers["www-authenticate"]
        for username, password in (("no address", PASSWORD), (USERNAME, ""), (USERNAME, "a\nb")):
            assert (await log_in(http, username, password)).status_code == 422
        assert (await log_in(http, "hamlet@zulip.com", PASSWORD)).status_code == 403
        for thing, attribute, value in (
            (account, "active", False),
            (account, "password_reset_required", True),
            (realm, "active", False),
            (realm, "password_login", False),
        ):
            before = getattr(thing, attribute)
            setattr(thing, attribute, value)
            assert (await log_in(http, USERNAME, PASSWORD)).status_code == 403
            setattr(thing, attribute, before)
            fake_zulip.advance(1800)
        for _ in range(5):
            assert (await log_in(http, USERNAME, "a guess")).status_code == 401
        blocked = await log_in(http, USERNAME, PASSWORD)
        assert (blocked.status_code, blocked.json().keys()) == (429, {"error"})
        assert 1790 < int(blocked.headers["retry-after"]) <= 1800


STATUS: dict[type[ZulipAuthError], int] = {
    zulip_auth.ZulipAuthError: 500,
    zulip_auth.InvalidInputError: 422,
    zulip_auth.InvalidSiteError: 500,
    zulip_auth.InsecureSiteError: 500,
    zulip_auth.SSOFlowEndedError: 500,
    zulip_auth.ZuliprcError: 500,
    zulip_auth.APIConnectionError: 503,
    zulip_auth.APITimeoutError: 504,
    zulip_auth.TLSError: 502,
    zulip_auth.InvalidResponseError: 502,
    zulip_auth.APIStatusError: 502,
    zulip_auth.BadRequestError: 422,
    zulip_auth.AuthenticationFailedError: 401,
    zulip_auth.UserDeactivatedError: 403,
    zulip_auth.RealmDeactivatedError: 403,
    zulip_auth.PasswordAuthDisabledError: 403,
    zulip_auth.PasswordResetRequiredError: 403,
    zulip_auth.InvalidApiKeyError: 401,
    zulip_auth.InvalidSubdomainError: 403,
    zulip_auth.SubdomainRequiredError: 500,
    zulip_auth.DevAuthDisabledError: 403,
    zulip_auth.RateLimitedError: 429,
    zulip_auth.ServerError: 502,
}


def test_fastapi_login_is_tested_with_every_error_class() -> None:
    names = {name for name in zulip_auth.__all__ if name.endswith("Error")}
    assert {each.__name__ for each in STATUS} == names


@pytest.mark.parametrize("kind", STATUS, ids=lambda kind: kind.__name__)
async def test_fastapi_login_answers_every_error(
    kind: type[ZulipAuthError], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = kind.__new__(kind, "Why, and what to do.")
    error.__dict__.update(status_code=418, attempts_remaining=None, retry_after=None)

    class Refuses:
        async def login(self, username: str, password: str) -> None:
            raise error

    async with web("localhost", monkeypatch) as http:
        fastapi_login.app.state.zulip = Refuses()
        respond = await log_in(http, USERNAME, PASSWORD)
    assert respond.status_code == STATUS[kind]
    assert ("www-authenticate" in respond.headers) == (respond.status_code == 401)
    assert "retry-after" not in respond.headers
    # What the operator has to see to is for the operator.
    if respond.status_code >= 500:
        assert respond.json() == {"error": fastapi_login.DOWN}
        assert caplog.messages == [f"{kind.__name__}: Why, and what to do."]
    else:
        assert respond.json()["error"] == "Why, and what to do."
        assert caplog.messages == []


BODIES: dict[str, Any] = {
    "no username": {"json": {"password": PASSWORD}},
    "a list": {"json": {"username": USERNAME, "password": [PASSWORD]}},
    "a string": {"json": PASSWORD},
    "a form": {"data": {"username": USERNAME, "password": PASSWORD}},
    "broken JSON": {
        "content": json.dumps({"password": PASSWORD})[:-1],
        "headers": {"content-type": "application/json"},
    },
    "half a surrogate pair": {
        "content": json.dumps({"username": "\ud800", "password": PASSWORD}),
        "headers": {"content-type": "application/json"},
    },
    "nothing": {},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_fastapi_login_does_not_repeat_what_it_cannot_make_sense_of(
    body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with web("localhost", monkeypatch) as http:
        respond = await http.post("/login", **body)
    assert (respond.status_code, respond.json().keys()) == (422, {"error"})
    assert "horse" not in respond.text


async def test_fastapi_login_runs_in_uvicorn_and_logs_no_password(
    fake_zulip: FakeZulip, tmp_path: Path, leaks: SecretScanner
) -> None:
    arguments = ("-m", "uvicorn", "--app-dir", EXAMPLES, "fastapi_login:app", "--port", 0)
    process = await start(tmp_path, *arguments, ZULIP_SITE=fake_zulip.site)
    assert process.stderr is not None
    log = b""
    try:
        async with asyncio.timeout(30):
            while not (found := re.search(rb"running on (http://127.0.0.1:\d+)", log)):
                line = await process.stderr.readline()
                assert line, log.decode()
                log += line
            async with httpx.AsyncClient(base_url=found[1].decode()) as http:
                assert (await log_in(http, USERNAME, PASSWORD)).status_code == 200
                assert (await log_in(http, USERNAME, f"{PASSWORD}!")).status_code == 401
                assert (await log_in(http, "", PASSWORD)).status_code == 422
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    ran = Ran(process.returncode, out, log + err, leaks)
    assert ran.out.count("POST /login") == 3
    assert "Traceback" not in ran.err
