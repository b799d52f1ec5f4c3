from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import pickle
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import evolve

import zulip_auth
from helpers.clock import seconds_between
from helpers.constants import AUTH_FAILED, PASSWORD, USERNAME
from helpers.errors import error_of
from helpers.raw_server import ScriptedServer, respond, succeed
from helpers.requests import logins
from helpers.secret_scanner import SecretScanner
from zulip_auth import (
    ApiKeySource,
    AuthClient,
    AuthenticationFailedError,
    Credentials,
    CredentialStoreError,
    InvalidApiKeyError,
    InvalidInputError,
    RetryPolicy,
    UserDeactivatedError,
    ZuliprcError,
    ZuliprcStore,
)
from zulip_auth.httpx_auth import ApiKeyAuth
from zulip_auth.testing import FakeZulip

ME = "/api/v1/users/me"
REGENERATE = "/api/v1/users/me/api_key/regenerate"


@pytest.fixture
def bot(server: FakeZulip, path: Path) -> Credentials:
    """The credentials of a bot, saved in a zuliprc."""
    account = server.add_bot(USERNAME, "Helper")
    credentials = Credentials(server.site, account.email, account.api_key, account.user_id)
    credentials.save(path)
    return credentials


def source_for(
    server: FakeZulip | ScriptedServer,
    password: Any = PASSWORD,
    *,
    username: str = USERNAME,
    timeout: float = 30,
    store: Any = None,
) -> ApiKeySource:
    client = AuthClient(server.site, retry=RetryPolicy(attempts=1), timeout=timeout)
    return ApiKeySource(client, username, password, store=store)


def replace_key(server: FakeZulip, credentials: Credentials) -> Credentials:
    account = server.account(credentials.email)
    account.regenerate_api_key()
    return evolve(credentials, api_key=account.api_key)


