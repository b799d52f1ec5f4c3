"""Share one API key between many tasks, event loops and threads."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from attrs import Factory, define, evolve, frozen

from ._client import AuthClient
from ._credentials import Credentials, FilePath
from ._event_loop import get_asyncio_loop, run_in_thread
from ._exceptions import (
    CredentialStoreError,
    InvalidApiKeyError,
    InvalidInputError,
    NotLoggedInError,
    ZulipAuthError,
    is_final,
    may_have_succeeded,
)
from ._redaction import hide_locals
from ._stores import CredentialStore, EnvironmentStore, MemoryStore, ZuliprcStore
from ._validation import validate_seconds, validate_text, validate_type
from ._zuliprc import SECTION

logger = logging.getLogger("zulip_auth")

_KEY_RETRY_DELAY = 60.0
"""Seconds until a rejected key may be tried again.

A server accepts the same key again after an account is reactivated.
"""

_ERROR_LIFETIME = 1800.0
"""Seconds until a rejected login may be repeated because of a rejected key.

A server forgets attempts after 30 minutes.
"""

_STORE_TIMEOUT = 30.0  # seconds, without a client
_LOCK_GRACE = 1.0  # seconds
_FOREIGN_LOOP_CHECK = 0.5  # seconds
_MAX_RESTARTS = 3

PasswordProvider = str | Callable[[], Awaitable[str]]
T = TypeVar("T")


@frozen(eq=False)
class _Outcome:
    """The credentials or the exception that an operation ended with."""

    credentials: Credentials | None
    error: BaseException | None = None
    traceback: TracebackType | None = None
    context: BaseException | None = None

    def get(self) -> Credentials:
        if isinstance(self.error, ZulipAuthError):
            raise copy.copy(self.error)  # without frames of the library
        if self.error is not None:
            # Another caller may have raised it inside of a block of its own.
            self.error.__context__ = self.context
            raise self.error.with_traceback(self.traceback)
        assert self.credentials is not None
        return self.credentials


@define(eq=False)
class _Operation:
    """A login, or another way to credentials, for which callers in any thread wait.

    A future of asyncio belongs to one event loop, and a task that raises
    SystemExit stops it.

    Attributes:
        loop: The event loop that runs the task.
        pid: The process of the loop.
        task: The task; asyncio has only a weak reference.
        outcome: The result; None if something else ended the operation.
        is_done: Whether it has ended.
        waiters: One for each caller.
    """

    loop: asyncio.AbstractEventLoop
    pid: int = Factory(os.getpid)
    task: asyncio.Task[None] | None = None
    outcome: _Outcome | None = None
    is_done: bool = False
    waiters: list[asyncio.Future[None]] = Factory(list)

    def is_alive(self) -> bool:
        """Return whether the operation can still end by itself."""
        return not self.is_done and self.pid == os.getpid() and self.loop.is_running()

    async def run(self, func: Callable[[], Coroutine[Any, Any, Credentials]]) -> None:
        _running.set(self)
        try:
            outcome = _Outcome(await func())
        except GeneratorExit:
            raise
        except BaseException as exc:
            if _is_cancelling(exc):
                raise
            outcome = _Outcome(None, _without_cancellation(exc), exc.__traceback__, exc.__context__)
        self.finish(outcome)

    def finish(self, outcome: _Outcome | None) -> None:
        if not self.is_done:
            self.outcome, self.is_done = outcome, True
            for waiter in self.waiters:
                with suppress(RuntimeError):  # its event loop is closed
                    waiter.get_loop().call_soon_threadsafe(waiter.set_result, None)

    async def wait(self) -> _Outcome | None:
        """Wait for the end, and return the outcome, if there is one."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self.waiters.append(waiter)
        while not self.is_done and self.is_alive():
            # The end of another event loop is not an event.
            await asyncio.wait({waiter}, timeout=None if loop is self.loop else _FOREIGN_LOOP_CHECK)
        return self.outcome


# The operation that the running task belongs to, also if its password function started the task.
_running: ContextVar[_Operation | None] = ContextVar("_running", default=None)


