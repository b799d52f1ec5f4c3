from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

import zulip_auth
from helpers.constants import PASSWORD, USERNAME
from helpers.raw_server import ScriptedServer, never_respond, respond, succeed
from helpers.secret_scanner import SecretScanner
from zulip_auth import (
    ApiKeySource,
    APITimeoutError,
    AuthClient,
    AuthenticationFailedError,
    Credentials,
    RetryPolicy,
    ServerError,
    ZuliprcError,
)
from zulip_auth.testing import FakeZulip


def source_for(server: FakeZulip, password: Any = PASSWORD, **options: Any) -> ApiKeySource:
    return ApiKeySource(AuthClient(server.site), USERNAME, password, **options)


def logins(server: FakeZulip) -> int:
    return [request.path for request in server.requests].count("/api/v1/fetch_api_key")


def advance_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Advance the clock of all sources, and not that of the event loop."""
    monkeypatch.setattr("zulip_auth._key_source.monotonic", lambda: time.monotonic() + seconds)


# ---- How many logins there are


async def test_get_shares_one_login(server: FakeZulip) -> None:
    source = source_for(server)
    results = await asyncio.gather(*(source.get() for _ in range(1000)))
    assert {each.api_key for each in results} == {server.account(USERNAME).api_key}
    assert await source.get() is results[0]
    assert logins(server) == 1


async def test_wrong_password_costs_one_attempt(server: FakeZulip) -> None:
    source = source_for(server, "a guess")
    results = await asyncio.gather(*(source.get() for _ in range(1000)), return_exceptions=True)
    assert {type(each) for each in results} == {AuthenticationFailedError}
    assert len({id(each) for each in results}) == 1000  # so that no traceback grows
    for _ in range(3):
        with pytest.raises(AuthenticationFailedError) as caught:
            await source.get()
        assert caught.value.attempts_remaining == 4
        SecretScanner("a guess").check_error(caught.value)
    assert logins(server) == 1


async def test_reset_allows_another_login(server: FakeZulip) -> None:
    server.account(USERNAME).active = False
    source = source_for(server)
    for _ in range(2):
        with pytest.raises(zulip_auth.UserDeactivatedError):
            await source.get()
    server.account(USERNAME).active = True
    with pytest.raises(zulip_auth.UserDeactivatedError):
        await source.get()
    source.reset()
    assert (await source.get()).email == USERNAME
    assert logins(server) == 2


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_transient_status_is_not_remembered(status: int) -> None:
    refused = respond(status, {"result": "error", "msg": "Busy"})
    async with ScriptedServer(refused, succeed) as server:
        client = AuthClient(server.site, retry=RetryPolicy(attempts=1))
        source = ApiKeySource(client, USERNAME, PASSWORD)
        with pytest.raises(zulip_auth.APIStatusError):
            await source.get()
        assert (await source.get()).email == USERNAME


@pytest.mark.parametrize("status", [400, 404, 499])
async def test_other_status_is_remembered(status: int) -> None:
    refused = respond(status, {"result": "error", "msg": "No"})
    async with ScriptedServer(refused, succeed) as server:
        source = ApiKeySource(AuthClient(server.site), USERNAME, PASSWORD)
        for _ in range(2):
            with pytest.raises(zulip_auth.APIStatusError):
                await source.get()
        assert len(server.requests) == 1


async def test_connection_error_is_not_remembered(server: FakeZulip) -> None:
    site, retry = server.site, RetryPolicy(attempts=1)
    source = ApiKeySource(AuthClient(site, retry=retry), USERNAME, PASSWORD)
    server.__exit__(None, None, None)
    results = await asyncio.gather(*(source.get() for _ in range(10)), return_exceptions=True)
    assert {type(each) for each in results} == {zulip_auth.APIConnectionError}
    with pytest.raises(zulip_auth.APIConnectionError):
        await source.get()


# ---- A key that was revoked


async def test_refresh_of_an_old_key_needs_no_login(
    server: FakeZulip,
) -> None:
    source = source_for(server)
    stale = await source.get()
    server.account(USERNAME).regenerate_api_key()
    results = await asyncio.gather(*(source.refresh(stale) for _ in range(100)))
    assert {each.api_key for each in results} == {server.account(USERNAME).api_key}
    assert await source.refresh(stale) is await source.get() is results[0]
    assert logins(server) == 2


async def test_refresh_before_any_login(server: FakeZulip) -> None:
    source = source_for(server)
    assert (await source.refresh(Credentials(server.site, USERNAME, "old"))).email == USERNAME
    assert logins(server) == 1


async def test_rejected_refresh_is_remembered(server: FakeZulip) -> None:
    source = source_for(server)
    stale = await source.get()
    server.account(USERNAME).active = False
    for attempt in (source.refresh(stale), source.refresh(stale), source.get()):
        with pytest.raises(zulip_auth.UserDeactivatedError):
            await attempt
    assert logins(server) == 2


async def test_reissued_key_has_a_cooldown(
    server: FakeZulip, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_for(server)
    stale = await source.get()
    for _ in range(5):
        with pytest.raises(
            zulip_auth.InvalidApiKeyError, match="rejects the API key that it just issued"
        ):
            await source.refresh(stale)
    assert logins(server) == 2
    assert await source.get() == stale  # it may have been a mistake
    advance_clock(monkeypatch, 60)
    server.account(USERNAME).regenerate_api_key()
    assert (await source.refresh(stale)).api_key == server.account(USERNAME).api_key
    assert logins(server) == 3


async def test_reset_ends_the_cooldown(server: FakeZulip) -> None:
    source = source_for(server)
    stale = await source.get()
    with pytest.raises(zulip_auth.InvalidApiKeyError):
        await source.refresh(stale)
    server.account(USERNAME).regenerate_api_key()
    source.reset()
    assert (await source.refresh(stale)) != stale


async def test_refresh_ignores_the_stale_key_in_the_file(server: FakeZulip, path: Path) -> None:
    stale = await source_for(server, zuliprc=path).get()
    server.account(USERNAME).regenerate_api_key()
    client = AuthClient(server.site, retry=RetryPolicy(attempts=1))
    source = ApiKeySource(client, USERNAME, PASSWORD, zuliprc=path)
    getting = asyncio.create_task(source.get())
    await asyncio.sleep(0)
    fresh = await source.refresh(stale)
    assert fresh.api_key == server.account(USERNAME).api_key != stale.api_key
    await getting
    server.__exit__(None, None, None)
    with pytest.raises(zulip_auth.APIConnectionError):
        await source.refresh(fresh)
    with pytest.raises(zulip_auth.APIConnectionError):
        await source.get()  # what the file holds is known to be dead


async def test_reset_during_a_login(server: FakeZulip) -> None:
    async def password() -> str:
        source.reset()
        return "a guess"

    source = source_for(server, password)
    for _ in range(2):
        with pytest.raises(AuthenticationFailedError):
            await source.get()
    assert logins(server) == 2


@pytest.mark.parametrize("stale", ["the key itself", None])
async def test_refresh_with_an_invalid_argument(server: FakeZulip, stale: Any) -> None:
    with pytest.raises(zulip_auth.InvalidInputError, match="stale must be a Credentials") as caught:
        await source_for(server).refresh(stale)
    SecretScanner("the key itself").check_error(caught.value)


async def test_rejected_key_is_tried_again_after_a_minute(
    server: FakeZulip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reactivated account has the same key; the remembered rejection must not hide that."""
    source = source_for(server)
    stale = await source.get()
    server.account(USERNAME).active = False
    with pytest.raises(zulip_auth.UserDeactivatedError):
        await source.refresh(stale)
    server.account(USERNAME).active = True
    advance_clock(monkeypatch, 59)
    with pytest.raises(zulip_auth.UserDeactivatedError):
        await source.get()
    advance_clock(monkeypatch, 60)
    assert await source.get() == stale
    # Another rejection raises the same exception for another minute.
    for _ in range(2):
        with pytest.raises(zulip_auth.UserDeactivatedError):
            await source.refresh(stale)
        with pytest.raises(zulip_auth.UserDeactivatedError):
            await source.get()
    advance_clock(monkeypatch, 120)
    assert await source.get() == stale
    assert logins(server) == 2