def advance_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Advance the clock of all sources, and not that of the event loop."""
    monkeypatch.setattr("zulip_auth._key_source.monotonic", lambda: time.monotonic() + seconds)


async def gather(*calls: Any) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


# ---- Logins and what is remembered of them


async def test_login_is_shared(server: FakeZulip) -> None:
    source = source_for(server)
    results = await gather(*(source.get() for _ in range(1000)))
    assert {credentials.api_key for credentials in results} == {server.account(USERNAME).api_key}
    assert await source.get() is results[0]
    assert logins(server) == 1
    assert repr(source) == f"<ApiKeySource {server.site}>"
    scanner = SecretScanner(PASSWORD, server.account(USERNAME).api_key)
    scanner.check(f"{vars(source)!r} {vars(source._login)!r}", "its variables")


async def test_key_that_is_rejected_at_once(server: FakeZulip) -> None:
    """Each caller gets a key, even if others reject it before that caller wakes up."""

    async def password() -> str:
        server.account(USERNAME).regenerate_api_key()
        return PASSWORD

    source = source_for(server, password)

    async def call() -> None:
        await source.refresh(await source.get())

    assert await gather(*(call() for _ in range(20))) == [None] * 20


async def test_wrong_password_costs_one_attempt(server: FakeZulip) -> None:
    source = source_for(server, "a guess")
    results = await gather(*(source.get() for _ in range(1000)))
    results += [(await gather(source.get()))[0] for _ in range(3)]
    assert {type(error) for error in results} == {AuthenticationFailedError}
    assert {error.attempts_remaining for error in results} == {4}
    assert len({id(error) for error in results}) == 1003
    SecretScanner("a guess").check_error(results[-1])
    assert logins(server) == 1
    source.reset()
    await gather(source.get())
    assert logins(server) == 2


def failure(status: int, remaining: int | None = None) -> Any:
    headers = {} if remaining is None else {"X-RateLimit-Remaining": str(remaining)}
    body = AUTH_FAILED if status == 401 else {"result": "error", "msg": "No"}
    return respond(status, body, headers)


JSON_BODY = json.dumps(AUTH_FAILED).encode()
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "JSON": (JSON_BODY, {}),
    "web page": (b"<html>Unauthorized</html>", {"Content-Type": "text/html"}),
    "empty": (b"", {}),
    "gzip": (gzip.compress(JSON_BODY), {"Content-Encoding": "gzip"}),
    "unknown encoding": (b"?", {"Content-Encoding": "br"}),
    "long": (b" " * (64 * 1024) + JSON_BODY, {}),
}
REMEMBERED: dict[str, Any] = {
    **{f"{status}": failure(status) for status in (400, 404, 499)},
    # A server that fails may have counted an attempt, such as one without its LDAP directory.
    **{f"{status}, {left} left": failure(status, left) for status in (401, 500) for left in (0, 1)},
    "401, 2 left": failure(401, 2),
    # A proxy may have replaced the body.
    **{f"{status}, {n}": respond(status, *BODIES[n]) for status in (401, 403) for n in BODIES},
}
NOT_REMEMBERED: dict[str, Any] = {
    **{f"{status}": failure(status) for status in (408, 429, 503)},
    "500, 2 left": failure(500, 2),
}


@pytest.mark.parametrize("name", [*REMEMBERED, *NOT_REMEMBERED])
async def test_failed_login_is_remembered(name: str) -> None:
    """If another would be rejected, or use the last attempt."""
    is_remembered = name in REMEMBERED
    async with ScriptedServer({**REMEMBERED, **NOT_REMEMBERED}[name], succeed) as server:
        source = source_for(server)
        results = await gather(*(source.get() for _ in range(20)))
        results += await gather(source.get()) if is_remembered else []
        assert len({str(error) for error in results}) == 1
        assert all(isinstance(error, zulip_auth.ZulipAuthError) for error in results)
        assert len(server.requests) == 1
        if is_remembered:
            source.reset()
        assert (await source.get()).email == USERNAME


async def test_other_failures_are_not_remembered(server: FakeZulip) -> None:
    results: list[Any] = [OSError("no pass"), 7, "", "stop", PASSWORD]

    async def ask() -> Any:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        if result == "stop":
            server.stop()
        return result

    source = source_for(server, ask)
    assert len(results) == 5  # it is asked for each login
    with pytest.raises(OSError, match="no pass"):
        await source.get()
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=r"^password "):
            await source.get()
    await error_of(zulip_auth.APIConnectionError, source.get())
    server.start()
    assert (await source.get()).email == USERNAME
    assert results == []


async def test_password_function_that_is_no_use(server: FakeZulip) -> None:
    async def cancel_itself() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return PASSWORD

    async def reset() -> str:
        source.reset()
        return "a guess"

    cases: list[tuple[Any, str]] = [
        (lambda: PASSWORD, "password must be a str or an async function."),
        (cancel_itself, "The login was cancelled repeatedly."),
    ]
    for password, message in cases:
        source = source_for(server, password)
        assert str(await error_of(InvalidInputError, source.get())) == message
    assert logins(server) == 0
    source = source_for(server, reset)
    await gather(source.get())
    await gather(source.get())
    assert logins(server) == 2


# ---- A key that was rejected


async def test_refresh(server: FakeZulip, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zulip_auth")
    source = source_for(server)
    stale = await source.get()
    new = replace_key(server, stale)
    assert set(await gather(*(source.refresh(stale) for _ in range(100)))) == {new}
    assert await source.refresh(stale) is await source.get()
    assert logins(server) == 2
    [record] = caplog.records
    assert record.getMessage() == f"Renewed the API key of {USERNAME} at {server.site}."
    for value in ("the key itself", None):
        refreshing = source.refresh(value)  # type: ignore[arg-type]
        error = await error_of(InvalidInputError, refreshing, "the key itself")
        assert str(error).startswith("stale must be an instance of")


async def test_refresh_before_any_login(server: FakeZulip, path: Path) -> None:
    """The key in the file is known to be rejected, also to callers that wait already."""
    stale = await source_for(server, store=ZuliprcStore(path)).get()
    new = replace_key(server, stale)
    source = source_for(server, store=ZuliprcStore(path))
    getting = asyncio.create_task(source.get())
    await asyncio.sleep(0)
    assert await source.refresh(stale) == new
    assert await getting == new
    server.stop()
    for call in (source.refresh(new), source.get()):
        await error_of(zulip_auth.APIConnectionError, call)


async def test_reissued_key_has_a_cooldown(
    server: FakeZulip, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_for(server)
    stale = await source.get()
    for _ in range(3):
        error = await error_of(InvalidApiKeyError, source.refresh(stale))
        assert error.status_code == 401
        assert str(error) == (
            f"{server.site} rejects the API key that it just issued. A proxy may be stripping "
            "the Authorization header. Try again in a minute."
        )
    assert logins(server) == 2
    assert await source.get() == stale  # it may have been a mistake
    advance_clock(monkeypatch, 60)
    new = replace_key(server, stale)
    assert await source.refresh(stale) == new
    await gather(source.refresh(new))
    newer = replace_key(server, new)
    source.reset()
    assert await source.refresh(new) == newer


@pytest.mark.parametrize("has_file", [False, True])
async def test_reactivated_account(
    server: FakeZulip, monkeypatch: pytest.MonkeyPatch, has_file: bool, path: Path
) -> None:
    """It has the same key, which is tried again; an old rejection does not hide that."""
    source = source_for(server, store=ZuliprcStore(path) if has_file else None)
    stale, account = await source.get(), server.account(USERNAME)
    for seconds in (0, 60):
        account.active = False
        for _ in range(2):
            for call in (source.refresh(stale), source.get()):
                await error_of(UserDeactivatedError, call)
        account.active = True
        advance_clock(monkeypatch, seconds + 59)
        await error_of(UserDeactivatedError, source.get())
        advance_clock(monkeypatch, seconds + 60)
        assert await source.get() == stale
    assert logins(server) == 2  # the error was remembered
    advance_clock(monkeypatch, 7 * 86_400)
    new = replace_key(server, stale)
    assert await source.refresh(stale) == new
    assert logins(server) == 3
    account.active = False
    await gather(source.refresh(new))
    account.active = True
    source.reset()
    assert await source.get() == new


async def test_login_error_does_not_outlive_its_reason(
    server: FakeZulip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that sends requests all the time logs in after half an hour."""
    source, account = source_for(server), server.account(USERNAME)
    stale = await source.get()
    account.active = False
    with pytest.raises(UserDeactivatedError):
        await source.refresh(stale)
    account.active = True
    new = replace_key(server, stale)
    for requests in range(1, 30):
        advance_clock(monkeypatch, 61 * requests)
        assert await source.get() == stale
        with pytest.raises(UserDeactivatedError):
            await source.refresh(stale)
    advance_clock(monkeypatch, 1830)
    assert await source.refresh(stale) == new
    assert logins(server) == 3