class ApiKeySource:
    """Provide the credentials of one account to many tasks, event loops and threads.

    Concurrent callers share one login. Cancelling a caller does not cancel the
    login. Whatever ends it is raised to all of its callers.

    A rejected login is remembered and raised to later callers without another
    request, so an incorrect password costs the account one attempt. So is any
    failure that leaves the account at most one attempt. `reset()` forgets it,
    and so does a key that is accepted again. Other failures (no connection,
    5xx, 429) are not remembered.

    A rejected key is tried again after 60 seconds, since a server accepts the
    same key again after the account is reactivated.

    Accounts without a password, as of bots, have `from_store`, `from_zuliprc`,
    `from_env` and `from_credentials`.

    Args:
        client: The client to log in with.
        username: The account's email address or LDAP name.
        password: The password, or an async function that returns it, which is
            called once for each login. Its exceptions are raised unchanged by
            `get` and `refresh`.
        store: A store to keep the credentials in. Stored credentials are used
            until the server rejects them. Each access is limited by the
            client's timeout. With a store that can lock, such as
            `ZuliprcStore`, one process logs in, and others read its result.

    Raises:
        InvalidInputError: If an argument is invalid.
    """

    @hide_locals
    def __init__(
        self,
        client: AuthClient,
        username: str,
        password: PasswordProvider,
        *,
        store: CredentialStore | None = None,
    ) -> None:
        validate_type("client", client, AuthClient)
        validate_text("username", username)
        login = _PasswordLogin(client, username, _password_getter(password))
        if store is not None:
            _validate_store(store)
        self._setup(store, client.site, client._timeout, login=login)  # noqa: SLF001

    @classmethod
    @hide_locals
    def from_store(cls, store: CredentialStore, *, wait: float = 0.0) -> Self:
        """Provide the API key in a store, without logging in.

        After a rejection, the store is read again, so a replaced key needs no
        restart. If it has the same key, `refresh` raises an
        `InvalidApiKeyError`, and `get` goes on returning it: the server may
        have rejected the endpoint, as for an incoming webhook bot.

        Args:
            store: The store.
            wait: Seconds to look for another key after a rejection, for a key
                that a person replaces by hand.

        Raises:
            InvalidInputError: If an argument is invalid.
        """
        source = cls.__new__(cls)
        validate_seconds("wait", wait, allow_zero=True)
        source._setup(_validate_store(store), None, _STORE_TIMEOUT, wait=wait)  # noqa: SLF001
        return source

    @classmethod
    @hide_locals
    def from_credentials(cls, credentials: Credentials) -> Self:
        """Provide known credentials.

        Args:
            credentials: The credentials.

        Raises:
            InvalidInputError: If *credentials* is not a Credentials instance.
        """
        validate_type("credentials", credentials, Credentials)
        return cls._from_loaded(MemoryStore(credentials), credentials, 0.0)

    @classmethod
    @hide_locals
    def from_zuliprc(
        cls,
        path: FilePath | None = None,
        *,
        section: str = SECTION,
        allow_http: bool = False,
        wait: float = 0.0,
    ) -> Self:
        """Provide the API key in a zuliprc, without logging in; see `from_store`.

        Args:
            path: The file; the default is that of the environment variable
                ZULIP_CONFIG, or else `~/.zuliprc`.
            section: The section of the file.
            allow_http: Whether plain http is allowed for all hosts.
            wait: Seconds to look for another key after a rejection.

        Raises:
            ZuliprcError: See `Credentials.load`.
        """
        store = ZuliprcStore(path, section=section, allow_http=allow_http)
        credentials = Credentials.load(store.path, section=section, allow_http=allow_http)
        return cls._from_loaded(store, credentials, wait)

    @classmethod
    @hide_locals
    def from_env(
        cls,
        *,
        email: str | None = None,
        api_key: str | None = None,
        site: str | None = None,
        path: FilePath | None = None,
        section: str = SECTION,
        allow_http: bool = False,
        wait: float = 0.0,
    ) -> Self:
        """Provide the API key in the environment, and missing values from a zuliprc.

        After a rejection, both are read again; see `from_store`.

        Args:
            email: The account's email address; the default is ZULIP_EMAIL.
            api_key: Its API key; the default is ZULIP_API_KEY.
            site: The organization URL; the default is ZULIP_SITE.
            path: The zuliprc; see `from_zuliprc`.
            section: The section of the zuliprc.
            allow_http: Whether plain http is allowed for all hosts.
            wait: Seconds to look for another key after a rejection.

        Raises:
            ZuliprcError: See `Credentials.from_env`.
        """

        @hide_locals
        def load() -> Credentials:
            return Credentials.from_env(
                email=email,
                api_key=api_key,
                site=site,
                path=path,
                section=section,
                allow_http=allow_http,
            )

        return cls._from_loaded(EnvironmentStore(load), load(), wait)

    @classmethod
    def _from_loaded(cls, store: CredentialStore, credentials: Credentials, wait: float) -> Self:
        source = cls.from_store(store, wait=wait)
        source._site, source._credentials = credentials.site, credentials  # noqa: SLF001
        return source

    def _setup(
        self,
        store: CredentialStore | None,
        site: str | None,
        timeout: float,
        *,
        login: _PasswordLogin | None = None,
        wait: float = 0.0,
    ) -> None:
        self._store = store
        self._site = site
        self._timeout = timeout
        self._login = login
        self._wait = wait
        self._pid = os.getpid()
        # The garbage collector may close an operation while this thread holds the lock.
        self._lock = threading.RLock()
        self._operation: _Operation | None = None
        self._credentials: Credentials | None = None
        self._error: ZulipAuthError | None = None
        self._error_until = 0.0
        self._replaced: Credentials | None = None  # by a rotation; it may still be stored
        self._rejected: Credentials | None = None
        self._rejected_until = 0.0
        self._generation = 0  # the number of resets

    @property
    def site(self) -> str:
        """The organization URL.

        Raises:
            InvalidInputError: If only a store knows it, and `get` was not called.
        """
        site = self._site
        if site is None:
            raise InvalidInputError("The site is known after the first call of get().")
        return site

    def __repr__(self) -> str:
        # A traceback may show one whose arguments were invalid.
        return f"<ApiKeySource {getattr(self, '_site', None) or 'without a site'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "cannot pickle ApiKeySource: it has a password or a key. Pass the path of a zuliprc "
            "to the other process, and create a source there."
        )

    async def get(self) -> Credentials:
        """Return the credentials; log in if there are none.

        Raises:
            InvalidInputError: If the password function returns an invalid
                password.
            CredentialStoreError: If the store cannot be used, or belongs to a
                different account. It is left unchanged.
            ZulipAuthError: If the login fails or has failed; see
                `AuthClient.login`.
        """
        return self._credentials or (await self._find(None)).get()

    async def refresh(self, stale: Credentials) -> Credentials:
        """Return other credentials in place of rejected ones; log in if there are none.

        Args:
            stale: The rejected credentials.

        Raises:
            InvalidInputError: If *stale* is not a Credentials instance; see
                `get` for the other reasons.
            InvalidApiKeyError: If a login returns the rejected key again, or
                there is no password and no other key.
            CredentialStoreError: See `get`.
            ZulipAuthError: See `get`.
        """
        if not isinstance(stale, Credentials):
            type_name = type(stale).__name__
            del stale  # it may be the key itself
            raise InvalidInputError(f"stale must be a Credentials instance, not {type_name}.")
        return (await self._find(stale)).get()

    @hide_locals
    async def rotate(self) -> Credentials:
        """Replace the API key on the server, store the new one, and provide it.

        Requests that start in the meantime wait for it; those that are under way with
        the old key get the new one by `refresh`.

        Returns:
            The new credentials.

        Raises:
            CredentialStoreError: If the store cannot be written. With a message
                that begins "The key was replaced", this source goes on with
                the new key, which is not stored.
            APIConnectionError: If there is no response from the server. If
                `.sent` is True, the old key may be revoked.
            ZulipAuthError: See `AuthClient.regenerate_api_key`.
        """
        while True:
            old = await self.get()
            with self._state():
                operation = self._operation
                if operation is None or not operation.is_alive():
                    self._credentials = None
                    operation = self._start(partial(self._rotate, old))
                    break
            await operation.wait()
        outcome = await operation.wait()
        if outcome is None:
            raise InvalidInputError("The rotation was cancelled. Check the key with verify().")
        return outcome.get()

    def reset(self) -> None:
        """Forget a rejected login and a rejected key: the next caller tries again."""
        with self._state():
            self._error = self._rejected = None
            self._generation += 1

    async def _get_for(self, is_own: Callable[[str], bool]) -> Credentials | None:
        """Return the credentials for a request; None for a request to another site.

        Args:
            is_own: Returns whether the request is for a site.
        """
        if self._site is not None and not is_own(self._site):
            return None
        credentials = await self.get()
        return credentials if is_own(credentials.site) else None

    def _is_replaced(self, credentials: Credentials) -> bool:
        """Return whether there are other credentials now, or soon."""
        return not _is_same_key(self._credentials, credentials)

    def _note_success(self) -> None:
        """Forget a rejected login, since the server accepted a key after it."""
        if self._error is not None:
            with self._state():
                self._error = self._rejected = None

    @contextmanager
    def _state(self) -> Iterator[None]:
        """Access the state of one thread at a time."""
        if self._pid != os.getpid():  # another thread may have held the lock during the fork
            self._lock, self._pid, self._operation = threading.RLock(), os.getpid(), None
        with self._lock:
            yield

    @hide_locals
    async def _find(self, stale: Credentials | None) -> _Outcome:
        """Return the credentials other than *stale*, or the exception of a login."""
        get_asyncio_loop()
        restarts = 0
        while True:
            with self._state():
                operation = self._operation
                if operation is not None and operation is _running.get():
                    raise InvalidInputError(
                        "The password function must not wait for its own source."
                    )
                if stale is not None and self._login is not None:
                    self._reject(stale)
                current = self._credentials
                if current is not None and not _is_same_key(current, stale):
                    return _Outcome(current)
                if operation is None or not operation.is_alive():
                    func = self._log_in if self._login else partial(self._look, stale)
                    operation = self._start(func)
            outcome = await operation.wait()
            if outcome is None:  # cancelled by other code, or its event loop has gone
                restarts += 1
                if restarts > _MAX_RESTARTS:
                    raise InvalidInputError("The password function was cancelled repeatedly.")
                continue
            current = self._credentials
            if outcome.error and current and not _is_same_key(current, stale):
                return _Outcome(current)  # such as of a rotation that failed
            # The operation may have started before the key was rejected.
            if outcome.error is not None or not _is_same_key(outcome.credentials, stale):
                return outcome

    def _start(self, func: Callable[[], Coroutine[Any, Any, Credentials]]) -> _Operation:
        loop = asyncio.get_running_loop()
        operation = self._operation = _Operation(loop)
        operation.task = loop.create_task(operation.run(func))
        # A task may be cancelled before its first step.
        operation.task.add_done_callback(lambda _: operation.finish(None))
        return operation

    # ---- With a password

    def _reject(self, stale: Credentials) -> None:
        """Drop credentials that a server rejected.

        Raises:
            InvalidApiKeyError: If they were returned by a login since they were
                rejected.
        """
        if self._credentials is not None and not _is_same_key(self._credentials, stale):
            return
        if not _is_same_key(stale, self._recently_rejected()):
            self._rejected, self._rejected_until = stale, monotonic() + _KEY_RETRY_DELAY
            self._credentials = None
            if monotonic() > self._error_until:
                self._error = None
        elif self._credentials is not None:
            raise InvalidApiKeyError(
                f"{self.site} rejects the API key that it just issued. A proxy may be stripping "
                "the Authorization header. Try again in a minute.",
                status_code=401,
            )

    def _recently_rejected(self) -> Credentials | None:
        return self._rejected if monotonic() < self._rejected_until else None

    async def _log_in(self) -> Credentials:
        """Return stored credentials, or log in."""
        assert self._login is not None
        rejected, rejected_until = self._recently_rejected(), self._rejected_until
        credentials = await self._load()
        if credentials is None or _is_same_key(credentials, rejected):
            if self._error is None:
                async with self._store_lock():
                    other = await self._load()  # of the process that had the lock
                    if other is None or _is_same_key(other, rejected):
                        other = await self._log_in_once(self._login)
                    credentials = other
            elif self._rejected is None or rejected is not None:
                raise copy.copy(self._error)
            else:
                credentials = self._rejected  # the account may have been reactivated
        with self._state():
            # The key may have been rejected in the meantime.
            is_known = rejected_until == self._rejected_until
            if is_known or not _is_same_key(credentials, self._rejected):
                self._provide(credentials)
        return credentials

    async def _log_in_once(self, login: _PasswordLogin) -> Credentials:
        generation = self._generation
        await self._check_store()
        try:
            credentials = await login()
        except ZulipAuthError as error:
            if is_final(error) and generation == self._generation:
                self._error = copy.copy(error)  # without its traceback
                self._error_until = monotonic() + _ERROR_LIFETIME
            raise
        if self._store is not None:
            try:
                await self._access("write", self._store.save(credentials))
            except (Exception, asyncio.CancelledError) as exc:  # the key is valid
                if _is_cancelling(exc):
                    raise
                logger.warning("Logged in, but could not save the API key: %s", _describe(exc))
        return credentials

    # ---- Without a password

    async def _look(self, stale: Credentials | None) -> Credentials:
        """Return the stored credentials; look for other ones than *stale*."""
        credentials = await self._load(stale)
        if _is_same_key(credentials, stale):
            with suppress(CredentialStoreError):  # a store that cannot be locked is not shared
                async with self._store_lock():  # another process may be replacing the key
                    credentials = await self._load(stale)
        # Wait once for each key: it may be another reason that the server rejects it for.
        wait = 0.0 if _is_same_key(stale, self._rejected) else self._wait
        self._rejected = stale
        until = monotonic() + wait
        while _is_same_key(credentials, stale) and (remaining := until - monotonic()) > 0:
            await asyncio.sleep(min(remaining, max(wait / 20, 0.05), 1.0))
            credentials = await self._load(stale)
        if credentials is None:
            raise NotLoggedInError(f"No credentials in {self._store!r}. Run `zulip-auth login`.")
        if _is_same_key(credentials, stale):
            raise InvalidApiKeyError(
                f"{credentials.site} rejected the API key from {self._store!r}. Store a valid one "
                "there.",
                status_code=401,
            )
        with self._state():
            self._provide(credentials)
        return credentials

    async def _rotate(self, old: Credentials) -> Credentials:
        try:
            async with self._store_lock():
                old = await self._load(old) or old  # another process may have replaced the key
                await self._check_store()
                client = await self._client(old)
                new = await client.regenerate_api_key(old)
                with self._state():
                    self._rejected = self._replaced = old
                    self._rejected_until = monotonic() + _KEY_RETRY_DELAY
                    self._provide(new)
                await self._save_rotated(new)
        except ZulipAuthError as error:
            with self._state():
                if self._credentials is None and not may_have_succeeded(error):
                    self._credentials = old
            raise
        return new

    async def _save_rotated(self, new: Credentials) -> None:
        reason = ""
        try:
            if self._store is not None:
                await self._access("write", self._store.save(new))
        except Exception as exc:  # noqa: BLE001 - a store may raise anything
            reason = _describe(exc)
        if reason:
            raise CredentialStoreError(
                f"The key was replaced, but could not be saved: {reason} This program goes on with "
                "the new one; log in again to save it."
            )

    async def _client(self, credentials: Credentials) -> AuthClient:
        if self._login is not None:
            return self._login.client
        context = await run_in_thread(credentials.ssl_context)
        return AuthClient(credentials.site, ssl_context=context, allow_http=True)

    # ---- The state and the store

    def _provide(self, credentials: Credentials) -> None:
        if self._rejected is not None and not _is_same_key(credentials, self._rejected):
            logger.info("Renewed the API key of %s at %s.", credentials.email, credentials.site)
        self._site, self._credentials = credentials.site, credentials

    async def _load(self, stale: Credentials | None = None) -> Credentials | None:
        """Return the stored credentials, if there are any of this account.

        A key that this source replaced and could not save counts as *stale*.
        """
        if self._store is None:
            return None
        credentials = await self._access("read", self._store.load())
        if credentials is None:
            return None
        validate_type("stored credentials", credentials, Credentials)
        is_other_site = self._site not in (None, credentials.site)
        if is_other_site and self._login is None:
            raise CredentialStoreError(
                f"The site in {self._store!r} is not {self._site}. Create another ApiKeySource."
            )
        if self._login is None or (self._login.owns(credentials) and not is_other_site):
            return stale if _is_same_key(credentials, self._replaced) else credentials
        if self._login.is_comparable(credentials) or is_other_site:
            raise CredentialStoreError(f"{self._store!r} contains a different account.")
        return None

    async def _check_store(self) -> None:
        check = getattr(self._store, "check", None)
        if check is not None:
            await self._access("write", check())

    @asynccontextmanager
    async def _store_lock(self) -> AsyncIterator[None]:
        lock = getattr(self._store, "lock", None)
        if lock is None:
            yield
            return
        manager = lock(self._timeout)
        # The store has a message of its own.
        await self._access("lock", manager.__aenter__(), grace=_LOCK_GRACE)
        try:
            yield
        finally:
            try:
                await manager.__aexit__(None, None, None)
            except Exception as exc:  # noqa: BLE001 - what happened with the lock counts
                logger.warning("Could not unlock %r: %s", self._store, _describe(exc))

    async def _access(self, action: str, awaitable: Awaitable[T], *, grace: float = 0.0) -> T:
        """Wait for a store, which may wait for a disk or an invisible prompt."""
        timeout = asyncio.timeout(self._timeout + grace)
        try:
            async with timeout:
                return await awaitable
        except TimeoutError:
            if not timeout.expired():
                raise
        raise CredentialStoreError(
            f"Could not {action} {self._store!r}: no response in {self._timeout:g} s."
        )