@pytest.mark.parametrize("has_file", [False, True])
async def test_reset_forgets_the_rejected_key(
    server: FakeZulip, path: Path, has_file: bool
) -> None:
    """After a reactivation, the first request after a reset gets the key, which is the same."""
    source = source_for(server, zuliprc=path if has_file else None)
    stale = await source.get()
    server.account(USERNAME).active = False
    with pytest.raises(zulip_auth.UserDeactivatedError):
        await source.refresh(stale)
    server.account(USERNAME).active = True
    source.reset()
    assert await source.get() == stale
    # The key in the file needs no login.
    assert logins(server) == (2 if has_file else 3)


# ---- Event loops


@pytest.mark.parametrize("state", ["during a login", "after a login"])
def test_another_running_event_loop(server: FakeZulip, state: str) -> None:
    """Each event loop needs a source of its own, and has an error that says so."""
    started, finished = threading.Event(), threading.Event()

    async def slow_password() -> str:
        if state == "during a login":
            started.set()
            await asyncio.to_thread(finished.wait)
        return PASSWORD

    source = source_for(server, slow_password)

    async def use() -> Credentials:
        credentials = await source.get()
        started.set()
        await asyncio.to_thread(finished.wait)
        return credentials

    with ThreadPoolExecutor() as executor:
        first = executor.submit(asyncio.run, use())
        assert started.wait(10)
        for _ in range(2):
            with pytest.raises(zulip_auth.InvalidInputError, match="in another event loop"):
                asyncio.run(source.get())
        finished.set()
        credentials = first.result(10)
        assert asyncio.run(source.get()) is credentials
    assert logins(server) == 1


