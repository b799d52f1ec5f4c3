"""Share one API key between many tasks."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self, TypeVar

from attrs import frozen

from ._client import AuthClient
from ._credentials import (
    LOGIN_NAME,
    Credentials,
    credentials_from_section,
    matches_account,
    save_credentials,
)
from ._event_loop import get_asyncio_loop, run_in_thread
from ._exceptions import (
    InvalidApiKeyError,
    InvalidInputError,
    ZulipAuthError,
    ZuliprcError,
    is_final,
)
from ._redaction import hide_locals
from ._validation import validate_text, validate_type
from ._zuliprc import SECTION, check_replaceable, read_zuliprc, resolve_zuliprc_path

logger = logging.getLogger("zulip_auth")

_KEY_RETRY_DELAY = 60.0
"""Seconds until a rejected key may be tried again.

A server accepts the same key again after an account is reactivated.
"""

_MAX_RESTARTS = 3
_READ_TIMEOUT = 30.0  # seconds, without a client

PasswordProvider = str | Callable[[], Awaitable[str]]
T = TypeVar("T")


@frozen(eq=False)
class LoginResult:
    """The credentials or the exception of a login, for all of its callers.

    A future is unsuitable: `result()` raises the exception with its traceback
    only once, and SystemExit as the result of a task stops the event loop.
    """

    credentials: Credentials | None
    error: BaseException | None = None
    traceback: TracebackType | None = None

    def get(self) -> Credentials:
        """Return the credentials, or raise the exception."""
        if isinstance(self.error, ZulipAuthError):
            raise copy.copy(self.error)  # without frames of the library
        if self.error is not None:
            raise self.error.with_traceback(self.traceback)
        assert self.credentials is not None
        return self.credentials


class ApiKeySource:
    """Provide the credentials of one account to many tasks.

    Concurrent callers share one login. Cancelling a caller does not cancel the
    login. Whatever ends it is raised to all of its callers.

    A rejected login is remembered and raised to later callers without another
    request, so an incorrect password costs the account one attempt. So is any
    failure that leaves the account at most one attempt. `reset()` forgets it.
    Other failures (no connection, 5xx, 429) are not remembered.

    A rejected key is tried again after 60 seconds, since a server accepts the
    same key again after the account is reactivated.

    A source belongs to one event loop at a time. Another one can use it when
    the first is closed or no longer running.

    Accounts without a password, as of bots, have `from_zuliprc` and `from_env`.

    Args:
        client: The client to log in with.
        username: The account's email address or LDAP name.
        password: The password, or an async function that returns it, which is
            called once for each login. Its exceptions are raised unchanged by
            `get` and `refresh`.
        zuliprc: A file to save the credentials in. Saved credentials are used
            until the server rejects them. Each access is limited by the
            client's timeout.

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
        zuliprc: str | os.PathLike[str] | None = None,
    ) -> None:
        validate_type("client", client, AuthClient)
        validate_text("username", username)
        get_password = _password_getter(password)
        path = None if zuliprc is None else _resolve_path(zuliprc)
        self._setup(_PasswordLogin(client, username, get_password, path))

    @classmethod
    @hide_locals
    def from_zuliprc(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        section: str = SECTION,
        allow_http: bool = False,
    ) -> Self:
        """Provide the API key in a zuliprc, without logging in.

        After a rejection, the file is read again, so a replaced key needs no
        restart. If the file is unchanged, `get` and `refresh` raise an
        `InvalidApiKeyError`, until it changes, for 60 seconds or until `reset()`.

        Args:
            path: The file; the default is that of the environment variable
                ZULIP_CONFIG, or else `~/.zuliprc`.
            section: The section of the file.
            allow_http: Whether plain http is allowed for all hosts.

        Raises:
            ZuliprcError: See `Credentials.load`.
        """
        path = resolve_zuliprc_path(path)
        load = partial(Credentials.load, path, section=section, allow_http=allow_http)
        return cls._from_stored_key(load, str(path))

    @classmethod
    @hide_locals
    def from_env(
        cls,
        *,
        email: str | None = None,
        api_key: str | None = None,
        site: str | None = None,
        path: str | os.PathLike[str] | None = None,
        section: str = SECTION,
        allow_http: bool = False,
    ) -> Self:
        """Provide the API key in the environment, and missing values from a zuliprc.

        After a rejection, both are read again; see `from_zuliprc`.

        Args:
            email: The account's email address; the default is ZULIP_EMAIL.
            api_key: Its API key; the default is ZULIP_API_KEY.
            site: The organization URL; the default is ZULIP_SITE.
            path: The zuliprc; see `from_zuliprc`.
            section: The section of the zuliprc.
            allow_http: Whether plain http is allowed for all hosts.

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

        return cls._from_stored_key(load, "the environment or a zuliprc")

    @classmethod
    def _from_stored_key(cls, load: Callable[[], Credentials], origin: str) -> Self:
        credentials = load()
        source = cls.__new__(cls)
        source._setup(_StoredKey(load, origin, credentials.site))  # noqa: SLF001
        source._credentials = credentials  # noqa: SLF001
        return source

    def _setup(self, backend: _PasswordLogin | _StoredKey) -> None:
        self._backend = backend
        self._loop: tuple[asyncio.AbstractEventLoop, int] | None = None  # with the process ID
        self._login: asyncio.Future[LoginResult] | None = None
        self._task: asyncio.Task[None] | None = None  # asyncio has only a weak reference
        self._credentials: Credentials | None = None
        self._error: ZulipAuthError | None = None
        self._rejected: Credentials | None = None
        self._rejected_until = 0.0
        self._generation = 0  # the number of resets

    @property
    def site(self) -> str:
        """The organization URL."""
        return self._backend.site

    def __repr__(self) -> str:
        # A traceback may show one whose arguments were invalid.
        backend = getattr(self, "_backend", None)
        return f"<ApiKeySource {backend.site if backend else 'without a site'}>"

    async def get(self) -> Credentials:
        """Return the credentials; log in if there are none.

        Raises:
            InvalidInputError: If the source is in use in another event loop, or
                the password function returns an invalid password.
            ZuliprcError: If the zuliprc cannot be used, or belongs to a
                different account. The file is left unchanged.
            ZulipAuthError: If the login fails or has failed; see
                `AuthClient.login`.
        """
        return (await self._wait_for_login(None)).get()

    async def refresh(self, stale: Credentials) -> Credentials:
        """Return other credentials in place of rejected ones; log in if there are none.

        Args:
            stale: The rejected credentials.

        Raises:
            InvalidInputError: If *stale* is not a Credentials instance; see
                `get` for the other reasons.
            InvalidApiKeyError: If a login returns the rejected key again, or
                there is no password and no other key. Then there is no other
                login for it for 60 seconds.
            ZuliprcError: See `get`.
            ZulipAuthError: See `get`.
        """
        if not isinstance(stale, Credentials):
            type_name = type(stale).__name__
            del stale  # it may be the key itself
            raise InvalidInputError(f"stale must be a Credentials instance, not {type_name}.")
        return (await self._wait_for_login(stale)).get()

    def reset(self) -> None:
        """Forget a rejected login and a rejected key: the next caller tries again."""
        self._error = self._rejected = None
        self._generation += 1

    @hide_locals
    async def _wait_for_login(self, stale: Credentials | None) -> LoginResult:
        """Return the credentials other than *stale*, or the exception of a login."""
        if self._task is not None and asyncio.current_task() is self._task:
            raise InvalidInputError("The password function must not wait for its own source.")
        restarts = 0
        while True:
            loop = self._bind_loop()
            if stale is not None:
                self._reject(stale)
            if self._credentials is not None:
                return LoginResult(self._credentials)
            login = self._login
            if login is None or login.done() or login.get_loop() is not loop:
                login = self._start_login(loop)
            await asyncio.wait({login})
            if login.cancelled():  # with its task, by other code in this event loop
                restarts += 1
                if restarts > _MAX_RESTARTS:
                    raise InvalidInputError("The password function was cancelled repeatedly.")
                continue
            result = login.result()
            # The login may have started before the key was rejected.
            if not _is_same_key(result.credentials, stale):
                return result

    def _bind_loop(self) -> asyncio.AbstractEventLoop:
        loop, pid = get_asyncio_loop(), os.getpid()
        if self._loop != (loop, pid):
            # After a fork, the loop of the parent seems to run in the child.
            if self._loop is not None and self._loop[1] == pid and self._loop[0].is_running():
                raise InvalidInputError(
                    "This ApiKeySource is in use in another event loop. "
                    "Create one ApiKeySource for each event loop."
                )
            self._loop = loop, pid
        return loop

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
        elif self._credentials is not None:
            raise InvalidApiKeyError(
                f"{self.site} rejects the API key that it just issued. A proxy may be stripping "
                "the Authorization header. Try again in a minute.",
                status_code=401,
            )

    def _recently_rejected(self) -> Credentials | None:
        return self._rejected if monotonic() < self._rejected_until else None

    def _start_login(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[LoginResult]:
        login: asyncio.Future[LoginResult] = loop.create_future()
        self._login, self._task = login, loop.create_task(self._run_login(login))
        # A task may be cancelled before its first step.
        self._task.add_done_callback(lambda _: login.cancel())
        return login

    async def _run_login(self, login: asyncio.Future[LoginResult]) -> None:
        try:
            result = LoginResult(await self._find_credentials())
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # noqa: BLE001 - raised to all callers
            result = LoginResult(None, exc, exc.__traceback__)
        with suppress(RuntimeError):  # the event loop is closed
            login.set_result(result)

    async def _find_credentials(self) -> Credentials:
        """Return saved credentials, or log in."""
        rejected, rejected_until = self._recently_rejected(), self._rejected_until
        generation = self._generation
        credentials = await self._backend.load()
        if credentials is None or _is_same_key(credentials, rejected):
            if self._error is None:
                try:
                    credentials = await self._backend.log_in()
                except ZulipAuthError as error:
                    if is_final(error) and generation == self._generation:
                        self._error = copy.copy(error)  # without its traceback
                    raise
            elif self._rejected is None or rejected is not None:
                raise copy.copy(self._error)
            else:
                credentials = self._rejected  # the account may have been reactivated
        # The key may have been rejected in the meantime.
        if rejected_until == self._rejected_until or not _is_same_key(credentials, self._rejected):
            self._credentials = credentials
        return credentials


class _PasswordLogin:
    """Log in with a password, and save the credentials in a zuliprc, if any."""

    def __init__(
        self,
        client: AuthClient,
        username: str,
        get_password: Callable[[], Awaitable[str]],
        path: Path | None,
    ) -> None:
        self.site = client.site
        self._client = client
        self._username = username
        self._get_password = get_password
        self._path = path

    async def load(self) -> Credentials | None:
        if self._path is None:
            return None
        func = partial(_load, self._path, self.site, self._username)
        return await self._run_in_thread(f"read {self._path}", func)

    async def log_in(self) -> Credentials:
        path = self._path
        if path is not None:
            await self._run_in_thread(f"write {path}", partial(check_replaceable, path))
        credentials = await self._client.login(self._username, await self._get_password())
        if path is not None:
            is_email = credentials.email.lower() == self._username.lower()
            login_name = None if is_email else self._username
            func = partial(save_credentials, credentials, path, login_name=login_name)
            try:
                await self._run_in_thread(f"write {path}", func)
            except Exception as exc:  # noqa: BLE001 - the key is valid, and callers wait for it
                logger.warning("Logged in, but could not save the API key: %s", exc)
        return credentials

    async def _run_in_thread(self, action: str, func: Callable[[], T]) -> T:
        return await _run_in_thread(action, func, self._client._timeout)  # noqa: SLF001


class _StoredKey:
    """Read the key of an account without a password."""

    def __init__(self, load: Callable[[], Credentials], origin: str, site: str) -> None:
        self.site = site
        self._load = load
        self._origin = origin

    async def load(self) -> Credentials:
        credentials = await _run_in_thread(f"read {self._origin}", self._load, _READ_TIMEOUT)
        if credentials.site != self.site:
            raise ZuliprcError(
                f"The site in {self._origin} is not {self.site} any more. "
                "Create another ApiKeySource."
            )
        return credentials

    async def log_in(self) -> Credentials:
        raise InvalidApiKeyError(
            f"{self.site} rejected the API key from {self._origin}. "
            "Save a valid one there, or call reset() to try it again.",
            status_code=401,
        )


async def _run_in_thread(action: str, func: Callable[[], T], timeout: float) -> T:
    """Call a function that may block for longer than *timeout* seconds.

    Raises:
        ZuliprcError: If the timeout expires.
    """
    try:
        async with asyncio.timeout(timeout):
            return await run_in_thread(func)
    except TimeoutError:
        pass
    raise ZuliprcError(
        f"Could not {action}: no response from the file system in {timeout:g} s. "
        "Use a regular file on a local disk."
    )


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


def _resolve_path(path: str | os.PathLike[str]) -> Path:
    try:
        return resolve_zuliprc_path(path)
    except ZuliprcError:
        pass
    raise InvalidInputError("zuliprc must be a str or Path (and `~` needs a home directory).")


def _load(path: Path, site: str, username: str) -> Credentials | None:
    """Return the credentials in a zuliprc, or None if there are none for the account.

    Raises:
        ZuliprcError: If they are invalid or another account's.
    """
    section = read_zuliprc(path, missing_ok=True)
    email, login_name = section.get("email"), section.get(LOGIN_NAME)
    # casefold() makes "gro\u00df" and "gross" the same, which are two accounts.
    is_known = username.lower() in [name.lower() for name in (email, login_name) if name]
    # An LDAP name cannot be compared with an email address.
    is_comparable = "@" in username or login_name is not None
    expected = username if is_comparable and not is_known else email or username
    if not matches_account(site, expected, section):
        raise ZuliprcError(f"{path} contains a different account.")
    if section.get("key") is None:
        return None
    stored = credentials_from_section(
        Credentials, section, f"section [api] of {path}", allow_http=True
    )
    return stored if is_known else None


def _is_same_key(credentials: Credentials | None, other: Credentials | None) -> bool:
    # In a function of its own: error trackers evaluate attributes of variables.
    return credentials is not None and other is not None and credentials.api_key == other.api_key
