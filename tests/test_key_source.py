from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import multiprocessing
import os
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import evolve

import zulip_auth
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
    InvalidInputError,
    RetryPolicy,
    ServerError,
    ZuliprcError,
)
from zulip_auth.httpx_auth import ApiKeyAuth
from zulip_auth.testing import FakeZulip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "zuliprc"


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
    """Each event loop needs a source of its own, and raises an error that explains it."""
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

    messages = set()
    with ThreadPoolExecutor() as executor:
        first = executor.submit(asyncio.run, use())
        assert started.wait(10)
        for _ in range(2):
            with pytest.raises(zulip_auth.InvalidInputError) as caught:
                asyncio.run(source.get())
            messages.add(str(caught.value))
        finished.set()
        credentials = first.result(10)
        assert asyncio.run(source.get()) is credentials
    assert messages == {
        "This ApiKeySource is in use in another event loop. "
        "Create one ApiKeySource for each event loop."
    }
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
        assert source._task is not None
        source._task.cancel()
        started.clear()
        await started.wait()
    assert not getting.done()
    getting.cancel()
    assert source._task is not None
    source._task.cancel()
    await asyncio.wait({getting, source._task})


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
    assert source._task is not None
    source._task.cancel()
    assert (await getting).email == USERNAME
    assert logins(server) == 1


@pytest.mark.parametrize(
    "exc_type",
    [OSError, SystemExit, KeyboardInterrupt, pytest.skip.Exception, GeneratorExit, MemoryError],
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


@pytest.mark.parametrize("odd", [5, "~unknown-user/x"])
def test_zuliprc_with_an_invalid_path(odd: Any) -> None:
    with pytest.raises(zulip_auth.InvalidInputError) as caught:
        ApiKeySource(AuthClient("chat.example.com"), USERNAME, PASSWORD, zuliprc=odd)
    assert str(caught.value) == "zuliprc must be a str or Path (and `~` needs a home directory)."


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
    assert repr(source) == f"<ApiKeySource {server.site}>"
    assert repr(ApiKeySource.__new__(ApiKeySource)) == "<ApiKeySource without a site>"
    assert "'value'" not in repr(vars(source))
    SecretScanner(PASSWORD, server.account(USERNAME).api_key).check(
        repr(vars(source)), "its variables"
    )


# ---- Between two runs


async def test_zuliprc_saves_a_login(server: FakeZulip, path: Path) -> None:
    first = await source_for(server, zuliprc=path).get()
    assert Credentials.load(path) == first
    assert await source_for(server, zuliprc=str(path)).get() == first
    assert logins(server) == 1


async def test_zuliprc_with_plain_http(path: Path) -> None:
    """The client has allowed it, so the saved key is used."""
    async with ScriptedServer(succeed) as server:
        client = AuthClient(f"http://0.0.0.0:{server.port}", allow_http=True)
        for _ in range(2):
            source = ApiKeySource(client, USERNAME, PASSWORD, zuliprc=path)
            assert (await source.get()).site == client.site
        assert len(server.requests) == 1


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
    path.write_text("[api]\ncolor = red\n")
    path.chmod(0o600)
    credentials = await source_for(server, zuliprc=path).get()
    assert Credentials.load(path) == credentials
    assert "color = red" in path.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("precious", "{path} is not a zuliprc: "),
        ("[api]\nkey = x\n", "No site and no email in section [api] of {path}."),
        ("[api]\nkey=x\nemail=a@b.c\nsite=https://x.org\n", "{path} contains a different account."),
    ],
    ids=["other file", "no site", "other account"],
)
async def test_zuliprc_that_is_unusable(
    server: FakeZulip, path: Path, content: str, message: str
) -> None:
    path.write_text(content)
    path.chmod(0o600)
    source = source_for(server, zuliprc=path)
    with pytest.raises(ZuliprcError) as caught:
        await source.get()
    assert str(caught.value).startswith(message.format(path=path))
    assert path.read_text() == content
    assert not server.requests
    path.unlink()
    assert (await source.get()).email == USERNAME


async def test_zuliprc_of_another_account(server: FakeZulip, path: Path) -> None:
    Credentials(server.site, "hamlet@zulip.com", "x").save(path)
    with pytest.raises(ZuliprcError, match="contains a different account"):
        await source_for(server, zuliprc=path).get()


async def test_zuliprc_with_an_ldap_name(path: Path) -> None:
    """The name of the login is saved next to the key, since the server returns an email address."""
    async with ScriptedServer(succeed) as server:
        client = AuthClient(server.site)
        first = await ApiKeySource(client, "JDoe", PASSWORD, zuliprc=path).get()
        assert first.email == USERNAME
        for name in ("jdoe", "JDoe", USERNAME):
            assert await ApiKeySource(client, name, PASSWORD, zuliprc=path).get() == first
        for name in ("hamlet", "hamlet@zulip.com"):
            with pytest.raises(ZuliprcError, match="contains a different account"):
                await ApiKeySource(client, name, PASSWORD, zuliprc=path).get()
        assert len(server.requests) == 1
        assert Credentials.load(path) == first


