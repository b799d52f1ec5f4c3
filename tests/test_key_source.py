from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import multiprocessing
import os
import pickle
import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import evolve

import zulip_auth
from helpers.clock import seconds_between
from helpers.constants import AUTH_FAILED, PASSWORD, USERNAME
from helpers.raw_server import (
    ScriptedServer,
    never_respond,
    respond,
    succeed,
)
from helpers.secret_scanner import SecretScanner
from zulip_auth import (
    ApiKeySource,
    APITimeoutError,
    AuthClient,
    AuthenticationFailedError,
    Credentials,
    CredentialStoreError,
    InvalidInputError,
    RetryPolicy,
    ServerError,
    ZuliprcError,
    ZuliprcStore,
)
from zulip_auth.httpx_auth import ApiKeyAuth
from zulip_auth.testing import FakeZulip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "zuliprc"


def source_for(server: FakeZulip, password: Any = PASSWORD, **options: Any) -> ApiKeySource:
    return ApiKeySource(AuthClient(server.site), USERNAME, password, **options)


def operation_task(source: ApiKeySource) -> asyncio.Task[None]:
    assert source._operation is not None
    assert source._operation.task is not None
    return source._operation.task


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
    busy = respond(status, {"result": "error", "msg": "Busy"})
    async with ScriptedServer(busy, succeed) as server:
        client = AuthClient(server.site, retry=RetryPolicy(attempts=1))
        source = ApiKeySource(client, USERNAME, PASSWORD)
        with pytest.raises(zulip_auth.APIStatusError):
            await source.get()
        assert (await source.get()).email == USERNAME


@pytest.mark.parametrize("status", [400, 404, 499])
async def test_other_status_is_remembered(status: int) -> None:
    busy = respond(status, {"result": "error", "msg": "No"})
    async with ScriptedServer(busy, succeed) as server:
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


JSON_BODY = json.dumps(AUTH_FAILED).encode()
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "JSON": (JSON_BODY, {}),
    "web page": (b"<html>Unauthorized</html>", {"Content-Type": "text/html"}),
    "empty": (b"", {}),
    "gzip": (gzip.compress(JSON_BODY), {"Content-Encoding": "gzip"}),
    "unknown encoding": (b"?", {"Content-Encoding": "br"}),
    "larger than 64 KiB": (b" " * (64 * 1024) + JSON_BODY, {}),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("status", [401, 403])
async def test_rejection_with_any_body_is_remembered(status: int, body: str) -> None:
    """Ten rounds of 20 tasks send a wrong password once."""

    async with ScriptedServer(respond(status, *BODIES[body])) as server:
        source = ApiKeySource(AuthClient(server.site), USERNAME, "a guess")
        for _ in range(10):
            tasks = [source.get() for _ in range(20)]
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert {getattr(error, "status_code", None) for error in results} == {status}
        assert len(server.requests) == 1


@pytest.mark.parametrize("remaining", [0, 1, 2])
@pytest.mark.parametrize("status", [401, 500])
async def test_last_attempt_is_not_used(status: int, remaining: int) -> None:
    """A server that fails may have counted an attempt, such as one without its LDAP directory."""

    body = AUTH_FAILED if status == 401 else {"result": "error", "msg": "Internal error"}
    fail = respond(status, body, {"X-RateLimit-Remaining": str(remaining)})
    async with ScriptedServer(fail, succeed) as server:
        source = ApiKeySource(AuthClient(server.site), USERNAME, PASSWORD)
        with pytest.raises(zulip_auth.APIStatusError) as caught:
            await source.get()
        assert getattr(caught.value, "attempts_remaining", None) == remaining
        if remaining > 1 and status == 500:
            assert (await source.get()).email == USERNAME
            return
        for _ in range(3):
            with pytest.raises(type(caught.value)):
                await source.get()
        assert len(server.requests) == 1
        source.reset()
        assert (await source.get()).email == USERNAME


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
        with pytest.raises(zulip_auth.InvalidApiKeyError) as caught:
            await source.refresh(stale)
        assert caught.value.status_code == 401
        assert str(caught.value) == (
            f"{server.site} rejects the API key that it just issued. A proxy may be stripping "
            "the Authorization header. Try again in a minute."
        )
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
    stale = await source_for(server, store=ZuliprcStore(path)).get()
    server.account(USERNAME).regenerate_api_key()
    client = AuthClient(server.site, retry=RetryPolicy(attempts=1))
    source = ApiKeySource(client, USERNAME, PASSWORD, store=ZuliprcStore(path))
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
    for _ in range(3):
        with pytest.raises(AuthenticationFailedError):
            await source.get()
    assert logins(server) == 3


async def test_refresh_during_a_login(server: FakeZulip) -> None:
    """A login that started before the key was rejected does not stop it."""
    asked, release = asyncio.Event(), asyncio.Event()

    async def password() -> str:
        if release.is_set():
            server.account(USERNAME).regenerate_api_key()
        asked.set()
        await release.wait()
        return PASSWORD

    source = source_for(server, password)
    old_key = server.account(USERNAME).api_key
    getting = asyncio.create_task(source.get())
    await asked.wait()
    refreshing = asyncio.create_task(source.refresh(Credentials(server.site, USERNAME, old_key)))
    await asyncio.sleep(0)
    release.set()
    assert (await getting).api_key == old_key
    assert (await refreshing).api_key == server.account(USERNAME).api_key != old_key
    assert await source.get() is await refreshing
    assert logins(server) == 2


