from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import AsyncIterator
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
from zulip_auth._key_source import _Login
from zulip_auth.testing import FakeZulip


@pytest.fixture
async def server() -> AsyncIterator[FakeZulip]:
    async with FakeZulip(users={USERNAME: PASSWORD}) as server:
        yield server


def source_for(server: FakeZulip, password: Any = PASSWORD, **options: Any) -> ApiKeySource:
    return ApiKeySource(AuthClient(server.site), USERNAME, password, **options)


def logins(server: FakeZulip) -> int:
    return [request.path for request in server.requests].count("/api/v1/fetch_api_key")


# ---- How many logins there are


async def test_a_thousand_tasks_share_one_login(server: FakeZulip) -> None:
    source = source_for(server)
    found = await asyncio.gather(*(source.get() for _ in range(1000)))
    assert {each.api_key for each in found} == {server.account(USERNAME).api_key}
    assert await source.get() is found[0]
    assert logins(server) == 1


async def test_a_wrong_password_with_a_thousand_tasks_costs_one_attempt(server: FakeZulip) -> None:
    source = source_for(server, "a guess")
    found = await asyncio.gather(*(source.get() for _ in range(1000)), return_exceptions=True)
    assert {type(each) for each in found} == {AuthenticationFailedError}
    assert len({id(each) for each in found}) == 1000  # so that no traceback grows
    for _ in range(3):
        with pytest.raises(AuthenticationFailedError) as caught:
            await source.get()
        assert caught.value.attempts_remaining == 4
        SecretScanner("a guess").check_error(caught.value)
    assert logins(server) == 1


async def test_after_a_reset_a_refused_login_is_tried_again(server: FakeZulip) -> None:
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
async def test_what_may_pass_is_not_remembered(status: int) -> None:
    refused = respond(status, {"result": "error", "msg": "Busy"})
    async with ScriptedServer(refused, succeed) as server:
        client = AuthClient(server.site, retry=RetryPolicy(attempts=1))
        source = ApiKeySource(client, USERNAME, PASSWORD)
        with pytest.raises(zulip_auth.APIStatusError):
            await source.get()
        assert (await source.get()).email == USERNAME


@pytest.mark.parametrize("status", [400, 404, 499])
async def test_any_other_refusal_is_remembered(status: int) -> None:
    refused = respond(status, {"result": "error", "msg": "No"})
    async with ScriptedServer(refused, succeed) as server:
        source = ApiKeySource(AuthClient(server.site), USERNAME, PASSWORD)
        for _ in range(2):
            with pytest.raises(zulip_auth.APIStatusError):
                await source.get()
        assert len(server.requests) == 1


async def test_a_lost_server_is_not_remembered(server: FakeZulip) -> None:
    site, retry = server.site, RetryPolicy(attempts=1)
    source = ApiKeySource(AuthClient(site, retry=retry), USERNAME, PASSWORD)
    server.__exit__(None, None, None)
    found = await asyncio.gather(*(source.get() for _ in range(10)), return_exceptions=True)
    assert {type(each) for each in found} == {zulip_auth.APIConnectionError}
    with pytest.raises(zulip_auth.APIConnectionError):
        await source.get()


# ---- A key that was revoked


async def test_a_refresh_logs_in_only_if_the_key_is_still_the_current_one(
    server: FakeZulip,
) -> None:
    source = source_for(server)
    stale = await source.get()
    server.account(USERNAME).regenerate_api_key()
    found = await asyncio.gather(*(source.refresh(stale) for _ in range(100)))
    assert {each.api_key for each in found} == {server.account(USERNAME).api_key}
    assert await source.refresh(stale) is await source.get() is found[0]
    assert logins(server) == 2


async def test_a_refresh_before_any_login_logs_in(server: FakeZulip) -> None:
    source = source_for(server)
    assert (await source.refresh(Credentials(server.site, USERNAME, "old"))).email == USERNAME
    assert logins(server) == 1


async def test_a_refused_refresh_is_remembered(server: FakeZulip) -> None:
    source = source_for(server)
    stale = await source.get()
    server.account(USERNAME).active = False
    for attempt in (source.refresh(stale), source.refresh(stale), source.get()):
        with pytest.raises(zulip_auth.UserDeactivatedError):
            await attempt
    assert logins(server) == 2