async def test_zuliprc_of_a_similar_ldap_name(path: Path) -> None:
    """`str.casefold` makes "groß" and "gross" the same, which are two accounts."""
    async with ScriptedServer(succeed) as server:
        client = AuthClient(server.site)
        await ApiKeySource(client, "gross", PASSWORD, zuliprc=path).get()
        with pytest.raises(ZuliprcError, match="contains a different account"):
            await ApiKeySource(client, "groß", PASSWORD, zuliprc=path).get()


async def test_zuliprc_without_an_ldap_name(path: Path) -> None:
    """An LDAP name cannot be compared with an email address; one login saves it."""
    async with ScriptedServer(succeed) as server:
        client = AuthClient(server.site)
        await ApiKeySource(client, USERNAME, PASSWORD, zuliprc=path).get()
        for _ in range(3):
            source = ApiKeySource(client, "jdoe", PASSWORD, zuliprc=path)
            assert (await source.get()).email == USERNAME
        assert len(server.requests) == 2


async def test_zuliprc_with_a_name_that_is_the_email(server: FakeZulip, path: Path) -> None:
    server.realm.email_usernames = False
    server.add_user("iago", PASSWORD)
    for _ in range(2):
        source = ApiKeySource(AuthClient(server.site), "iago", PASSWORD, zuliprc=path)
        assert (await source.get()).email == "iago"
    assert logins(server) == 1
    assert "login_name" not in path.read_text()


async def test_zuliprc_of_another_account_without_a_key(server: FakeZulip, path: Path) -> None:
    """The key could not be saved there, which is an error before the login."""
    path.write_text(f"[api]\nemail = hamlet@zulip.com\nsite = {server.site}\n")
    path.chmod(0o600)
    with pytest.raises(ZuliprcError, match="contains a different account"):
        await source_for(server, zuliprc=path).get()
    assert not server.requests


@pytest.mark.parametrize("kind", ["missing directory", "symbolic link"])
async def test_zuliprc_that_cannot_be_saved(server: FakeZulip, tmp_path: Path, kind: str) -> None:
    """That is an error before the password is sent, and is not remembered."""
    path = tmp_path / "directory" / "zuliprc"
    if kind == "symbolic link":
        path.parent.mkdir()
        path.symlink_to(tmp_path / "target")
    source = source_for(server, zuliprc=path)
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
    directory = tmp_path / "directory"
    directory.mkdir()

    async def password() -> str:
        directory.rmdir()
        return PASSWORD

    source = source_for(server, password, zuliprc=directory / "zuliprc")
    with caplog.at_level(logging.WARNING, "zulip_auth"):
        assert (await source.get()).email == USERNAME
    assert await source.get() is await source.get()
    [record] = caplog.records
    assert record.getMessage().startswith("Logged in, but could not save the API key: ")


def no_response(action: str, timeout: str) -> str:
    return (
        f"Could not {action}: no response from the file system in {timeout}. "
        "Use a regular file on a local disk."
    )


def threads_of(_path: Path) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "zulip-auth"]


async def test_zuliprc_that_hangs(server: FakeZulip, path: Path) -> None:
    """A FIFO without a writer blocks its reader; the thread must not block the exit."""
    os.mkfifo(path, 0o600)
    source = ApiKeySource(AuthClient(server.site, timeout=0.1), USERNAME, PASSWORD, zuliprc=path)
    async with asyncio.timeout(10):
        results = await asyncio.gather(*(source.get() for _ in range(5)), return_exceptions=True)
    assert {type(error) for error in results} == {ZuliprcError}
    assert {str(error) for error in results} == {no_response(f"read {path}", "0.1 s")}
    threads = threads_of(path)
    assert threads
    assert all(thread.daemon for thread in threads)
    path.open("w").close()
    for thread in threads:
        await asyncio.to_thread(thread.join, 10)
    assert not server.requests


@pytest.fixture
def lock(path: Path) -> Iterator[Callable[[], None]]:
    """Return a function that locks the zuliprc, like a program that hangs while it writes it."""
    fcntl = pytest.importorskip("fcntl")
    with ExitStack() as stack:

        def lock() -> None:
            file = stack.enter_context(path.with_name(f".{path.name}.tmp").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)

        yield lock
    for thread in threads_of(path):
        thread.join(10)


async def test_zuliprc_locked_before_the_login(
    server: FakeZulip, path: Path, lock: Callable[[], None]
) -> None:
    lock()
    source = ApiKeySource(AuthClient(server.site, timeout=0.5), USERNAME, PASSWORD, zuliprc=path)
    with pytest.raises(ZuliprcError) as caught:
        await source.get()
    assert str(caught.value) == no_response(f"write {path}", "0.5 s")
    assert not server.requests