@pytest.mark.parametrize("stale", ["the key itself", None])
async def test_refresh_with_an_invalid_argument(server: FakeZulip, stale: Any) -> None:
    message = rf"^stale must be a Credentials instance, not {type(stale).__name__}\.$"
    with pytest.raises(zulip_auth.InvalidInputError, match=message) as caught:
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
    source = source_for(server, store=ZuliprcStore(path) if has_file else None)
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
def test_event_loops_of_other_threads(server: FakeZulip, state: str) -> None:
    """A login in one event loop serves all; a known key needs none."""
    started, release = threading.Event(), threading.Event()

    async def password() -> str:
        started.set()
        await asyncio.to_thread(release.wait, 10)
        return PASSWORD

    source = source_for(server, password)
    with ThreadPoolExecutor() as executor:
        first = executor.submit(asyncio.run, source.get())
        assert started.wait(10)
        if state == "after a login":
            release.set()
            first.result(10)
        others = [executor.submit(asyncio.run, source.get()) for _ in range(3)]
        release.set()
        results = [future.result(10) for future in (first, *others)]
    assert len({id(credentials) for credentials in results}) == 1
    assert logins(server) == 1


def test_event_loop_of_another_thread_ends(
    server: FakeZulip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who wait for its login start one of their own."""
    monkeypatch.setattr("zulip_auth._key_source._FOREIGN_LOOP_CHECK", 0.01)
    started, waiting = threading.Event(), threading.Event()
    first = asyncio.new_event_loop()

    async def password() -> str:
        if asyncio.get_running_loop() is first:
            started.set()
            await asyncio.to_thread(waiting.wait, 10)
            first.stop()
            await asyncio.Event().wait()
        return PASSWORD

    async def get() -> Credentials:
        getting = asyncio.create_task(source.get())
        await asyncio.sleep(0)
        waiting.set()
        return await getting

    source = source_for(server, password)
    abandoned = first.create_task(source.get())
    with ThreadPoolExecutor() as executor:
        running = executor.submit(first.run_forever)
        assert started.wait(10)
        assert asyncio.run(asyncio.wait_for(get(), 10)).email == USERNAME
        running.result(10)
    for task in asyncio.all_tasks(first):
        task.cancel()
    first.run_until_complete(asyncio.wait({abandoned}))
    first.run_until_complete(first.shutdown_default_executor())
    first.close()
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


def test_fork_while_another_thread_has_the_lock(server: FakeZulip) -> None:
    source = source_for(server)
    with ThreadPoolExecutor(1) as other:
        other.submit(source._lock.acquire).result()
        source._pid = -1  # it was created in another process
        assert asyncio.run(source.get()).email == USERNAME


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
    calls = 0

    async def ask() -> str:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return PASSWORD

    source = source_for(server, ask)
    assert calls == 0
    await asyncio.gather(*(source.get() for _ in range(10)))
    stale = await source.get()
    assert calls == 1
    server.account(USERNAME).regenerate_api_key()
    await source.refresh(stale)
    assert calls == 2


async def test_password_function_failure_is_not_remembered(
    server: FakeZulip,
) -> None:
    results: list[Any] = [OSError("no pass"), 7, "", PASSWORD]

    async def ask() -> str:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[no-any-return]

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

    for password, message in (
        (cancelled, "The password callback was cancelled."),
        (lambda: PASSWORD, "password must be a str or an async function."),
    ):
        with pytest.raises(zulip_auth.InvalidInputError) as caught:
            await source_for(server, password).get()
        assert str(caught.value) == message
        SecretScanner(PASSWORD).check_error(caught.value)
    assert logins(server) == 0


async def test_cancelled_login_starts_again(server: FakeZulip) -> None:
    """Other code, such as a test runner, may cancel all tasks of an event loop."""
    started = asyncio.Event()

    async def hang() -> str:
        started.set()
        await asyncio.Event().wait()
        return PASSWORD

    source = source_for(server, hang)
    getting = asyncio.create_task(source.get())
    await started.wait()
    for _ in range(2):
        operation_task(source).cancel()
        started.clear()
        await started.wait()
    assert not getting.done()
    getting.cancel()
    operation_task(source).cancel()
    await asyncio.wait({getting, operation_task(source)})


async def test_password_function_cancels_its_task(server: FakeZulip) -> None:
    calls: list[None] = []

    async def cancel() -> str:
        calls.append(None)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return PASSWORD

    with pytest.raises(InvalidInputError, match=r"^The password function was cancelled repeat"):
        await source_for(server, cancel).get()
    assert len(calls) == 4


async def test_password_function_waits_for_its_source(server: FakeZulip) -> None:
    async def ask_source() -> str:
        return (await source.get()).api_key

    source = source_for(server, ask_source)
    with pytest.raises(InvalidInputError, match=r"must not wait for its own source\.$"):
        await source.get()
    assert logins(server) == 0


async def test_login_cancelled_before_its_first_step(server: FakeZulip) -> None:
    source = source_for(server)
    getting = asyncio.create_task(source.get())
    await asyncio.sleep(0)
    operation_task(source).cancel()
    assert (await getting).email == USERNAME
    assert logins(server) == 1


@pytest.mark.parametrize(
    "exc_type",
    [OSError, SystemExit, KeyboardInterrupt, pytest.skip.Exception, MemoryError],
    ids=lambda exc_type: exc_type.__name__,
)
def test_password_function_exception_reaches_all(
    server: FakeZulip, exc_type: type[BaseException]
) -> None:
    """An exception of any class is raised to all callers, with its variables."""
    error = exc_type("broken")

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
    assert [frame.f_code.co_name for frame in frames].count("call") == 1  # not one for each caller
    source.reset()
    caught.clear()
    asyncio.run(main())
    assert caught == [error] * 5


@pytest.mark.parametrize(
    ("username", "password", "options"),
    [
        ("", PASSWORD, {}),
        (7, PASSWORD, {}),
        (USERNAME, "s3cret\n", {}),
        (USERNAME, None, {}),
        (USERNAME, PASSWORD, {"store": "~/.zuliprc"}),
    ],
)
def test_invalid_arguments(username: Any, password: Any, options: dict[str, Any]) -> None:
    client = AuthClient("chat.example.com")
    with pytest.raises(InvalidInputError, match=r"^(username|password|store) ") as caught:
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
    assert repr(source) == f"<ApiKeySource {server.site}>"
    assert repr(ApiKeySource.__new__(ApiKeySource)) == "<ApiKeySource without a site>"
    assert "'value'" not in repr(vars(source))
    SecretScanner(PASSWORD, server.account(USERNAME).api_key).check(
        repr(vars(source)), "its variables"
    )


# ---- Between two runs


async def test_zuliprc_saves_a_login(server: FakeZulip, path: Path) -> None:
    first = await source_for(server, store=ZuliprcStore(path)).get()
    assert Credentials.load(path) == first
    assert await source_for(server, store=ZuliprcStore(str(path))).get() == first
    assert logins(server) == 1


async def test_zuliprc_with_plain_http(path: Path) -> None:
    """The client has allowed it, so the saved key is used."""
    async with ScriptedServer(succeed) as server:
        client = AuthClient(f"http://0.0.0.0:{server.port}", allow_http=True)
        for _ in range(2):
            store = ZuliprcStore(path, allow_http=True)
            source = ApiKeySource(client, USERNAME, PASSWORD, store=store)
            assert (await source.get()).site == client.site
        assert len(server.requests) == 1


async def test_zuliprc_with_a_revoked_key(server: FakeZulip, path: Path) -> None:
    await source_for(server, store=ZuliprcStore(path)).get()
    server.account(USERNAME).regenerate_api_key()
    source = source_for(server, store=ZuliprcStore(path))
    fresh = await source.refresh(await source.get())
    assert fresh.api_key == Credentials.load(path).api_key == server.account(USERNAME).api_key
    assert logins(server) == 2


async def test_zuliprc_changed_by_another_process(server: FakeZulip, path: Path) -> None:
    source = source_for(server, store=ZuliprcStore(path))
    stale = await source.get()
    server.account(USERNAME).regenerate_api_key()
    evolve(stale, api_key=server.account(USERNAME).api_key).save(path)
    assert (await source.refresh(stale)).api_key == server.account(USERNAME).api_key
    assert logins(server) == 1


async def test_zuliprc_without_a_key(server: FakeZulip, path: Path) -> None:
    path.write_text("[api]\ncolor = red\n")
    path.chmod(0o600)
    credentials = await source_for(server, store=ZuliprcStore(path)).get()
    assert Credentials.load(path) == credentials
    assert "color = red" in path.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("precious", "{path} is not a zuliprc: "),
        ("[api]\nkey = x\n", "No site and no email in section [api] of {path}."),
        (
            "[api]\nkey=x\nemail=a@b.c\nsite=https://x.org\n",
            "<ZuliprcStore {path}> contains a different account.",
        ),
    ],
    ids=["other file", "no site", "other account"],
)
async def test_zuliprc_that_is_unusable(
    server: FakeZulip, path: Path, content: str, message: str
) -> None:
    path.write_text(content)
    path.chmod(0o600)
    source = source_for(server, store=ZuliprcStore(path))
    with pytest.raises(CredentialStoreError) as caught:
        await source.get()
    assert str(caught.value).startswith(message.format(path=path))
    assert path.read_text() == content
    assert not server.requests
    path.unlink()
    assert (await source.get()).email == USERNAME


async def test_zuliprc_of_another_account(server: FakeZulip, path: Path) -> None:
    Credentials(server.site, "hamlet@zulip.com", "x").save(path)
    with pytest.raises(CredentialStoreError, match="contains a different account"):
        await source_for(server, store=ZuliprcStore(path)).get()


async def test_zuliprc_with_an_ldap_name(path: Path) -> None:
    """The name of the login is saved next to the key, since the server returns an email address."""
    async with ScriptedServer(succeed) as server:
        client = AuthClient(server.site)
        first = await ApiKeySource(client, "JDoe", PASSWORD, store=ZuliprcStore(path)).get()
        assert first.email == USERNAME
        for name in ("jdoe", "JDoe", USERNAME):
            assert (
                await ApiKeySource(client, name, PASSWORD, store=ZuliprcStore(path)).get() == first
            )
        for name in ("hamlet", "hamlet@zulip.com"):
            with pytest.raises(CredentialStoreError, match="contains a different account"):
                await ApiKeySource(client, name, PASSWORD, store=ZuliprcStore(path)).get()
        assert len(server.requests) == 1
        assert Credentials.load(path) == first


async def test_zuliprc_of_a_similar_ldap_name(path: Path) -> None:
    """`str.casefold` makes "groß" and "gross" the same, which are two accounts."""
    async with ScriptedServer(succeed) as server:
        client = AuthClient(server.site)
        await ApiKeySource(client, "gross", PASSWORD, store=ZuliprcStore(path)).get()
        with pytest.raises(CredentialStoreError, match="contains a different account"):
            await ApiKeySource(client, "groß", PASSWORD, store=ZuliprcStore(path)).get()


async def test_zuliprc_without_an_ldap_name(path: Path) -> None:
    """An LDAP name cannot be compared with an email address; one login saves it."""
    async with ScriptedServer(succeed) as server:
        client = AuthClient(server.site)
        await ApiKeySource(client, USERNAME, PASSWORD, store=ZuliprcStore(path)).get()
        for _ in range(3):
            source = ApiKeySource(client, "jdoe", PASSWORD, store=ZuliprcStore(path))
            assert (await source.get()).email == USERNAME
        assert len(server.requests) == 2


async def test_zuliprc_with_a_name_that_is_the_email(server: FakeZulip, path: Path) -> None:
    server.realm.email_usernames = False
    server.add_user("iago", PASSWORD)
    for _ in range(2):
        source = ApiKeySource(AuthClient(server.site), "iago", PASSWORD, store=ZuliprcStore(path))
        assert (await source.get()).email == "iago"
    assert logins(server) == 1
    assert "login_name" not in path.read_text()


@pytest.mark.parametrize("kind", ["missing directory", "symbolic link"])
async def test_zuliprc_that_cannot_be_saved(server: FakeZulip, tmp_path: Path, kind: str) -> None:
    """That is an error before the password is sent, and is not remembered."""
    path = tmp_path / "directory" / "zuliprc"
    if kind == "symbolic link":
        path.parent.mkdir()
        path.symlink_to(tmp_path / "target")
    source = source_for(server, store=ZuliprcStore(path))
    for _ in range(2):
        with pytest.raises(ZuliprcError):
            await source.get()
    assert not server.requests
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    assert (await source.get()).email == USERNAME


async def test_zuliprc_that_fails_after_the_login(
    server: FakeZulip, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A save that fails in any way leaves the key to its callers."""
    path = tmp_path / "zuliprc"

    async def password() -> str:
        path.symlink_to("elsewhere")
        return PASSWORD

    source = source_for(server, password, store=ZuliprcStore(path))
    with caplog.at_level(logging.WARNING, "zulip_auth"):
        assert (await source.get()).email == USERNAME
    assert await source.get() is await source.get()
    [record] = caplog.records
    assert record.getMessage().startswith("Logged in, but could not save the API key: ")


class HangingStore:
    """A store that never responds, such as a keyring that waits for a prompt."""

    def __init__(self, method: str) -> None:
        self._method = method

    async def _respond(self, method: str) -> None:
        if method == self._method:
            await asyncio.Event().wait()

    async def load(self) -> Credentials | None:
        await self._respond("load")
        return None

    async def save(self, _credentials: Credentials) -> None:
        await self._respond("save")

    async def check(self) -> None:
        await self._respond("check")

    def __repr__(self) -> str:
        return "<HangingStore>"


@pytest.mark.parametrize("method", ["load", "check", "save"])
async def test_store_that_hangs(
    method: str, server: FakeZulip, caplog: pytest.LogCaptureFixture
) -> None:
    client = AuthClient(server.site, timeout=0.3)
    source = ApiKeySource(client, USERNAME, PASSWORD, store=HangingStore(method))
    message = (
        f"Could not {'read' if method == 'load' else 'write'} <HangingStore>: no response in 0.3 s."
    )
    async with asyncio.timeout(10):
        results = await asyncio.gather(*(source.get() for _ in range(5)), return_exceptions=True)
    if method == "save":
        assert logins(server) == len(set(results)) == 1
        [record] = caplog.records
        assert record.getMessage() == f"Logged in, but could not save the API key: {message}"
    else:
        assert {type(error) for error in results} == {CredentialStoreError}
        assert {str(error) for error in results} == {message}
        assert not server.requests


async def test_zuliprc_that_hangs(server: FakeZulip, path: Path) -> None:
    """A FIFO without a writer blocks its reader; the thread must not block the exit."""
    os.mkfifo(path, 0o600)
    client = AuthClient(server.site, timeout=0.1)
    source = ApiKeySource(client, USERNAME, PASSWORD, store=ZuliprcStore(path))
    with pytest.raises(CredentialStoreError, match=r"no response in 0\.1 s"):
        await source.get()
    threads = [thread for thread in threading.enumerate() if thread.name == "zulip-auth"]
    assert threads
    assert all(thread.daemon for thread in threads)
    path.open("w").close()
    for thread in threads:
        await asyncio.to_thread(thread.join, 10)
    assert not server.requests


class FailingStore:
    """A store that raises *error*."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def load(self) -> Credentials | None:
        raise self._error

    async def save(self, credentials: Credentials) -> None:
        raise AssertionError


@pytest.mark.parametrize("error", [TimeoutError("the database is slow"), OSError("no database")])
async def test_error_of_a_store_is_raised(error: Exception, server: FakeZulip) -> None:
    with pytest.raises(type(error), match="database"):
        await source_for(server, store=FailingStore(error)).get()
    with pytest.raises(type(error), match="database"):
        await ApiKeySource.from_store(FailingStore(error)).get()


async def test_warning_as_error_reaches_all_callers(server: FakeZulip, path: Path) -> None:
    """A zuliprc that other users can read has a warning, which may be an error."""
    await source_for(server, store=ZuliprcStore(path)).get()
    path.chmod(0o644)
    source = source_for(server, store=ZuliprcStore(path))
    for _ in range(2):
        results = await asyncio.gather(*(source.get() for _ in range(5)), return_exceptions=True)
        assert {type(error) for error in results} == {UserWarning}
    path.chmod(0o600)
    assert (await source.get()).email == USERNAME
    assert logins(server) == 1


async def test_thread_that_cannot_start(
    server: FakeZulip, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    source = source_for(server, store=ZuliprcStore(path))
    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", fail)
        results = await asyncio.gather(*(source.get() for _ in range(5)), return_exceptions=True)
    assert {f"{error}" for error in results} == {"can't start new thread"}
    assert (await source.get()).email == USERNAME


async def test_default_executor_that_was_shut_down(server: FakeZulip, path: Path) -> None:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, int)
    await loop.shutdown_default_executor()
    assert (await source_for(server, store=ZuliprcStore(path)).get()).email == USERNAME
    assert Credentials.load(path).email == USERNAME


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


# ---- A key without a password


@pytest.fixture
def bot(server: FakeZulip, path: Path) -> Credentials:
    """The credentials of a bot, saved in a zuliprc."""
    account = server.add_bot(USERNAME, "Helper")
    credentials = Credentials(server.site, account.email, account.api_key, account.user_id)
    credentials.save(path)
    return credentials


def replace_key(server: FakeZulip, bot: Credentials) -> Credentials:
    account = server.account(bot.email)
    account.regenerate_api_key()
    return evolve(bot, api_key=account.api_key)


async def test_from_zuliprc(server: FakeZulip, bot: Credentials, path: Path) -> None:
    source = ApiKeySource.from_zuliprc(path)
    path.unlink()  # it is read again after a rejection only
    assert await source.get() == bot
    assert source.site == server.site
    assert repr(source) == f"<ApiKeySource {server.site}>"
    SecretScanner(bot.api_key).check(repr(vars(source)), "its attributes")


async def test_from_zuliprc_by_default(
    bot: Credentials, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZULIP_CONFIG", str(path))
    assert await ApiKeySource.from_zuliprc().get() == bot


async def test_from_zuliprc_with_a_section(bot: Credentials, path: Path) -> None:
    path.write_text(path.read_text().replace("[api]", "[helper]"))
    assert await ApiKeySource.from_zuliprc(path, section="helper").get() == bot
    with pytest.raises(zulip_auth.NotLoggedInError):
        ApiKeySource.from_zuliprc(path)


def test_from_zuliprc_with_plain_http(path: Path) -> None:
    path.write_text("[api]\nemail = a@example.com\nkey = k\nsite = http://chat.example.com\n")
    path.chmod(0o600)
    with pytest.raises(ZuliprcError):
        ApiKeySource.from_zuliprc(path)
    source = ApiKeySource.from_zuliprc(path, allow_http=True)
    assert source.site == "http://chat.example.com"


def test_from_zuliprc_without_a_file(path: Path) -> None:
    with pytest.raises(zulip_auth.NotLoggedInError):
        ApiKeySource.from_zuliprc(path)


async def test_from_zuliprc_with_a_replaced_key(
    server: FakeZulip, bot: Credentials, path: Path
) -> None:
    """A key that is replaced on disk is used by a running bot, without a login."""
    source = ApiKeySource.from_zuliprc(path)
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=server.site) as client:
        assert (await client.get("/api/v1/users/me")).status_code == 200
        replace_key(server, bot).save(path)
        responses = await asyncio.gather(*(client.get("/api/v1/users/me") for _ in range(20)))
        assert {response.status_code for response in responses} == {200}
    assert (await source.get()).api_key == server.account(bot.email).api_key
    assert logins(server) == 0


async def test_from_zuliprc_with_a_revoked_key(
    server: FakeZulip, bot: Credentials, path: Path
) -> None:
    """Each rejection looks into the file; the key is not locked away."""
    source = ApiKeySource.from_zuliprc(path)
    current = replace_key(server, bot)
    for _ in range(3):
        tasks = [source.refresh(bot) for _ in range(10)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {str(error) for error in results} == {
            f"{server.site} rejected the API key from <ZuliprcStore {path}>. Store a valid one "
            "there."
        }
        assert await source.get() == bot
    with pytest.raises(zulip_auth.InvalidApiKeyError) as caught:
        await source.refresh(bot)
    assert caught.value.status_code == 401
    SecretScanner(bot.api_key).check_error(caught.value)
    current.save(path)
    results = await asyncio.gather(*(source.refresh(bot) for _ in range(20)))
    assert set(results) == {current}
    assert await source.get() == current
    assert not server.requests


async def test_webhook_bot_keeps_its_key(server: FakeZulip, bot: Credentials, path: Path) -> None:
    """The server rejects the key for one endpoint and accepts it for another."""
    source = ApiKeySource.from_zuliprc(path)
    forbidden = {"result": "error", "msg": "This API is not available to incoming webhook bots."}
    challenge = {"WWW-Authenticate": 'Basic realm="zulip"'}
    server.fail_next("/api/v1/messages", times=2, status=401, json=forbidden, headers=challenge)
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=server.site) as http:
        for _ in range(2):
            response = await http.get("/api/v1/messages")
            assert (response.status_code, response.json()) == (401, forbidden)
            assert (await http.get("/api/v1/users/me")).status_code == 200


async def test_wait_for_a_key_that_a_person_replaces(
    server: FakeZulip, bot: Credentials, path: Path
) -> None:
    source = ApiKeySource.from_zuliprc(path, wait=10)
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=server.site) as http:
        new = replace_key(server, bot)
        requests = [asyncio.create_task(http.get("/api/v1/users/me")) for _ in range(5)]
        await server.wait_for("GET", "/api/v1/users/me", count=5)
        new.save(path)
        assert {r.status_code for r in await asyncio.gather(*requests)} == {200}


async def test_wait_ends(server: FakeZulip, bot: Credentials, path: Path) -> None:
    source = ApiKeySource.from_zuliprc(path, wait=0.2)
    replace_key(server, bot)
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=server.site) as http:
        with seconds_between(0.2, 2):
            assert (await http.get("/api/v1/users/me")).status_code == 401
        with seconds_between(0, 0.2):  # it waits once for each key
            assert (await http.get("/api/v1/users/me")).status_code == 401
    with pytest.raises(InvalidInputError, match="wait must be"):
        ApiKeySource.from_zuliprc(path, wait=-1)


async def test_from_zuliprc_with_another_site(
    server: FakeZulip, bot: Credentials, path: Path
) -> None:
    """The key of another organization is not sent to this one."""
    source = ApiKeySource.from_zuliprc(path)
    evolve(bot, site="https://chat.example.com", api_key="other").save(path, overwrite=True)
    with pytest.raises(CredentialStoreError) as caught:
        await source.refresh(bot)
    assert str(caught.value) == (
        f"The site in <ZuliprcStore {path}> is not {server.site}. Create another ApiKeySource."
    )


async def test_from_env(bot: Credentials, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZULIP_SITE", bot.site)
    monkeypatch.setenv("ZULIP_EMAIL", bot.email)
    monkeypatch.setenv("ZULIP_API_KEY", bot.api_key)
    monkeypatch.setenv("ZULIP_CONFIG", str(path.with_name("missing")))
    source = ApiKeySource.from_env()
    assert await source.get() == evolve(bot, user_id=None)
    with pytest.raises(zulip_auth.InvalidApiKeyError, match="API key from <the environment"):
        await source.refresh(bot)
    with pytest.raises(CredentialStoreError, match="cannot be replaced there"):
        await source.rotate()
    assert await source.get() == evolve(bot, user_id=None)
    monkeypatch.setenv("ZULIP_API_KEY", "new")
    assert (await source.refresh(bot)).api_key == "new"


async def test_from_store(server: FakeZulip, bot: Credentials, path: Path) -> None:
    source = ApiKeySource.from_store(ZuliprcStore(path))
    with pytest.raises(InvalidInputError, match="known after the first call of get"):
        _ = source.site
    assert repr(source) == "<ApiKeySource without a site>"
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=server.site) as http:
        assert (await http.get("/api/v1/users/me")).status_code == 200
    assert source.site == server.site
    path.unlink()
    with pytest.raises(zulip_auth.NotLoggedInError):
        await ApiKeySource.from_store(ZuliprcStore(path)).get()


async def test_from_credentials(server: FakeZulip, bot: Credentials) -> None:
    source = ApiKeySource.from_credentials(bot)
    assert await source.get() is bot
    with pytest.raises(zulip_auth.InvalidApiKeyError, match="credentials in memory"):
        await source.refresh(bot)
    with pytest.raises(InvalidInputError, match="credentials must be an instance"):
        ApiKeySource.from_credentials(bot.basic_auth)  # type: ignore[arg-type]
    new = await source.rotate()
    assert new.api_key == server.account(bot.email).api_key
    assert await source.refresh(bot) == new


def test_pickle(bot: Credentials) -> None:
    for obj in (ApiKeySource.from_credentials(bot), AuthClient(bot.site)):
        with pytest.raises(TypeError, match=f"^cannot pickle {type(obj).__name__}: .*to the other"):
            pickle.dumps(obj)


# ---- After a login was rejected


async def test_login_error_ends_with_the_next_success(
    server: FakeZulip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deactivated, reactivated, key replaced: that ends in a login, not in the old error."""
    source, account = source_for(server), server.account(USERNAME)
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=server.site) as http:
        assert (await http.get("/api/v1/users/me")).status_code == 200
        account.active = False
        with pytest.raises(zulip_auth.UserDeactivatedError):
            await http.get("/api/v1/users/me")
        account.active = True
        advance_clock(monkeypatch, 61)
        assert (await http.get("/api/v1/users/me")).status_code == 200
        account.regenerate_api_key()
        assert (await http.get("/api/v1/users/me")).status_code == 200
    assert logins(server) == 3