class _PasswordLogin:
    """Log in with a password.

    Args:
        client: The client to log in with.
        username: The account's email address or LDAP name.
        get_password: A function that returns the password.
    """

    def __init__(
        self, client: AuthClient, username: str, get_password: Callable[[], Awaitable[str]]
    ) -> None:
        self.client = client
        self._username = username
        self._get_password = get_password

    async def __call__(self) -> Credentials:
        credentials = await self.client.login(self._username, await self._get_password())
        is_email = credentials.email.lower() == self._username.lower()
        return credentials if is_email else evolve(credentials, login_name=self._username)

    def owns(self, credentials: Credentials) -> bool:
        """Return whether stored credentials are those of this login."""
        names = [credentials.email, credentials.login_name]
        # casefold() makes "gro\u00df" and "gross" the same, which are two accounts.
        return self._username.lower() in [name.lower() for name in names if name]

    def is_comparable(self, credentials: Credentials) -> bool:
        """Return whether stored credentials have a name of the same kind, unlike an LDAP name."""
        return "@" in self._username or credentials.login_name is not None


def _password_getter(password: PasswordProvider) -> Callable[[], Awaitable[str]]:
    """Return a function that returns the password, so that no attribute does."""
    if callable(password):
        return partial(_call_password_function, password)
    validate_text("password", password)

    async def get_password() -> str:
        return password

    return get_password


