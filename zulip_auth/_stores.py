"""Stores for the credentials of one account: a zuliprc, the system keyring, or a caller's own."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar, runtime_checkable

from ._credentials import Credentials, FilePath, is_api_key, save_credentials
from ._event_loop import run_in_thread
from ._exceptions import (
    ConfigurationError,
    CredentialStoreError,
    KeyringError,
    NotLoggedInError,
)
from ._redaction import hide_locals
from ._site import normalize_site
from ._validation import validate_text, validate_type
from ._zuliprc import SECTION, check_replaceable, lock_zuliprc, resolve_zuliprc_path

logger = logging.getLogger("zulip_auth")

_SERVICE = "zulip-auth"
_LOCK_GRACE = 1.0  # seconds, since the store has a message of its own

T = TypeVar("T")


@runtime_checkable
class CredentialStore(Protocol):
    """A place that keeps the credentials of one account.

    A store may have two more methods. `check()` raises if `save` would fail,
    before a login. `lock(timeout)` returns an asynchronous context manager:
    while one process logs in or replaces a key inside of it, the others wait
    for that many seconds, and read the result.
    """

    async def load(self) -> Credentials | None:
        """Return the credentials, or None if nothing is stored.

        Raises:
            CredentialStoreError: If that cannot be found out.
        """

    async def save(self, credentials: Credentials, /) -> None:
        """Store the credentials as a whole, or raise and leave the earlier ones."""


class ZuliprcStore:
    """Keep the credentials in a zuliprc, the file that Zulip's tools share.

    Args:
        path: The file; the default is that of the environment variable
            ZULIP_CONFIG, or else `~/.zuliprc`.
        section: The section of the file. A `botserverrc` has one for each bot.
        allow_http: Whether plain http is allowed for all hosts.

    Raises:
        ZuliprcError: If *path* is not a path.
    """

    def __init__(
        self, path: FilePath | None = None, *, section: str = SECTION, allow_http: bool = False
    ) -> None:
        self.path: Path = resolve_zuliprc_path(path)
        self._section = section
        self._allow_http = allow_http

    def __repr__(self) -> str:
        return f"<ZuliprcStore {self.path}>"

    async def load(self) -> Credentials | None:
        """Return the credentials, or None if there is no such file, section or API key.

        Raises:
            ZuliprcError: If the file or a value in it is invalid.
        """
        load = partial(Credentials.load, section=self._section, allow_http=self._allow_http)
        with suppress(NotLoggedInError):
            return await run_in_thread(partial(load, self.path))
        return None

    async def save(self, credentials: Credentials) -> None:
        """Save the credentials; see `Credentials.save`.

        Raises:
            ZuliprcError: If the file belongs to another account, or cannot be
                replaced. It is left unchanged.
        """
        save = partial(save_credentials, credentials, self.path, section=self._section)
        await run_in_thread(save)

    async def check(self) -> None:
        """Check that the file can be saved.

        Raises:
            ZuliprcError: If not.
        """
        await run_in_thread(partial(check_replaceable, self.path))

    @asynccontextmanager
    async def lock(self, timeout: float) -> AsyncIterator[None]:
        """Keep other processes from logging in for the same file.

        Args:
            timeout: Seconds to wait for them.

        Raises:
            ZuliprcError: If the lock cannot be acquired in time.
        """
        stack, is_abandoned = ExitStack(), False

        def acquire() -> None:
            stack.enter_context(lock_zuliprc(self.path, timeout))
            if is_abandoned:
                stack.close()

        try:
            await run_in_thread(acquire)
            yield
        finally:
            is_abandoned = True
            stack.close()


class KeyringStore:
    """Keep the API key of one account in the system keyring (extra `keyring`).

    `zulip-auth login --keyring` stores keys in the same place.

    Args:
        site: The organization URL.
        email: The account's email address.

    Raises:
        InvalidInputError: If an argument is invalid.
        ConfigurationError: If the extra is not installed.
    """

    def __init__(self, site: str, email: str) -> None:
        self._site = normalize_site(site, allow_http=True)
        self._email = validate_text("email", email)
        _import_keyring()

    def __repr__(self) -> str:
        return f"<KeyringStore {self._email} {self._site}>"

    @hide_locals
    async def load(self) -> Credentials | None:
        """Return the credentials, or None if there is no key of the account.

        Raises:
            KeyringError: If there is no keyring, or it is locked.
        """
        key = await run_in_thread(partial(_call, "get_password", self._name))
        return Credentials(self._site, self._email, key) if is_api_key(key) else None

    @hide_locals
    async def save(self, credentials: Credentials) -> None:
        """Store the API key.

        Raises:
            KeyringError: If the credentials are another account's, or the key
                was not stored.
        """
        if (credentials.site, credentials.email.lower()) != (self._site, self._email.lower()):
            raise KeyringError(f"The credentials are not those of {self._email} at {self._site}.")
        await run_in_thread(partial(_set, self._name, credentials.api_key))

    async def check(self) -> None:
        """Check that the keyring stores and returns values.

        Raises:
            KeyringError: If there is no keyring, or it is locked or read-only.
        """
        await run_in_thread(_check)

    async def delete(self) -> bool:
        """Delete the key, and return whether there was one.

        Raises:
            KeyringError: If there is no keyring, or it is locked or read-only.
        """
        return await run_in_thread(partial(_delete, self._name))

    @property
    def _name(self) -> str:
        return f"{self._email} {self._site}"


def _set(name: str, value: str) -> None:
    _call("set_password", name, value)
    if _call("get_password", name) != value:
        raise KeyringError("The system keyring does not return the value stored in it.")


def _check() -> None:
    name = f"test entry {secrets.token_hex(8)}"  # others may check at the same time
    _set(name, "test")
    _call("delete_password", name)


@hide_locals
def _delete(name: str) -> bool:
    has_key = _call("get_password", name) is not None
    if has_key:
        _call("delete_password", name)
    return has_key


def _call(function: str, *args: str) -> Any:
    keyring = _import_keyring()
    try:
        return getattr(keyring, function)(_SERVICE, *args)
    except Exception as error:  # noqa: BLE001 - backends raise any exception
        reason = type(error).__name__
    if reason == "NoKeyringError":
        raise KeyringError("There is no system keyring. Save the key in a zuliprc instead.")
    raise KeyringError(f"Could not access the system keyring ({reason}). Is it unlocked?")


def _import_keyring() -> Any:
    try:
        import keyring
    except ModuleNotFoundError:
        raise ConfigurationError(
            "To use the keyring: pip install 'zulip-auth[keyring]', in a clone '.[keyring]'"
        ) from None
    return keyring


def has_keyring() -> bool:
    """Return whether the extra is installed and the system has a keyring."""
    try:
        keyring = _import_keyring()
    except ConfigurationError:
        return False
    return not isinstance(keyring.get_keyring(), keyring.backends.fail.Keyring)


class EnvironmentStore:
    """The environment, as a store that cannot be written.

    Args:
        load: A function that returns its credentials.
    """

    def __init__(self, load: Callable[[], Credentials]) -> None:
        self._load = load

    def __repr__(self) -> str:
        return "<the environment or a zuliprc>"

    async def load(self) -> Credentials:
        return await run_in_thread(self._load)

    async def save(self, _credentials: Credentials | None = None) -> NoReturn:
        raise CredentialStoreError(
            "A key from the environment cannot be replaced there. Use from_zuliprc or from_store."
        )

    check = save


class MemoryStore:
    """Credentials that are kept by this process only."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        self._credentials = credentials

    def __repr__(self) -> str:
        return "<credentials in memory>"

    async def load(self) -> Credentials | None:
        return self._credentials

    async def save(self, credentials: Credentials) -> None:
        self._credentials = credentials