def test_event_loop_that_stops_during_a_login(server: FakeZulip) -> None:
    """The next event loop logs in, and the first one can continue later."""
    release = threading.Event()

    async def password() -> str:
        while not release.is_set():  # noqa: ASYNC110 - of another event loop
            await asyncio.sleep(0)
        return PASSWORD

    source = source_for(server, password)
    first = asyncio.new_event_loop()
    waiting = first.create_task(source.get())
    first.call_later(0.01, first.stop)
    first.run_forever()
    release.set()
    credentials = asyncio.run(source.get())
    assert not waiting.done()
    assert first.run_until_complete(waiting) == credentials
    assert first.run_until_complete(source.get()) == credentials
    first.close()


def test_event_loop_that_closes_during_a_login(
    server: FakeZulip, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    async def password() -> str:
        while not release.is_set():  # noqa: ASYNC110 - of another event loop
            await asyncio.sleep(0)
        return PASSWORD

    source = source_for(server, password)
    first = asyncio.new_event_loop()
    waiting = first.create_task(source.get())
    first.call_later(0.01, first.stop)
    first.run_forever()
    first.close()
    release.set()
    assert asyncio.run(source.get()).email == USERNAME
    del waiting
    gc.collect()
    # That is asyncio's own report; nothing else failed.
    assert {record.getMessage().partition("\n")[0] for record in caplog.records} == {
        "Task was destroyed but it is pending!"
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="requires fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("state", ["during a login", "after a login"])
async def test_fork(server: FakeZulip, state: str) -> None:
    """A child process logs in by itself, or uses the credentials of its parent."""
    parent = os.getpid()
    asked, release = asyncio.Event(), asyncio.Event()

    async def password() -> str:
        if os.getpid() == parent:
            asked.set()
            await release.wait()
        return PASSWORD

    source = source_for(server, password)
    getting = asyncio.create_task(source.get())
    await asked.wait()
    if state == "after a login":
        release.set()
        await getting

    def child() -> None:
        asyncio.run(asyncio.wait_for(source.get(), 10))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    await asyncio.to_thread(process.join, 20)
    assert process.exitcode == 0
    release.set()
    assert (await getting).email == USERNAME
    assert logins(server) == (1 if state == "after a login" else 2)


# ---- Cancelling


async def test_cancelled_caller_leaves_the_others(server: FakeZulip) -> None:
    source = source_for(server)
    first, second, third = (asyncio.create_task(source.get()) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    third.cancel()
    assert (await second).email == USERNAME
    with pytest.raises(asyncio.CancelledError):
        await first
    assert logins(server) == 1


async def test_login_continues_without_callers(server: FakeZulip) -> None:
    source = source_for(server)
    waiting = asyncio.create_task(source.get())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await source.get()).email == USERNAME
    assert logins(server) == 1


async def test_failure_without_callers_is_not_logged(
    server: FakeZulip,
) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    source = source_for(server, "a guess")
    waiting = asyncio.create_task(source.get())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(AuthenticationFailedError):
        await source.get()
    assert logins(server) == 1
    del source, waiting
    gc.collect()
    assert reports == []


def test_event_loops_in_succession() -> None:
    with FakeZulip(users={USERNAME: PASSWORD}) as server:
        source = source_for(server)

        async def give_up() -> None:
            async with asyncio.timeout(0):
                await source.get()

        with pytest.raises(TimeoutError):
            asyncio.run(give_up())
        first = asyncio.run(source.get())
        assert asyncio.run(source.get()) is first
        server.account(USERNAME).regenerate_api_key()
        assert asyncio.run(source.refresh(first)) != first


# ---- Where the password comes from


async def test_password_function_is_called_once_per_login(server: FakeZulip) -> None:
    asked = 0

    async def ask() -> str:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return PASSWORD

    source = source_for(server, ask)
    assert asked == 0
    await asyncio.gather(*(source.get() for _ in range(10)))
    stale = await source.get()
    assert asked == 1
    server.account(USERNAME).regenerate_api_key()
    await source.refresh(stale)
    assert asked == 2


async def test_password_function_failure_is_not_remembered(
    server: FakeZulip,
) -> None:
    answers: list[Any] = [OSError("no pass"), 7, "", PASSWORD]

    async def ask() -> str:
        given = answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given  # type: ignore[no-any-return]

    source = source_for(server, ask)
    with pytest.raises(OSError, match="no pass"):
        await source.get()
    for _ in range(2):
        with pytest.raises(zulip_auth.InvalidInputError, match=r"^password "):
            await source.get()
    assert (await source.get()).email == USERNAME
    assert logins(server) == 1


async def test_password_function_cancelled_or_not_async(server: FakeZulip) -> None:
    async def cancelled() -> str:
        raise asyncio.CancelledError

    for password in (cancelled, lambda: PASSWORD):
        with pytest.raises(zulip_auth.InvalidInputError) as caught:
            await source_for(server, password).get()
        SecretScanner(PASSWORD).check_error(caught.value)
    assert logins(server) == 0


async def test_cancelled_login_starts_again(server: FakeZulip) -> None:
    """Other code, such as a test runner, may cancel all tasks of an event loop."""
    asked = asyncio.Event()

    async def hang() -> str:
        asked.set()
        await asyncio.Event().wait()
        return PASSWORD

    source = source_for(server, hang)
    getting = asyncio.create_task(source.get())
    await asked.wait()
    for _ in range(2):
        assert source._task is not None
        source._task.cancel()
        asked.clear()
        await asked.wait()
    assert not getting.done()
    getting.cancel()
    assert source._task is not None
    source._task.cancel()
    await asyncio.wait({getting, source._task})


async def test_login_cancelled_before_its_first_step(server: FakeZulip) -> None:
    source = source_for(server)
    getting = asyncio.create_task(source.get())
    await asyncio.sleep(0)
    assert source._task is not None
    source._task.cancel()
    assert (await getting).email == USERNAME
    assert logins(server) == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError("broken"),
        SystemExit(3),
        KeyboardInterrupt("broken"),
        pytest.skip.Exception("broken"),
        GeneratorExit("broken"),
        MemoryError("broken"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_password_function_exception_reaches_all(server: FakeZulip, error: BaseException) -> None:
    """An exception of any class is raised to all callers, with its variables."""

    async def fail() -> str:
        local_of_the_caller = "visible"
        await asyncio.sleep(0)
        assert local_of_the_caller
        raise error

    source = source_for(server, fail)
    caught: list[BaseException] = []

    async def call() -> None:
        try:
            await source.get()
        except BaseException as exc:  # noqa: BLE001 - the subject of this test
            caught.append(exc)

    async def main() -> None:
        async with asyncio.timeout(10):
            await asyncio.gather(*(call() for _ in range(5)))

    asyncio.run(main())
    assert caught == [error] * 5
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert frames[-1].f_locals["local_of_the_caller"] == "visible"
    source.reset()
    caught.clear()
    asyncio.run(main())
    assert caught == [error] * 5


@pytest.mark.parametrize("odd", [5, "~nobody-of-that-name/x"])
def test_zuliprc_with_an_invalid_path(odd: Any) -> None:
    with pytest.raises(zulip_auth.InvalidInputError, match="zuliprc must be"):
        ApiKeySource(AuthClient("chat.example.com"), USERNAME, PASSWORD, zuliprc=odd)


@pytest.mark.parametrize(
    ("username", "password", "options"),
    [("", PASSWORD, {}), (7, PASSWORD, {}), (USERNAME, "s3cret\n", {}), (USERNAME, None, {})],
)
def test_invalid_arguments(username: Any, password: Any, options: dict[str, Any]) -> None:
    client = AuthClient("chat.example.com")
    with pytest.raises(zulip_auth.InvalidInputError, match=r"^(username|password) ") as caught:
        ApiKeySource(client, username, password, **options)
    SecretScanner("s3cret").check_error(caught.value)


def test_invalid_client() -> None:
    with pytest.raises(
        zulip_auth.InvalidInputError, match="client must be an instance of AuthClient"
    ):
        ApiKeySource("chat.example.com", USERNAME, PASSWORD)  # type: ignore[arg-type]


async def test_repr_and_attributes_have_no_secret(server: FakeZulip) -> None:
    source = source_for(server)
    await source.get()
    assert source.site == server.site
    assert repr(source) == f"<ApiKeySource <AuthClient {server.site}>>"
    assert "'value'" not in repr(vars(source))
    SecretScanner(PASSWORD, server.account(USERNAME).api_key).check(
        repr(vars(source)), "its variables"
    )


# ---- Between two runs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "zuliprc"


async def test_zuliprc_saves_a_login(server: FakeZulip, path: Path) -> None:
    first = await source_for(server, zuliprc=path).get()
    assert Credentials.load(path) == first
    assert await source_for(server, zuliprc=str(path)).get() == first
    assert logins(server) == 1


async def test_zuliprc_with_a_revoked_key(server: FakeZulip, path: Path) -> None:
    await source_for(server, zuliprc=path).get()
    server.account(USERNAME).regenerate_api_key()
    source = source_for(server, zuliprc=path)
    fresh = await source.refresh(await source.get())
    assert fresh.api_key == Credentials.load(path).api_key == server.account(USERNAME).api_key
    assert logins(server) == 2


async def test_zuliprc_changed_by_another_process(server: FakeZulip, path: Path) -> None:
    source = source_for(server, zuliprc=path)
    stale = await source.get()
    server.account(USERNAME).regenerate_api_key()
    evolve(stale, api_key=server.account(USERNAME).api_key).save(path)
    assert (await source.refresh(stale)).api_key == server.account(USERNAME).api_key
    assert logins(server) == 1


async def test_zuliprc_without_a_key(server: FakeZulip, path: Path) -> None:
    path.write_text("[api]\ncolour = red\n")
    path.chmod(0o600)
    credentials = await source_for(server, zuliprc=path).get()
    assert Credentials.load(path) == credentials
    assert "colour = red" in path.read_text()


@pytest.mark.parametrize(
    "content", ["precious", "[api]\nkey = x\n", "[api]\nkey=x\nemail=a@b.c\nsite=https://x.org\n"]
)
async def test_zuliprc_that_is_unusable(server: FakeZulip, path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o600)
    source = source_for(server, zuliprc=path)
    with pytest.raises(ZuliprcError):
        await source.get()
    assert path.read_text() == content
    assert not server.requests
    path.unlink()
    assert (await source.get()).email == USERNAME


async def test_zuliprc_of_another_account(server: FakeZulip, path: Path) -> None:
    Credentials(server.site, "hamlet@zulip.com", "x").save(path)
    with pytest.raises(ZuliprcError, match="contains a different account"):
        await source_for(server, zuliprc=path).get()


async def test_zuliprc_with_an_ldap_name(server: FakeZulip, path: Path) -> None:
    server.realm.email_usernames = False
    server.add_user("iago", PASSWORD)
    for _ in range(2):
        source = ApiKeySource(AuthClient(server.site), "iago", PASSWORD, zuliprc=path)
        assert (await source.get()).email == "iago"
    assert logins(server) == 2


async def test_zuliprc_that_cannot_be_saved(
    server: FakeZulip, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_for(server, zuliprc=tmp_path / "missing" / "zuliprc")
    with caplog.at_level(logging.WARNING, "zulip_auth"):
        assert (await source.get()).email == USERNAME
    [record] = caplog.records
    assert record.getMessage() == (
        f"Logged in, but could not save the API key: {tmp_path}/missing/zuliprc cannot be written: "
        "No such file or directory."
    )


async def test_timeout_of_a_caller_leaves_the_login() -> None:
    async with ScriptedServer(never_respond, succeed) as server:
        retry = RetryPolicy(attempts=1)
        source = ApiKeySource(AuthClient(server.site, timeout=0.2, retry=retry), USERNAME, PASSWORD)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await source.get()
        with pytest.raises(APITimeoutError):
            await source.get()
        assert len(server.requests) == 1
        assert not issubclass(ServerError, TimeoutError)