async def _call_password_function(function: Callable[[], Awaitable[str]]) -> str:
    awaitable: object = None
    try:
        awaitable = function()
        if inspect.isawaitable(awaitable):
            return await awaitable
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
    is_cancelled = inspect.isawaitable(awaitable)
    del awaitable  # it may be the password itself
    if is_cancelled:
        raise InvalidInputError("The password callback was cancelled.")
    raise InvalidInputError("password must be a str or an async function.")


def _is_cancelling(exc: BaseException) -> bool:
    """Return whether *exc* is the cancellation of the running task, and not of what it awaits."""
    task = asyncio.current_task()
    return isinstance(exc, asyncio.CancelledError) and (task is None or task.cancelling() > 0)


def _without_cancellation(exc: BaseException) -> BaseException:
    if isinstance(exc, asyncio.CancelledError):
        return InvalidInputError("The store or the transport was cancelled.")
    return exc


def _describe(exc: BaseException) -> str:
    """Return the reason; the message of another library may have the key."""
    return str(exc) if isinstance(exc, ZulipAuthError) else f"{type(exc).__name__}."


def _validate_store(store: CredentialStore) -> CredentialStore:
    if callable(getattr(store, "load", None)) and callable(getattr(store, "save", None)):
        return store
    type_name = type(store).__name__
    raise InvalidInputError(
        f"store must have the methods load and save, as ZuliprcStore(path) has; {type_name} "
        "does not."
    )


def _is_same_key(credentials: Credentials | None, other: Credentials | None) -> bool:
    # In a function of its own: error trackers evaluate attributes of variables.
    return credentials is not None and other is not None and credentials.api_key == other.api_key