class StoreAccess:
    """A caller's store, which may wait for a disk or an invisible prompt.

    Args:
        store: The store.
        timeout: Seconds until an access fails.

    Raises:
        InvalidInputError: If *store* is not one.
    """

    def __init__(self, store: CredentialStore, timeout: float) -> None:
        self._store: Any = validate_type("store", store, CredentialStore)  # type: ignore[type-abstract]
        self._timeout = timeout

    def __repr__(self) -> str:
        return repr(self._store)

    async def load(self) -> Credentials | None:
        credentials: Credentials | None = await self._limit("read", self._store.load())
        if credentials is None:
            return None
        return validate_type("stored credentials", credentials, Credentials)

    async def save(self, credentials: Credentials) -> None:
        await self._limit("write", self._store.save(credentials))

    async def check(self) -> None:
        if hasattr(self._store, "check"):
            await self._limit("write", self._store.check())

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        stack = AsyncExitStack()
        if hasattr(self._store, "lock"):
            lock = stack.enter_async_context(self._store.lock(self._timeout))
            await self._limit("lock", lock, grace=_LOCK_GRACE)
        try:
            yield
        finally:
            try:
                await stack.aclose()
            except Exception as exc:  # noqa: BLE001 - what happened with the lock counts
                logger.warning("Could not unlock %r: %s.", self._store, type(exc).__name__)

    async def _limit(self, action: str, access: Awaitable[T], *, grace: float = 0.0) -> T:
        timeout = asyncio.timeout(self._timeout + grace)
        try:
            async with timeout:
                return await access
        except TimeoutError:
            if not timeout.expired():
                raise
        raise CredentialStoreError(
            f"Could not {action} {self._store!r}: no response in {self._timeout:g} s."
        )