async def test_zuliprc_locked_during_the_login(
    server: FakeZulip, path: Path, lock: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def password() -> str:
        lock()
        return PASSWORD

    source = ApiKeySource(AuthClient(server.site, timeout=0.5), USERNAME, password, zuliprc=path)
    assert (await source.get()).email == USERNAME
    [record] = caplog.records
    assert record.getMessage() == (
        f"Logged in, but could not save the API key: {no_response(f'write {path}', '0.5 s')}"
    )


async def test_warning_as_error_reaches_all_callers(server: FakeZulip, path: Path) -> None:
    """A zuliprc that other users can read has a warning, which may be an error."""
    await source_for(server, zuliprc=path).get()
    path.chmod(0o644)
    source = source_for(server, zuliprc=path)
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

    source = source_for(server, zuliprc=path)
    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", fail)
        results = await asyncio.gather(*(source.get() for _ in range(5)), return_exceptions=True)
    assert {f"{error}" for error in results} == {"can't start new thread"}
    assert (await source.get()).email == USERNAME


async def test_default_executor_that_was_shut_down(server: FakeZulip, path: Path) -> None:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, int)
    await loop.shutdown_default_executor()
    assert (await source_for(server, zuliprc=path).get()).email == USERNAME
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
    """All callers get the same error until the file changes."""
    source = ApiKeySource.from_zuliprc(path)
    current = replace_key(server, bot)
    for _ in range(3):
        tasks = [*(source.refresh(bot) for _ in range(10)), *(source.get() for _ in range(10))]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {str(error) for error in results[:10]} == {
            f"{server.site} rejected the API key from {path}. "
            "Save a valid one there, or call reset() to try it again."
        }
    with pytest.raises(zulip_auth.InvalidApiKeyError) as caught:
        await source.get()
    assert caught.value.status_code == 401
    SecretScanner(bot.api_key).check_error(caught.value)
    current.save(path)
    results = await asyncio.gather(*(source.get() for _ in range(20)))
    assert set(results) == {current}
    # The next key is found in the same way.
    with pytest.raises(zulip_auth.InvalidApiKeyError):
        await source.refresh(current)
    last = replace_key(server, bot)
    last.save(path)
    assert await source.refresh(current) == last
    assert not server.requests


async def test_from_zuliprc_after_a_reactivation(
    bot: Credentials, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same key is tried again after a minute, and after a reset."""
    source = ApiKeySource.from_zuliprc(path)
    with pytest.raises(zulip_auth.InvalidApiKeyError):
        await source.refresh(bot)
    source.reset()
    assert await source.get() == bot
    with pytest.raises(zulip_auth.InvalidApiKeyError):
        await source.refresh(bot)
    advance_clock(monkeypatch, 60)
    assert await source.get() == bot


async def test_from_zuliprc_that_hangs(
    bot: Credentials, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zulip_auth._key_source._READ_TIMEOUT", 0.1)
    source = ApiKeySource.from_zuliprc(path)
    path.unlink()
    os.mkfifo(path, 0o600)
    async with asyncio.timeout(10):
        with pytest.raises(ZuliprcError) as caught:
            await source.refresh(bot)
    assert str(caught.value) == no_response(f"read {path}", "0.1 s")
    path.open("w").close()  # ends the thread


async def test_from_zuliprc_with_another_site(
    server: FakeZulip, bot: Credentials, path: Path
) -> None:
    """The key of another organization is not sent to this one."""
    source = ApiKeySource.from_zuliprc(path)
    evolve(bot, site="https://chat.example.com", api_key="other").save(path, overwrite=True)
    with pytest.raises(ZuliprcError) as caught:
        await source.refresh(bot)
    assert str(caught.value) == (
        f"The site in {path} is not {server.site} any more. Create another ApiKeySource."
    )


async def test_from_env(bot: Credentials, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZULIP_SITE", bot.site)
    monkeypatch.setenv("ZULIP_EMAIL", bot.email)
    monkeypatch.setenv("ZULIP_API_KEY", bot.api_key)
    monkeypatch.setenv("ZULIP_CONFIG", str(path.with_name("missing")))
    source = ApiKeySource.from_env()
    assert await source.get() == evolve(bot, user_id=None)
    with pytest.raises(zulip_auth.InvalidApiKeyError, match="API key from the environment"):
        await source.refresh(bot)
    monkeypatch.setenv("ZULIP_API_KEY", "new")
    assert (await source.get()).api_key == "new"


async def test_from_env_with_arguments(bot: Credentials, path: Path) -> None:
    source = ApiKeySource.from_env(
        site=bot.site, email=bot.email, api_key="from-the-argument", path=path
    )
    assert (await source.get()).api_key == "from-the-argument"
    SecretScanner("from-the-argument").check_object(vars(source.__class__), "the class")
    SecretScanner("from-the-argument").check(repr(vars(source._backend)), "its attributes")
    with pytest.raises(ZuliprcError) as caught:
        ApiKeySource.from_env(site="?", email=bot.email, api_key="from-the-argument", path=path)
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
            elsewhere = asyncio.to_thread(asyncio.run, self.source.get())
            with pytest.raises(zulip_auth.InvalidInputError, match="in another event loop"):
                await elsewhere
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