async def test_a_login_that_gives_the_refused_key_again_is_not_repeated(
    server: FakeZulip, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_for(server)
    stale = await source.get()
    for _ in range(5):
        with pytest.raises(zulip_auth.InvalidApiKeyError, match="refuses the very API key"):
            await source.refresh(stale)
    assert logins(server) == 2
    assert await source.get() == stale  # it may have been a mistake
    monkeypatch.setattr("zulip_auth._key_source._SAME_KEY_PAUSE", 0.0)  # a minute later
    server.account(USERNAME).regenerate_api_key()
    assert (await source.refresh(stale)).api_key == server.account(USERNAME).api_key
    assert logins(server) == 3


async def test_a_reset_lets_the_refused_key_be_asked_for_again(server: FakeZulip) -> None:
    source = source_for(server)
    stale = await source.get()
    with pytest.raises(zulip_auth.InvalidApiKeyError):
        await source.refresh(stale)
    server.account(USERNAME).regenerate_api_key()
    source.reset()
    assert (await source.refresh(stale)) != stale


async def test_a_refresh_is_not_content_with_the_stale_key_from_the_file(
    server: FakeZulip, path: Path
) -> None:
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


async def test_a_reset_during_a_login_counts_for_it_too(server: FakeZulip) -> None:
    source = source_for(server, "a guess")
    getting = asyncio.create_task(source.get())
    await asyncio.sleep(0)
    source.reset()
    with pytest.raises(AuthenticationFailedError):
        await getting
    with pytest.raises(AuthenticationFailedError):
        await source.get()
    assert logins(server) == 2


@pytest.mark.parametrize("stale", ["the key itself", None])
async def test_only_credentials_can_be_stale(server: FakeZulip, stale: Any) -> None:
    with pytest.raises(zulip_auth.InvalidInputError, match="stale must be Credentials") as caught:
        await source_for(server).refresh(stale)
    SecretScanner("the key itself").check_error(caught.value)


# ---- Several event loops at once


@pytest.mark.parametrize("password", [PASSWORD, "a guess"])
def test_several_event_loops_share_one_login(password: str) -> None:
    with FakeZulip(users={USERNAME: PASSWORD}) as server:
        source = source_for(server, password)
        found: list[object] = []

        async def ask() -> None:
            asking = [source.get() for _ in range(50)]
            found.extend(await asyncio.gather(*asking, return_exceptions=True))

        threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 200
        kind = Credentials if password == PASSWORD else AuthenticationFailedError
        assert {type(each) for each in found} == {kind}
        assert logins(server) == 1


def test_a_loop_that_ends_leaves_the_login_to_the_others() -> None:
    with FakeZulip(users={USERNAME: PASSWORD}) as server:
        begun, gone = threading.Event(), threading.Event()

        async def slowly() -> str:
            if begun.is_set():
                return PASSWORD
            begun.set()
            await asyncio.sleep(60)
            raise AssertionError("this loop should have ended")

        source = source_for(server, slowly)

        async def give_up() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    await source.get()

        def first() -> None:
            asyncio.run(give_up())
            gone.set()

        thread = threading.Thread(target=first)
        thread.start()
        begun.wait()
        assert asyncio.run(source.get()).email == USERNAME
        thread.join()
        assert gone.is_set()


async def test_a_login_that_has_just_ended_is_not_waited_for(server: FakeZulip) -> None:
    source = source_for(server)
    assert await source._wait() is None
    other = asyncio.new_event_loop()
    ended: asyncio.Future[Any] = other.create_future()
    other.close()
    login = _Login(asyncio.get_running_loop(), [ended])

    async def result() -> Any:
        return await AuthClient(server.site).login(USERNAME, PASSWORD)

    task = asyncio.create_task(result())
    await task
    source._end(login, task)  # who waited in the closed loop is not told
    assert not ended.done()


# ---- Cancelling


async def test_cancelling_one_who_waits_disturbs_no_other(server: FakeZulip) -> None:
    source = source_for(server)
    first, second, third = (asyncio.create_task(source.get()) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    third.cancel()
    assert (await second).email == USERNAME
    with pytest.raises(asyncio.CancelledError):
        await first
    assert logins(server) == 1


async def test_a_login_for_which_nobody_waits_any_more_is_not_lost(server: FakeZulip) -> None:
    source = source_for(server)
    waiting = asyncio.create_task(source.get())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await source.get()).email == USERNAME
    assert logins(server) == 1


async def test_a_failure_that_nobody_waits_for_is_not_reported_by_asyncio(
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


def test_it_works_in_one_event_loop_after_another() -> None:
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


async def test_the_password_is_asked_for_only_when_needed(server: FakeZulip) -> None:
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


async def test_what_goes_wrong_in_asking_comes_out_and_is_not_remembered(
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


async def test_a_password_function_may_be_cancelled_or_be_none(server: FakeZulip) -> None:
    async def cancelled() -> str:
        raise asyncio.CancelledError

    for password in (cancelled, lambda: PASSWORD):
        with pytest.raises(zulip_auth.InvalidInputError) as caught:
            await source_for(server, password).get()
        SecretScanner(PASSWORD).check_error(caught.value)
    assert logins(server) == 0


async def test_a_password_function_is_cancelled_with_its_event_loop(server: FakeZulip) -> None:
    asked = asyncio.Event()

    async def hang() -> str:
        asked.set()
        await asyncio.Event().wait()
        return PASSWORD

    source = source_for(server, hang)
    getting = asyncio.create_task(source.get())
    await asked.wait()
    for task in asyncio.all_tasks() - {asyncio.current_task(), getting}:
        if "_log_in" in repr(task):
            task.cancel()
            await asyncio.sleep(0)
            break
    asked.clear()
    await asked.wait()  # whoever still waits begins anew
    getting.cancel()
    for task in asyncio.all_tasks():
        if "_log_in" in repr(task):
            task.cancel()


@pytest.mark.parametrize("odd", [5, "~nobody-of-that-name/x"])
def test_a_zuliprc_has_to_be_a_path(odd: Any) -> None:
    with pytest.raises(zulip_auth.InvalidInputError, match="zuliprc must be"):
        ApiKeySource(AuthClient("chat.example.com"), USERNAME, PASSWORD, zuliprc=odd)


@pytest.mark.parametrize(
    ("username", "password", "options"),
    [("", PASSWORD, {}), (7, PASSWORD, {}), (USERNAME, "s3cret\n", {}), (USERNAME, None, {})],
)
def test_arguments_that_make_no_sense_are_refused(
    username: Any, password: Any, options: dict[str, Any]
) -> None:
    client = AuthClient("chat.example.com")
    with pytest.raises(zulip_auth.InvalidInputError, match=r"^(username|password) ") as caught:
        ApiKeySource(client, username, password, **options)
    SecretScanner("s3cret").check_error(caught.value)


def test_a_client_is_needed() -> None:
    with pytest.raises(
        zulip_auth.InvalidInputError, match="client must be an instance of AuthClient"
    ):
        ApiKeySource("chat.example.com", USERNAME, PASSWORD)  # type: ignore[arg-type]


async def test_it_shows_where_it_leads_and_no_secret(server: FakeZulip) -> None:
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


async def test_the_next_run_needs_no_login(server: FakeZulip, path: Path) -> None:
    first = await source_for(server, zuliprc=path).get()
    assert Credentials.load(path) == first
    assert await source_for(server, zuliprc=str(path)).get() == first
    assert logins(server) == 1


async def test_a_stored_key_that_was_revoked_is_replaced(server: FakeZulip, path: Path) -> None:
    await source_for(server, zuliprc=path).get()
    server.account(USERNAME).regenerate_api_key()
    source = source_for(server, zuliprc=path)
    fresh = await source.refresh(await source.get())
    assert fresh.api_key == Credentials.load(path).api_key == server.account(USERNAME).api_key
    assert logins(server) == 2


async def test_what_another_process_has_stored_since_is_taken(
    server: FakeZulip, path: Path
) -> None:
    source = source_for(server, zuliprc=path)
    stale = await source.get()
    server.account(USERNAME).regenerate_api_key()
    evolve(stale, api_key=server.account(USERNAME).api_key).save(path)
    assert (await source.refresh(stale)).api_key == server.account(USERNAME).api_key
    assert logins(server) == 1


async def test_a_file_without_a_key_is_completed(server: FakeZulip, path: Path) -> None:
    path.write_text("[api]\ncolour = red\n")
    path.chmod(0o600)
    found = await source_for(server, zuliprc=path).get()
    assert Credentials.load(path) == found
    assert "colour = red" in path.read_text()


@pytest.mark.parametrize(
    "content", ["precious", "[api]\nkey = x\n", "[api]\nkey=x\nemail=a@b.c\nsite=https://x.org\n"]
)
async def test_another_accounts_file_is_left_alone_before_any_request(
    server: FakeZulip, path: Path, content: str
) -> None:
    path.write_text(content)
    path.chmod(0o600)
    source = source_for(server, zuliprc=path)
    with pytest.raises(ZuliprcError):
        await source.get()
    assert path.read_text() == content
    assert not server.requests
    path.unlink()
    assert (await source.get()).email == USERNAME


async def test_another_account_of_the_site_is_not_mistaken_for_this_one(
    server: FakeZulip, path: Path
) -> None:
    Credentials(server.site, "hamlet@zulip.com", "x").save(path)
    with pytest.raises(ZuliprcError, match="holds another account"):
        await source_for(server, zuliprc=path).get()


async def test_a_name_that_is_no_address_cannot_be_compared_and_so_logs_in(
    server: FakeZulip, path: Path
) -> None:
    server.realm.email_usernames = False
    server.add_user("iago", PASSWORD)
    for _ in range(2):
        source = ApiKeySource(AuthClient(server.site), "iago", PASSWORD, zuliprc=path)
        assert (await source.get()).email == "iago"
    assert logins(server) == 2


async def test_a_key_that_cannot_be_kept_is_used_all_the_same(
    server: FakeZulip, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_for(server, zuliprc=tmp_path / "missing" / "zuliprc")
    with caplog.at_level(logging.WARNING, "zulip_auth"):
        assert (await source.get()).email == USERNAME
    [record] = caplog.records
    assert record.getMessage() == (
        f"Logged in, but the key is not kept. {tmp_path}/missing/zuliprc cannot be written: "
        "No such file or directory."
    )


async def test_a_timeout_of_one_who_waits_is_not_the_logins() -> None:
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
