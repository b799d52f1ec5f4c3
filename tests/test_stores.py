from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import keyring
import pytest
from attrs import evolve
from keyring.backends.fail import Keyring as FailKeyring
from keyring.backends.null import Keyring as NullKeyring

import zulip_auth
from helpers.cli_runner import InMemoryKeyring
from helpers.errors import error_of
from zulip_auth import (
    ConfigurationError,
    Credentials,
    CredentialStoreError,
    KeyringError,
    KeyringStore,
    ZuliprcError,
    ZuliprcStore,
)
from zulip_auth._stores import StoreAccess, has_keyring

KEY = "a" * 32
CREDENTIALS = Credentials("https://chat.example.com", "iago@zulip.com", KEY, 10)


def keyring_store() -> KeyringStore:
    return KeyringStore("chat.example.com", "iago@zulip.com")


# ---- A zuliprc


async def test_zuliprc(path: Path) -> None:
    store = ZuliprcStore(path)
    assert repr(store) == f"<ZuliprcStore {path}>"
    assert await store.load() is None
    await store.check()
    await store.save(CREDENTIALS)
    assert await store.load() == CREDENTIALS == Credentials.load(path)
    helper = ZuliprcStore(path, section="helper", allow_http=True)
    assert await helper.load() is None
    for key in ("b", "c"):
        bot = Credentials("http://chat.example.com", "helper-bot@zulip.com", key)
        await helper.save(bot)
        assert await helper.load() == bot
    with pytest.raises(ZuliprcError, match="Plain http"):
        await ZuliprcStore(path, section="helper").load()
    assert await store.load() == CREDENTIALS


async def test_zuliprc_that_cannot_be_used(path: Path) -> None:
    """An empty file has another result."""
    path.write_text("precious")
    store = ZuliprcStore(path)
    for access in (store.load(), store.save(CREDENTIALS)):
        with pytest.raises(ZuliprcError, match="is not a zuliprc"):
            await access
    with pytest.raises(ZuliprcError, match="Could not write"):
        await ZuliprcStore(path / "x").check()


async def test_cancelled_lock_is_released(path: Path) -> None:
    """The thread that waits for it gives it back."""
    store = ZuliprcStore(path)

    async def wait_for_lock() -> None:
        async with store.lock(10):
            raise AssertionError

    async with store.lock(1):
        waiting = asyncio.create_task(wait_for_lock())
        while not path.with_name(".zuliprc.lock").exists():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        waiting.cancel()
        await error_of(asyncio.CancelledError, waiting)
    async with store.lock(10):
        pass
    for thread in threading.enumerate():
        if thread.name == "zulip-auth":
            await asyncio.to_thread(thread.join, 10)
    assert list(path.parent.iterdir()) == []


async def test_lock_without_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems."""

    def flock(*_args: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("zulip_auth._zuliprc.fcntl.flock", flock)
    with pytest.raises(ZuliprcError) as caught:
        async with ZuliprcStore(path).lock(10):
            raise AssertionError
    assert str(caught.value) == f"Could not lock {path}: No locks available."


async def test_forked_process_leaves_the_lock_of_its_parent(path: Path) -> None:
    """A copy of the parent's frames ends in the child, and neither removes nor releases it."""
    store = ZuliprcStore(path)
    lock = store.lock(1)
    await lock.__aenter__()
    pid = os.fork()
    if not pid:  # pragma: no cover - the child
        with suppress(BaseException):
            lock.__aexit__(None, None, None).send(None)
        os._exit(0)
    await asyncio.to_thread(os.waitpid, pid, 0)
    assert path.with_name(".zuliprc.lock").exists()
    with pytest.raises(ZuliprcError, match="another process has locked"):
        async with store.lock(0.05):
            raise AssertionError
    await lock.__aexit__(None, None, None)
    assert list(path.parent.iterdir()) == []


# ---- The system keyring


async def test_keyring(memory: InMemoryKeyring) -> None:
    store = keyring_store()
    assert repr(store) == "<KeyringStore iago@zulip.com https://chat.example.com>"
    assert await store.load() is None
    await asyncio.gather(*(store.check() for _ in range(5)))
    assert memory.entries == {}
    await store.save(evolve(CREDENTIALS, email="Iago@zulip.com"))
    assert await store.load() == evolve(CREDENTIALS, user_id=None)
    changes: list[dict[str, Any]] = [{"site": "https://x.org"}, {"email": "hamlet@zulip.com"}]
    for change in changes:
        error = await error_of(KeyringError, store.save(evolve(CREDENTIALS, **change)), KEY)
        assert "are not those of iago@zulip.com at" in str(error)
    assert await store.delete()
    assert not await store.delete()
    assert await store.load() is None


class BrokenKeyring(InMemoryKeyring):
    priority = 0  # not the default of other tests

    def get_password(self, service: str, username: str) -> str:
        raise RuntimeError(f"locked {KEY}")


BACKENDS: list[tuple[Any, str]] = [
    (FailKeyring, "There is no system keyring. Save the key in a zuliprc instead."),
    (BrokenKeyring, "Could not access the system keyring (RuntimeError). Is it unlocked?"),
    (NullKeyring, "The system keyring does not return the value stored in it."),
]


@pytest.mark.parametrize(("backend", "message"), BACKENDS)
async def test_keyring_that_cannot_be_used(
    backend: Any, message: str, memory: InMemoryKeyring
) -> None:
    keyring.set_keyring(backend())
    store = keyring_store()
    calls: list[Any] = [store.save(CREDENTIALS), store.check()]
    calls += [] if backend is NullKeyring else [store.load(), store.delete()]
    for call in calls:
        error = await error_of(KeyringError, call, KEY)
        assert str(error) == message


async def test_keyring_that_waits_for_a_prompt(memory: InMemoryKeyring) -> None:
    """The prompt is not visible; the event loop goes on, and the caller gives up."""
    release = threading.Event()

    class Waiting(InMemoryKeyring):
        priority = 0

        def get_password(self, service: str, username: str) -> None:
            release.wait(10)

    keyring.set_keyring(Waiting())
    with pytest.raises(CredentialStoreError, match=r"^Could not read .*: no response in 0\.1 s\.$"):
        await StoreAccess(keyring_store(), 0.1).load()
    release.set()


def test_missing_keyring(memory: InMemoryKeyring, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_keyring()
    keyring.set_keyring(FailKeyring())  # type: ignore[no-untyped-call]
    assert not has_keyring()
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert not has_keyring()
    with pytest.raises(ConfigurationError, match=r"zulip-auth\[keyring\]"):
        keyring_store()


def test_invalid_arguments() -> None:
    with pytest.raises(zulip_auth.InvalidSiteError):
        KeyringStore("", "iago@zulip.com")
    with pytest.raises(zulip_auth.InvalidInputError, match="email is empty"):
        KeyringStore("chat.example.com", "")
    with pytest.raises(ZuliprcError, match="Invalid zuliprc path"):
        ZuliprcStore(7)  # type: ignore[arg-type]