async def test_login_error_ends_with_the_next_success(
    server: FakeZulip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deactivated, reactivated, key replaced: that ends in a login, not in the old error."""
    source, account = source_for(server), server.account(USERNAME)
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=server.site) as http:
        assert (await http.get(ME)).status_code == 200
        account.active = False
        await error_of(UserDeactivatedError, http.get(ME))
        account.active = True
        advance_clock(monkeypatch, 61)
        assert (await http.get(ME)).status_code == 200
        account.regenerate_api_key()
        assert (await http.get(ME)).status_code == 200
    assert logins(server) == 3


# ---- With a store


async def test_login_is_stored(server: FakeZulip, path: Path) -> None:
    path.write_text("[api]\ncolor = red\n")
    path.chmod(0o600)
    first = await source_for(server, store=ZuliprcStore(path)).get()
    assert Credentials.load(path) == first
    assert "color = red" in path.read_text()
    assert "login_name" not in path.read_text()
    source = source_for(server, store=ZuliprcStore(str(path)))
    assert await source.get() == first
    assert logins(server) == 1
    second = replace_key(server, first)
    assert await source.refresh(first) == Credentials.load(path) == second
    assert logins(server) == 2
    third = replace_key(server, second)
    third.save(path)  # by another process
    assert await source.refresh(second) == third
    assert logins(server) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("precious", "{path} is not a zuliprc: "),
        ("[api]\nkey=x\n", "No site and no email in section [api] of {path}."),
        (
            "[api]\nkey=x\nemail=iago@zulip.com\nsite=https://x.org\n",
            "The site in <ZuliprcStore {path}> is not {site}. Create another ApiKeySource.",
        ),
        (
            "[api]\nkey=x\nemail=hamlet@zulip.com\nsite={site}\n",
            "<ZuliprcStore {path}> contains a different account.",
        ),
    ],
)
async def test_store_of_something_else(
    server: FakeZulip, path: Path, content: str, message: str
) -> None:
    content = content.format(site=server.site)
    path.write_text(content)
    path.chmod(0o600)
    source = source_for(server, store=ZuliprcStore(path))
    with pytest.raises(CredentialStoreError) as caught:
        await source.get()
    assert str(caught.value).startswith(message.format(path=path, site=server.site))
    assert path.read_text() == content
    assert not server.requests
    path.unlink()
    assert (await source.get()).email == USERNAME


async def test_ldap_names(path: Path) -> None:
    """They are stored next to the key, since the server returns an email address."""
    async with ScriptedServer(succeed) as server:

        async def get(username: str) -> Credentials:
            return await source_for(server, username=username, store=ZuliprcStore(path)).get()

        await get(USERNAME)
        first = await get("JDoe")  # it cannot be compared with the address
        assert (first.email, first.login_name) == (USERNAME, "JDoe")
        for name in ("jdoe", "JDoe", USERNAME):
            assert await get(name) == first
        for name in ("hamlet", "hamlet@zulip.com"):
            with pytest.raises(CredentialStoreError, match="contains a different account"):
                await get(name)
        path.unlink()
        await get("gross")
        with pytest.raises(CredentialStoreError, match="contains a different account"):
            await get("groß")  # `str.casefold` makes both the same
        assert len(server.requests) == 3


class FragileStore:
    """A store that hangs or fails in the named methods."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        self.credentials = credentials
        self.errors: dict[str, BaseException | None] = {}
        self.loads = 0

    def __repr__(self) -> str:
        return "<FragileStore>"

    async def _respond(self, method: str) -> None:
        error = self.errors.get(method)
        if error is not None:
            raise error
        if method in self.errors:
            await asyncio.Event().wait()

    async def load(self) -> Credentials | None:
        self.loads += 1
        await self._respond("load")
        return self.credentials

    async def save(self, credentials: Credentials) -> None:
        await self._respond("save")
        self.credentials = credentials

    async def check(self) -> None:
        await self._respond("check")

    @asynccontextmanager
    async def lock(self, timeout: float) -> AsyncIterator[None]:
        await self._respond("lock")
        yield
        await self._respond("unlock")


@pytest.mark.parametrize(
    ("method", "action"), [("load", "read"), ("lock", "lock"), ("check", "write"), ("save", "")]
)
async def test_store_that_hangs(
    method: str,
    action: str,
    server: FakeZulip,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as a keyring that waits for an invisible prompt."""
    monkeypatch.setattr("zulip_auth._stores._LOCK_GRACE", 0)
    store = FragileStore()
    store.errors = {method: None}
    timeout = 0.1 if action else 0.5
    source = source_for(server, store=store, timeout=timeout)
    results = await asyncio.wait_for(gather(*(source.get() for _ in range(5))), 10)
    message = f"Could not {action or 'write'} <FragileStore>: no response in {timeout:g} s."
    if action:
        assert {str(error) for error in results} == {message}
        assert {type(error) for error in results} == {CredentialStoreError}
        assert not server.requests
    else:
        assert logins(server) == len(set(results)) == 1
        [record] = caplog.records
        assert record.getMessage() == f"Logged in, but could not save the API key: {message}"


@pytest.mark.parametrize(
    ("error", "exc_type", "message"),
    [
        (TimeoutError("the database is slow"), TimeoutError, "the database is slow"),
        (OSError("no database"), OSError, "no database"),
        # A cancelled connection of a database is not the cancellation of the login.
        (asyncio.CancelledError(), InvalidInputError, "store or transport was cancelled"),
    ],
)
async def test_store_that_fails(
    error: BaseException, exc_type: type[Exception], message: str, server: FakeZulip
) -> None:
    store = FragileStore()
    for method in ("load", "lock", "check"):
        store.errors = {method: error}
        source = source_for(server, store=store)
        for _ in range(2):
            with pytest.raises(exc_type, match=message):
                await source.get()
    assert not server.requests
    for method in ("save", "unlock"):
        store.errors = {method: error}
        source = source_for(server, store=store)
        assert (await source.get()).email == USERNAME
        assert await source.get() is await source.get()
        store.credentials = None
    assert logins(server) == 2


async def test_lock_that_cannot_be_released(
    server: FakeZulip, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as one of Redis, whose time is over."""
    store = FragileStore()
    store.errors = {"unlock": OSError("not the owner")}
    with pytest.raises(AuthenticationFailedError):
        await source_for(server, "a guess", store=store).get()
    source = source_for(server, store=store)
    assert await source.get() != await source.rotate() == store.credentials
    stored = ApiKeySource.from_store(store)
    with pytest.raises(InvalidApiKeyError):
        await stored.refresh(await stored.get())
    warnings = {r.getMessage() for r in caplog.records if r.levelno == logging.WARNING}
    assert warnings == {"Could not unlock <FragileStore>: OSError."}


async def test_message_of_a_store_may_have_the_key(
    server: FakeZulip, caplog: pytest.LogCaptureFixture
) -> None:
    """As that of PostgreSQL, which names the row that it rejects."""
    store = FragileStore()
    source = source_for(server, store=store)
    key = server.account(USERNAME).api_key
    store.errors = {"save": ValueError(f"Failing row contains ({key})")}
    await source.get()
    [record] = caplog.records
    assert record.getMessage() == "Logged in, but could not save the API key: ValueError."
    with pytest.raises(CredentialStoreError, match=r"could not be saved: ValueError\."):
        await source.rotate()


async def test_store_of_something_that_is_no_credentials(server: FakeZulip) -> None:
    store: Any = FragileStore()
    for stored, problem in ((("iago@zulip.com", "s3cret"), "not tuple."), ([], "not list.")):
        store.credentials = stored  # a list of a query without a row
        error = await error_of(InvalidInputError, ApiKeySource.from_store(store).get(), "s3cret")
        assert str(error).startswith("stored credentials must be")
        assert str(error).endswith(problem)


async def test_locked_store(server: FakeZulip, path: Path) -> None:
    store = ZuliprcStore(path)
    source = source_for(server, store=store, timeout=0.1)
    async with store.lock(1):
        error = await error_of(ZuliprcError, source.get())
        assert not server.requests
        assert str(error) == (
            f"Could not lock {path}: another process has locked {path.with_name('.zuliprc.lock')} "
            "for 0.1 s."
        )
        # A login that needs no file, and one that finds a key, are not blocked.
        credentials = await source_for(server).get()
        credentials.save(path)
        assert await source.get() == credentials
    # Those who need it wait for its result: of a login, of a rotation.
    path.unlink()
    async with store.lock(1):
        getting = asyncio.create_task(source_for(server, store=store).get())
        await asyncio.sleep(0.05)
        assert not getting.done()
        credentials.save(path)
    assert await getting == credentials
    source = ApiKeySource.from_zuliprc(path)
    async with store.lock(1):
        refreshing = asyncio.create_task(source.refresh(credentials))
        await asyncio.sleep(0.05)
        assert not refreshing.done()
        evolve(credentials, api_key="new").save(path)
    assert (await refreshing).api_key == "new"
    assert logins(server) == 1


# ---- Without a password


async def test_from_zuliprc(
    server: FakeZulip, bot: Credentials, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ApiKeySource.from_zuliprc(path)
    monkeypatch.setenv("ZULIP_CONFIG", str(path))
    assert await ApiKeySource.from_zuliprc().get() == bot
    path.write_text(path.read_text().replace("[api]", "[helper]"))
    assert await ApiKeySource.from_zuliprc(path, section="helper").get() == bot
    path.write_text("[api]\nemail = a@example.com\nkey = k\nsite = http://chat.example.com\n")
    assert ApiKeySource.from_zuliprc(path, allow_http=True).site == "http://chat.example.com"
    with pytest.raises(ZuliprcError, match="Plain http"):
        ApiKeySource.from_zuliprc(path)
    with pytest.raises(InvalidInputError, match="wait must be"):
        ApiKeySource.from_zuliprc(path, allow_http=True, wait=-1)
    path.unlink()
    with pytest.raises(zulip_auth.NotLoggedInError):
        ApiKeySource.from_zuliprc(path)
    assert await source.get() == bot  # it is read again after a rejection only
    assert source.site == server.site
    SecretScanner(bot.api_key).check(repr(vars(source)), "its attributes")


async def test_from_store(server: FakeZulip, bot: Credentials, path: Path) -> None:
    source = ApiKeySource.from_store(ZuliprcStore(path))
    with pytest.raises(InvalidInputError, match="known after the first call of get"):
        _ = source.site
    assert repr(source) == "<ApiKeySource without a site>"
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=server.site) as http:
        assert (await http.get(ME)).status_code == 200
    assert source.site == server.site
    with pytest.raises(zulip_auth.NotLoggedInError, match="No credentials in <FragileStore>"):
        await ApiKeySource.from_store(FragileStore()).get()


async def test_from_credentials(server: FakeZulip, bot: Credentials) -> None:
    source = ApiKeySource.from_credentials(bot)
    assert await source.get() is bot
    with pytest.raises(InvalidApiKeyError, match="credentials in memory"):
        await source.refresh(bot)
    with pytest.raises(InvalidInputError, match="credentials must be an instance"):
        ApiKeySource.from_credentials(bot.basic_auth)  # type: ignore[arg-type]
    new = await source.rotate()
    assert new.api_key == server.account(bot.email).api_key
    assert await source.refresh(bot) == new


async def test_from_env(bot: Credentials, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZULIP_SITE", bot.site)
    monkeypatch.setenv("ZULIP_EMAIL", bot.email)
    monkeypatch.setenv("ZULIP_API_KEY", bot.api_key)
    monkeypatch.setenv("ZULIP_CONFIG", str(path.with_name("missing")))
    source = ApiKeySource.from_env()
    with pytest.raises(InvalidApiKeyError, match="API key from <the environment"):
        await source.refresh(bot)
    with pytest.raises(CredentialStoreError, match="cannot be replaced there"):
        await source.rotate()
    assert await source.get() == evolve(bot, user_id=None)
    monkeypatch.setenv("ZULIP_API_KEY", "new")
    assert (await source.refresh(bot)).api_key == "new"
    arguments: dict[str, Any] = {"site": bot.site, "email": bot.email, "api_key": "an-argument"}
    source = ApiKeySource.from_env(**arguments)
    assert (await source.get()).api_key == "an-argument"
    SecretScanner("an-argument").check(repr(vars(source)), "its attributes")
    with pytest.raises(ZuliprcError) as caught:
        ApiKeySource.from_env(**{**arguments, "site": "?"})
    SecretScanner("an-argument").check_error(caught.value)


async def test_key_that_is_replaced_on_disk(
    server: FakeZulip, bot: Credentials, path: Path
) -> None:
    """Each rejection looks into the file; the key is not locked away."""
    source = ApiKeySource.from_zuliprc(path)
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=server.site) as http:
        assert (await http.get(ME)).status_code == 200
        new, results = replace_key(server, bot), []
        for _ in range(2):
            results = await gather(*(source.refresh(bot) for _ in range(10)))
            assert {str(error) for error in results} == {
                f"{server.site} rejected the API key from <ZuliprcStore {path}>. Store a valid "
                "one there."
            }
            assert await source.get() == bot
        assert results[0].status_code == 401
        SecretScanner(bot.api_key).check_error(results[0])
        new.save(path)
        responses = await gather(*(http.get(ME) for _ in range(20)))
        assert {response.status_code for response in responses} == {200}
    assert await source.get() == new
    assert logins(server) == 0
    evolve(bot, site="https://chat.example.com", api_key="other").save(path, overwrite=True)
    with pytest.raises(CredentialStoreError, match=rf"is not {server.site}\. Create another"):
        await source.refresh(new)


async def test_wait_for_a_key_that_a_person_replaces(
    server: FakeZulip, bot: Credentials, path: Path
) -> None:
    source = ApiKeySource.from_zuliprc(path, wait=10)
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=server.site) as http:
        new = replace_key(server, bot)
        requests = [asyncio.create_task(http.get(ME)) for _ in range(5)]
        await server.wait_for("GET", ME, count=5)
        new.save(path)
        assert {r.status_code for r in await asyncio.gather(*requests)} == {200}


async def test_wait_ends(bot: Credentials) -> None:
    store = FragileStore(bot)
    source = ApiKeySource.from_store(store, wait=0.1)
    await source.get()
    counts: list[int] = []
    for _ in range(2):
        store.loads = 0
        with seconds_between(0 if counts else 0.1, 5), pytest.raises(InvalidApiKeyError):
            await source.refresh(bot)
        counts.append(store.loads)
    assert counts[0] > counts[1] == 2  # it waits once for each key


# ---- Rotation


async def test_rotate(server: FakeZulip, path: Path) -> None:
    source = source_for(server, store=ZuliprcStore(path))
    old = await source.get()
    new = await source.rotate()
    assert new.api_key == server.account(USERNAME).api_key != old.api_key
    assert new == Credentials.load(path)
    assert await source.get() is await source.refresh(old) is new
    results = await gather(*(source.rotate() for _ in range(3)))
    assert len({credentials.api_key for credentials in results}) == 3
    assert (await source.get()).api_key == server.account(USERNAME).api_key
    replace_key(server, results[0]).save(path)  # by another process
    assert (await source.rotate()).api_key == server.account(USERNAME).api_key
    assert logins(server) == 1


async def test_rejected_rotation_keeps_the_key(server: FakeZulip) -> None:
    store = FragileStore()
    source = source_for(server, store=store)
    old = await source.get()
    server.fail_next(REGENERATE, status=403, json=AUTH_FAILED)
    await error_of(AuthenticationFailedError, source.rotate())
    store.errors = {"check": ZuliprcError("No space.")}
    with pytest.raises(ZuliprcError, match=r"No space\."):
        await source.rotate()
    assert await source.get() is old
    assert [request.path for request in server.requests].count(REGENERATE) == 1
    assert logins(server) == 1


@pytest.mark.parametrize("ending", ["lost", "cancelled"])
async def test_lost_response_of_a_rotation(ending: str, server: FakeZulip) -> None:
    """The old key may be revoked, and is not provided again."""
    source = source_for(server)
    await source.get()
    server.fail_next(REGENERATE, drop=ending == "lost", delay=0 if ending == "lost" else 10)
    rotating = asyncio.create_task(source.rotate())
    if ending == "lost":
        with pytest.raises(zulip_auth.APIConnectionError, match="log in again") as caught:
            await rotating
        assert caught.value.sent
    else:
        await server.wait_for("POST", REGENERATE)
        flight = source._flights._flight
        assert flight is not None and flight._task is not None
        flight._task.cancel()
        with pytest.raises(InvalidInputError, match="was cancelled"):
            await rotating
    assert (await source.get()).api_key == server.account(USERNAME).api_key
    assert logins(server) == 2


async def test_new_key_that_cannot_be_saved(server: FakeZulip) -> None:
    """The program goes on with it, and the revoked key in the store does not replace it."""
    old = await source_for(server).get()
    store = FragileStore(old)
    source = ApiKeySource.from_store(store)
    store.errors = {"save": OSError("the disk is full")}
    await source.get()
    rotating = asyncio.create_task(source.rotate())
    await server.wait_for("POST", REGENERATE)
    getting = asyncio.create_task(source.get())
    with pytest.raises(CredentialStoreError, match=r"^The key was replaced, but could not be save"):
        await rotating
    new = await getting
    assert new.api_key == server.account(USERNAME).api_key != old.api_key
    await error_of(InvalidApiKeyError, source.refresh(new))
    assert await source.get() is new
    store.errors = {}
    assert (await source.rotate()).api_key == server.account(USERNAME).api_key
    assert store.credentials == await source.get()


# ---- Arguments


def test_invalid_arguments() -> None:
    client = AuthClient("chat.example.com")
    cases: list[tuple[Any, ...]] = [
        ("client", "chat.example.com", USERNAME, PASSWORD, None),
        ("username", client, "", PASSWORD, None),
        ("username", client, 7, PASSWORD, None),
        ("password", client, USERNAME, "s3cret\n", None),
        ("password", client, USERNAME, None, None),
        ("store", client, USERNAME, PASSWORD, "~/.zuliprc"),
    ]
    for name, *arguments, store in cases:
        with pytest.raises(InvalidInputError, match=f"^{name} ") as caught:
            ApiKeySource(*arguments, store=store)
        SecretScanner("s3cret").check_error(caught.value)
    assert repr(ApiKeySource.__new__(ApiKeySource)) == "<ApiKeySource without a site>"


def test_pickle(bot: Credentials) -> None:
    with pytest.raises(TypeError, match=r"^cannot pickle ApiKeySource: .* the other process"):
        pickle.dumps(ApiKeySource.from_credentials(bot))


# ---- Chaos


class Chaos:
    """Use one source in one event loop after another, in as many ways as possible."""

    def __init__(self, server: FakeZulip) -> None:
        self.server = server
        self.random = random.Random(7)
        self.outcomes: list[type[BaseException] | None] = []
        self.source = source_for(server, self.password)

    def has_luck(self, probability: float) -> bool:
        return self.random.random() < probability

    async def password(self) -> str:
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        if self.has_luck(0.1):
            raise self.random.choice((OSError, MemoryError, pytest.skip.Exception))("chaos")
        return PASSWORD

    async def call(self) -> None:
        try:
            credentials = await self.source.get()
            assert (credentials.email, credentials.site) == (USERNAME, self.server.site)
            if self.has_luck(0.2):
                assert (await self.source.refresh(credentials)).api_key != credentials.api_key
            elif self.has_luck(0.05):
                self.server.account(USERNAME).regenerate_api_key()
            elif self.has_luck(0.05):
                self.source.reset()
            self.outcomes.append(None)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as exc:  # noqa: BLE001 - counted
            self.outcomes.append(type(exc))

    async def main(self) -> None:
        tasks = [asyncio.create_task(self.call()) for _ in range(20)]
        for _ in range(self.random.randint(1, 20)):
            await asyncio.sleep(0)
        for task in self.random.sample(tasks, self.random.randrange(8)):
            task.cancel()
        if self.has_luck(0.05):
            await asyncio.to_thread(asyncio.run, self.call())
        if self.has_luck(0.7):  # else asyncio.run cancels the tasks
            async with asyncio.timeout(60):
                await asyncio.wait(tasks)

    def stop(self) -> None:
        """Close an event loop in the middle, with all of its tasks."""
        loop = asyncio.new_event_loop()
        main = loop.create_task(self.main())
        for _ in range(self.random.randrange(30)):
            loop.call_soon(loop.stop)
            loop.run_forever()
        loop.set_exception_handler(lambda *_: None)  # it reports tasks that are pending
        loop.close()
        del main


# An event loop that is closed during a login cannot close its sockets.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:coroutine:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_chaos(server: FakeZulip) -> None:
    """Whatever happens to the event loops, each call ends, and the source goes on."""
    run_chaos(server)
    gc.collect()
    gc.freeze()  # else a collection in another test reports the sockets that are still open


def run_chaos(server: FakeZulip) -> None:
    chaos = Chaos(server)
    gc.disable()
    for _ in range(100):
        if chaos.has_luck(0.1):
            chaos.stop()
            # A collection inside a callback of an event loop can crash CPython 3.11.
            gc.collect()
        asyncio.run(chaos.main())
    gc.enable()
    gc.collect()
    known = {None, OSError, MemoryError, pytest.skip.Exception, InvalidApiKeyError}
    assert set(chaos.outcomes) <= known
    assert chaos.outcomes.count(None) > 500
    chaos.source.reset()
    chaos.random.random = lambda: 1.0  # type: ignore[method-assign]
    server.account(USERNAME).regenerate_api_key()
    old = asyncio.run(chaos.source.get())
    new = asyncio.run(chaos.source.refresh(old))
    assert new.api_key == server.account(USERNAME).api_key