async def test_login_error_is_not_raised_for_a_login_that_was_not_tried(
    server: FakeZulip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an authentication module, a source does not see a success."""
    source, account = source_for(server), server.account(USERNAME)
    stale = await source.get()
    account.active = False
    with pytest.raises(zulip_auth.UserDeactivatedError):
        await source.refresh(stale)
    account.active = True
    advance_clock(monkeypatch, 7 * 86_400)
    assert await source.get() == stale
    account.regenerate_api_key()
    assert (await source.refresh(stale)).api_key == account.api_key


# ---- Rotation


async def test_rotate(server: FakeZulip, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zulip_auth")
    source = source_for(server, store=ZuliprcStore(path))
    old = await source.get()
    new = await source.rotate()
    assert new.api_key == server.account(USERNAME).api_key != old.api_key
    assert await source.get() is new
    assert Credentials.load(path) == new
    assert await source.refresh(old) is new
    [record] = caplog.records
    assert record.getMessage() == f"Renewed the API key of {USERNAME} at {server.site}."
    assert logins(server) == 1


async def test_rotations_at_once(server: FakeZulip) -> None:
    source = source_for(server)
    await source.get()
    results = await asyncio.gather(*(source.rotate() for _ in range(3)))
    assert len({credentials.api_key for credentials in results}) == 3
    assert (await source.get()).api_key == server.account(USERNAME).api_key


async def test_rotate_uses_the_key_of_another_process(server: FakeZulip, path: Path) -> None:
    source = source_for(server, store=ZuliprcStore(path))
    old = await source.get()
    server.account(USERNAME).regenerate_api_key()
    evolve(old, api_key=server.account(USERNAME).api_key).save(path)
    assert (await source.rotate()).api_key == server.account(USERNAME).api_key


async def test_rotate_that_is_rejected_keeps_the_key(server: FakeZulip) -> None:
    source = source_for(server)
    old = await source.get()
    server.fail_next("/api/v1/users/me/api_key/regenerate", status=403, json=AUTH_FAILED)
    with pytest.raises(zulip_auth.APIStatusError):
        await source.rotate()
    assert await source.get() is old
    assert logins(server) == 1


async def test_lost_response_of_rotate(server: FakeZulip) -> None:
    source = source_for(server)
    await source.get()
    server.fail_next("/api/v1/users/me/api_key/regenerate", drop=True)
    with pytest.raises(zulip_auth.APIConnectionError, match="log in again") as caught:
        await source.rotate()
    assert caught.value.sent
    assert (await source.get()).api_key == server.account(USERNAME).api_key
    assert logins(server) == 2


async def test_rotate_checks_the_store_first(server: FakeZulip, tmp_path: Path) -> None:
    path = tmp_path / "directory" / "zuliprc"
    path.parent.mkdir()
    source = source_for(server, store=ZuliprcStore(path))
    old = await source.get()
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(ZuliprcError, match="Could not lock"):
        await source.rotate()
    assert await source.get() is old


class ReadOnlyStore:
    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def load(self) -> Credentials:
        return self._credentials

    async def save(self, credentials: Credentials) -> None:
        raise OSError("read-only database")


async def test_new_key_that_cannot_be_saved(server: FakeZulip) -> None:
    """The program goes on with the new key, and gets an error."""
    old = await source_for(server).get()
    source = ApiKeySource.from_store(ReadOnlyStore(old))
    with pytest.raises(
        CredentialStoreError, match=r"^The key was replaced, but could not be saved"
    ):
        await source.rotate()
    assert (await source.get()).api_key == server.account(USERNAME).api_key


async def test_cancelled_rotation(server: FakeZulip) -> None:
    source = source_for(server)
    await source.get()
    rotating = asyncio.create_task(source.rotate())
    await asyncio.sleep(0)
    operation_task(source).cancel()
    with pytest.raises(InvalidInputError, match="was cancelled"):
        await rotating
    assert (await source.get()).email == USERNAME


class FragileStore:
    """A store whose `save` fails while `error` is set."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        self.credentials = credentials
        self.error: BaseException | None = None

    async def load(self) -> Credentials | None:
        return self.credentials

    async def save(self, credentials: Credentials) -> None:
        if self.error is not None:
            raise self.error
        self.credentials = credentials


async def test_key_that_was_replaced_and_is_still_stored(server: FakeZulip) -> None:
    """The revoked key in the store does not replace the new one in memory."""
    old = await source_for(server).get()
    store = FragileStore(old)
    source = ApiKeySource.from_store(store)
    store.error = OSError("the disk is full")
    with pytest.raises(CredentialStoreError, match="The key was replaced, but could not be saved"):
        await source.rotate()
    new = await source.get()
    with pytest.raises(zulip_auth.InvalidApiKeyError):
        await source.refresh(new)
    assert await source.get() is new
    store.error = None
    assert (await source.rotate()).api_key == server.account(USERNAME).api_key
    assert store.credentials == await source.get()


async def test_failed_rotation_is_not_raised_to_other_callers(server: FakeZulip) -> None:
    store = FragileStore(await source_for(server).get())
    source = ApiKeySource.from_store(store)
    await source.get()
    store.error = OSError("the disk is full")
    rotating = asyncio.create_task(source.rotate())
    await asyncio.sleep(0)
    assert (await source.get()).api_key == server.account(USERNAME).api_key
    with pytest.raises(CredentialStoreError):
        await rotating


async def test_message_of_a_store_may_have_the_key(
    server: FakeZulip, caplog: pytest.LogCaptureFixture
) -> None:
    """As that of PostgreSQL, which names the row that it rejects."""
    store = FragileStore()
    source = source_for(server, store=store)
    store.error = ValueError(f"Failing row contains ({server.account(USERNAME).api_key})")
    await source.get()
    [record] = caplog.records
    assert record.getMessage() == "Logged in, but could not save the API key: ValueError."
    assert record.args == ("ValueError.",)
    with pytest.raises(CredentialStoreError, match=r"could not be saved: ValueError\."):
        await source.rotate()


@pytest.mark.parametrize("method", ["load", "save"])
async def test_store_that_is_cancelled_by_itself(method: str, server: FakeZulip) -> None:
    """A cancelled connection of a database is not the cancellation of the login."""
    store = FragileStore()
    store.error = asyncio.CancelledError()
    if method == "load":
        with pytest.raises(InvalidInputError, match="store or the transport was cancelled"):
            await source_for(server, store=EmptyLoad(store)).get()
        assert logins(server) == 0
    else:
        assert (await source_for(server, store=store).get()).email == USERNAME
        assert logins(server) == 1


async def test_login_that_is_cancelled_while_it_saves(server: FakeZulip) -> None:
    saving = asyncio.Event()

    class SlowStore(FragileStore):
        async def save(self, credentials: Credentials) -> None:
            saving.set()
            await asyncio.Event().wait()

    source = source_for(server, store=SlowStore())
    getting = asyncio.create_task(source.get())
    await saving.wait()
    task = operation_task(source)
    task.cancel()
    getting.cancel()
    await asyncio.wait({task, getting})
    assert task.cancelled()


class EmptyLoad:
    """A store whose `load` raises what another one's `save` raises."""

    def __init__(self, store: FragileStore) -> None:
        self._store = store

    async def load(self) -> Credentials | None:
        assert self._store.error is not None
        raise self._store.error

    async def save(self, credentials: Credentials) -> None:
        raise AssertionError


@pytest.mark.parametrize("kind", ["hangs", "fails at the end"])
async def test_lock_of_a_store(
    kind: str, server: FakeZulip, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LockingStore(FragileStore):
        @asynccontextmanager
        async def lock(self, timeout: float) -> AsyncIterator[None]:
            if kind == "hangs":
                await asyncio.Event().wait()
            yield
            raise OSError("the lock has expired")

        def __repr__(self) -> str:
            return "<LockingStore>"

    monkeypatch.setattr("zulip_auth._key_source._LOCK_GRACE", 0)
    client = AuthClient(server.site, timeout=0.3 if kind == "hangs" else 5)
    source = ApiKeySource(client, USERNAME, PASSWORD, store=LockingStore())
    if kind == "hangs":
        with pytest.raises(CredentialStoreError, match="Could not lock <LockingStore>: no resp"):
            await source.get()
        assert not server.requests
    else:
        for _ in range(3):
            assert (await source.get()).email == USERNAME
        assert logins(server) == 1
        assert [r.getMessage() for r in caplog.records] == [
            "Could not unlock <LockingStore>: OSError."
        ]


async def test_password_function_waits_for_its_source_in_a_task(server: FakeZulip) -> None:
    async def ask_source() -> str:
        [credentials] = await asyncio.gather(source.get())
        return credentials.api_key

    source = source_for(server, ask_source)
    with pytest.raises(InvalidInputError, match=r"must not wait for its own source\.$"):
        await source.get()


# ---- Many processes


LOG_IN = """
import asyncio, sys
from zulip_auth import ApiKeySource, AuthClient, ZuliprcStore

site, username, password, path = sys.argv[1:]
source = ApiKeySource(AuthClient(site), username, password, store=ZuliprcStore(path))
print(asyncio.run(source.get()).api_key)
"""


@pytest.mark.slow
async def test_eight_workers_log_in_once(server: FakeZulip, path: Path) -> None:
    server.password_check_time = 0.2
    arguments = (sys.executable, "-c", LOG_IN, server.site, USERNAME, PASSWORD, str(path))
    workers = [
        await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
        for _ in range(8)
    ]
    outputs = await asyncio.gather(*(worker.communicate() for worker in workers))
    assert {output.decode().strip() for output, _ in outputs} == {server.account(USERNAME).api_key}
    assert logins(server) == 1
    assert list(path.parent.iterdir()) == [path]


async def test_lock_that_cannot_be_had(server: FakeZulip, path: Path) -> None:
    store = ZuliprcStore(path)
    async with store.lock(1):
        source = ApiKeySource(AuthClient(server.site, timeout=0.2), USERNAME, PASSWORD, store=store)
        with pytest.raises(ZuliprcError) as caught:
            await source.get()
        assert not server.requests
        assert str(caught.value) == (
            f"Could not lock {path}: another process has locked {path.with_name('.zuliprc.lock')} "
            "for 0.2 s."
        )
        # A login that needs no file, and one that finds a key, are not blocked.
        credentials = await source_for(server).get()
        credentials.save(path)
        assert await source.get() == credentials
    assert list(path.parent.iterdir()) == [path]


async def test_login_waits_for_that_of_another_process(server: FakeZulip, path: Path) -> None:
    store = ZuliprcStore(path)
    source = source_for(server, store=store)
    async with store.lock(1):
        getting = asyncio.create_task(source.get())
        await asyncio.sleep(0.05)
        assert not getting.done()
        (await source_for(server).get()).save(path)
    assert (await getting).api_key == server.account(USERNAME).api_key
    assert logins(server) == 1


async def test_stored_key_waits_for_a_rotation(server: FakeZulip, path: Path) -> None:
    """Another process has revoked the key, and has not saved the new one yet."""
    store = ZuliprcStore(path)
    old = await source_for(server, store=store).get()
    source = ApiKeySource.from_zuliprc(path)
    async with store.lock(1):
        refreshing = asyncio.create_task(source.refresh(old))
        await asyncio.sleep(0.05)
        assert not refreshing.done()
        evolve(old, api_key="new").save(path)
    assert (await refreshing).api_key == "new"


async def test_from_env_with_arguments(bot: Credentials, path: Path) -> None:
    arguments: dict[str, Any] = {
        "site": bot.site,
        "email": bot.email,
        "api_key": "from-the-argument",
    }
    source = ApiKeySource.from_env(**arguments, path=path)
    assert (await source.get()).api_key == "from-the-argument"
    SecretScanner("from-the-argument").check(repr(vars(source)), "its attributes")
    with pytest.raises(ZuliprcError) as caught:
        ApiKeySource.from_env(**{**arguments, "site": "?"}, path=path)
    SecretScanner("from-the-argument").check_error(caught.value)


# ---- Chaos


CHAOS_LOOPS = int(os.environ.get("ZULIP_AUTH_CHAOS_LOOPS", "500"))
CHAOS_TASKS = 21  # for each event loop


class Chaos:
    """Use one source in one event loop after another, in as many ways as possible."""

    def __init__(self, server: FakeZulip, seed: int) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.source = source_for(server, self.password)

    async def password(self) -> str:
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        if self.random.random() < 0.1:
            errors: list[type[BaseException]] = [OSError, MemoryError, pytest.skip.Exception]
            raise self.random.choice(errors)("chaos")
        return PASSWORD

    async def call(self) -> None:
        credentials = await self.source.get()
        assert (credentials.email, credentials.site) == (USERNAME, self.server.site)
        chance = self.random.random()
        if chance < 0.2:
            assert (await self.source.refresh(credentials)).api_key != credentials.api_key
        elif chance < 0.25:
            self.server.account(USERNAME).regenerate_api_key()
        elif chance < 0.3:
            self.source.reset()

    async def task(self) -> None:
        try:
            await self.call()
        except BaseException as exc:
            self.outcomes[type(exc).__name__] += 1
            if isinstance(exc, asyncio.CancelledError):
                raise
        else:
            self.outcomes["success"] += 1

    async def main(self) -> None:
        tasks = [asyncio.create_task(self.task()) for _ in range(CHAOS_TASKS)]
        for _ in range(self.random.randint(1, 20)):
            await asyncio.sleep(0)
        for task in self.random.sample(tasks, self.random.randrange(8)):
            task.cancel()
        if self.random.random() < 0.05:
            await asyncio.to_thread(asyncio.run, self.task())
            self.outcomes["other event loop"] += 1
        if self.random.random() < 0.3:
            return  # asyncio.run cancels the tasks
        async with asyncio.timeout(60):
            await asyncio.wait(tasks)

    def run(self, loops: int) -> None:
        gc.disable()
        for _ in range(loops):
            if self.random.random() < 0.1:
                self.stop()
            asyncio.run(self.main())
        gc.enable()

    def stop(self) -> None:
        """Close an event loop in the middle, with all of its tasks."""
        loop = asyncio.new_event_loop()
        main = loop.create_task(self.main())
        for _ in range(self.random.randrange(30)):
            loop.call_soon(loop.stop)
            loop.run_forever()
        self.outcomes["stopped event loop"] += 1
        loop.set_exception_handler(lambda *_: None)  # it reports tasks that are pending
        loop.close()
        del main
        # A collection inside a callback of an event loop can crash CPython 3.11.
        gc.collect()


# An event loop that is closed during a login cannot close its sockets.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:coroutine:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_chaos(server: FakeZulip, record_property: Any) -> None:
    """Whatever happens to the event loops, each call ends, and the source goes on."""
    chaos = Chaos(server, seed=7)
    start = time.perf_counter()
    chaos.run(CHAOS_LOOPS)
    seconds = time.perf_counter() - start
    gc.collect()
    chaos.source.reset()

    async def current() -> Credentials:
        credentials = await chaos.source.get()
        if credentials.api_key != server.account(USERNAME).api_key:
            return await chaos.source.refresh(credentials)
        return credentials

    chaos.random.random = lambda: 0.9  # type: ignore[method-assign]
    assert asyncio.run(current()).api_key == server.account(USERNAME).api_key
    assert chaos.outcomes["success"] > CHAOS_LOOPS * CHAOS_TASKS / 4
    record_property("event loops", CHAOS_LOOPS)
    record_property("tasks", CHAOS_LOOPS * CHAOS_TASKS)
    record_property("logins", logins(server))
    record_property("outcomes", dict(chaos.outcomes))
    record_property("seconds", round(seconds, 1))
