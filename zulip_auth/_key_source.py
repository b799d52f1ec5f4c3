"""Share one API key between many tasks, event loops and threads."""

from __future__ import annotations

import copy
import inspect
import logging
from asyncio import sleep
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import NoReturn, Self

from attrs import define, evolve

from ._client import AuthClient
from ._credentials import Credentials, FilePath
from ._event_loop import run_in_thread
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
from ._single_flight import SingleFlight
from ._stores import CredentialStore, EnvironmentStore, MemoryStore, StoreAccess, ZuliprcStore
from ._validation import validate_seconds, validate_text, validate_type
from ._zuliprc import SECTION

logger = logging.getLogger("zulip_auth")

# Seconds until a rejected key may be tried again: a server accepts it after an
# account is reactivated.
_KEY_RETRY_DELAY = 60.0

# Seconds after a rejected login until a rejected key allows another one: a server
# forgets attempts after 30 minutes.
_ERROR_LIFETIME = 1800.0

_STORE_TIMEOUT = 30.0  # seconds, without a client
_MAX_FLIGHTS = 5  # that a caller waits for

PasswordProvider = str | Callable[[], Awaitable[str]]


@define
class _Memory:
    """A rejected key and a rejected login, until `reset()` or until a key is accepted again."""

    rejected: Credentials | None = None
    rejected_at: float = 0.0
    error: ZulipAuthError | None = None
    error_at: float = 0.0

    def rejects(self, credentials: Credentials | None) -> bool:
        is_recent = monotonic() < self.rejected_at + _KEY_RETRY_DELAY
        return is_recent and is_same_key(credentials, self.rejected)

    def reject(self, credentials: Credentials) -> None:
        if monotonic() > self.error_at + _ERROR_LIFETIME:
            self.error = None
        self.rejected, self.rejected_at = credentials, monotonic()


class ApiKeySource:
    """Provide the credentials of one account to many tasks, event loops and threads.

    Concurrent callers share one login. Cancelling a caller does not cancel the
    login. Whatever ends it is raised to all of its callers.

    A rejected login is remembered and raised to later callers without another
    request, so an incorrect password costs the account one attempt. So is any
    failure that leaves the account at most one attempt. `reset()` forgets it,
    and so does a key that is accepted again, or rejected after 30 minutes.
    Other failures (no connection, 5xx, 429) are not remembered.

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
        login = _PasswordLogin(client, username, password)
        store = MemoryStore() if store is None else store
        self._setup(StoreAccess(store, client._timeout), login=login)  # noqa: SLF001

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
        validate_seconds("wait", wait, allow_zero=True)
        source = cls.__new__(cls)
        source._setup(StoreAccess(store, _STORE_TIMEOUT), wait=wait)  # noqa: SLF001
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
        self, store: StoreAccess, *, login: _PasswordLogin | None = None, wait: float = 0.0
    ) -> None:
        self._store = store
        self._login = login
        self._wait = wait
        self._site = login.client.site if login else None
        self._credentials: Credentials | None = None
        self._replaced: Credentials | None = None  # by a rotation; it may still be stored
        self._memory = _Memory()
        self._flights: SingleFlight[Credentials] = SingleFlight()

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

    @hide_locals
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
        return self._credentials or await self._find(None)

    @hide_locals
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
        return await self._find(validate_type("stale", stale, Credentials))

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
            work = partial(self._rotate, await self.get())
            flight = self._flights.join(work)
            error = await flight.wait()
            if flight.work is work:
                break
        if error is not None:
            raise error
        if flight.result is None:
            raise InvalidInputError("The rotation was cancelled. Check the key with verify().")
        return flight.result

    def reset(self) -> None:
        """Forget a rejected login and a rejected key: the next caller tries again."""
        self._memory = _Memory()  # a login under way goes on with the other one

    def _note_success(self) -> None:
        """Forget a rejected login, since the server accepted a key after it."""
        if self._memory.error is not None:
            self.reset()

    async def _find(self, stale: Credentials | None) -> Credentials:
        """Return the credentials other than *stale*."""
        work = self._log_in if self._login else partial(self._look, stale)
        error: BaseException | None = None
        for _ in range(_MAX_FLIGHTS):
            with self._flights.lock:
                current = self._credentials
                if current is not None and not is_same_key(current, stale):
                    return current
                if error is not None:
                    raise error
                if stale is not None and self._login:
                    self._reject(stale)
                flight = self._flights.join(work)
            # Without an error, it may have started before the key was rejected,
            # or was cancelled by other code, or its event loop has gone.
            error = await flight.wait()
            if flight.result is not None and not is_same_key(flight.result, stale):
                return flight.result  # also if another caller has rejected it since
        raise error or InvalidInputError("The login was cancelled repeatedly.")

    def _reject(self, stale: Credentials) -> None:
        """Drop credentials that a server rejected.

        Raises:
            InvalidApiKeyError: If a login has returned them since.
        """
        if not self._memory.rejects(stale):
            self._memory.reject(stale)
            self._credentials = None
        elif self._credentials is not None:
            raise InvalidApiKeyError(
                f"{self.site} rejects the API key that it just issued. A proxy may be stripping "
                "the Authorization header. Try again in a minute.",
                status_code=401,
            )

    # ---- With a password

    async def _log_in(self) -> Credentials:
        """Provide stored credentials, or log in."""
        memory = self._memory
        credentials = await self._load_accepted()
        if credentials is None:
            if memory.error is not None:
                raise copy.copy(memory.error)
            async with self._store.lock():
                credentials = await self._load_accepted()  # of the process that had the lock
                if credentials is None:
                    return await self._log_in_once(memory)
        return self._provide(credentials)

    async def _load_accepted(self) -> Credentials | None:
        """Return the stored credentials, unless the server rejected them in the last minute."""
        memory = self._memory
        credentials = await self._load() or memory.rejected
        return None if memory.rejects(credentials) else credentials

    async def _log_in_once(self, memory: _Memory) -> Credentials:
        assert self._login is not None
        await self._store.check()
        try:
            credentials = await self._login()
        except ZulipAuthError as error:
            if is_final(error):
                # A copy has no traceback.
                memory.error, memory.error_at = copy.copy(error), monotonic()
            raise
        if reason := await self._provide_new(credentials):
            logger.warning("Logged in, but could not save the API key: %s", reason)
        return credentials

    # ---- Without a password

    async def _look(self, stale: Credentials | None) -> Credentials:
        """Provide the stored credentials; look for other ones than *stale*."""
        credentials = await self._load(stale)
        if is_same_key(credentials, stale):
            with suppress(CredentialStoreError):  # a store that cannot be locked is not shared
                async with self._store.lock():  # another process may be replacing the key
                    credentials = await self._load(stale)
        # Wait once for each key: it may be another reason that the server rejects it for.
        wait = 0.0 if is_same_key(stale, self._memory.rejected) else self._wait
        self._memory.rejected = stale
        until = monotonic() + wait
        while is_same_key(credentials, stale) and monotonic() < until:
            await sleep(min(wait / 20, 1.0))
            credentials = await self._load(stale)
        if credentials is None:
            raise NotLoggedInError(f"No credentials in {self._store!r}. Run `zulip-auth login`.")
        if is_same_key(credentials, stale):
            raise InvalidApiKeyError(
                f"{credentials.site} rejected the API key from {self._store!r}. Store a valid one "
                "there.",
                status_code=401,
            )
        return self._provide(credentials)

    # ---- Both

    async def _rotate(self, old: Credentials) -> Credentials:
        async with self._store.lock():
            old = await self._load(old) or old  # another process may have replaced the key
            await self._store.check()
            client = self._login.client if self._login else await _create_client(old)
            self._memory.reject(old)
            self._credentials = None  # callers wait
            try:
                new = await client.regenerate_api_key(old)
            except ZulipAuthError as error:
                if not may_have_succeeded(error):
                    self.reset()
                    self._credentials = old
                raise
            self._replaced = old
            reason = await self._provide_new(new)
        if reason:
            raise CredentialStoreError(
                f"The key was replaced, but could not be saved: {reason} This program goes on with "
                "the new one; log in again to save it."
            )
        return new

    def _provide(self, credentials: Credentials) -> Credentials:
        rejected = self._memory.rejected
        if rejected is not None and not is_same_key(credentials, rejected):
            logger.info("Renewed the API key of %s at %s.", credentials.email, credentials.site)
        with self._flights.lock:
            self._site, self._credentials = credentials.site, credentials
        return credentials

    async def _provide_new(self, credentials: Credentials) -> str:
        """Provide credentials and store them; return the reason if that fails."""
        self._provide(credentials)
        try:
            await self._store.save(credentials)
        except Exception as exc:  # noqa: BLE001 - a store may raise anything
            # The message of another library may have the key.
            return str(exc) if isinstance(exc, ZulipAuthError) else f"{type(exc).__name__}."
        return ""

    async def _load(self, stale: Credentials | None = None) -> Credentials | None:
        """Return the stored credentials, if there are any of this account.

        A key that this source replaced and could not save counts as *stale*.
        """
        credentials = await self._store.load()
        if credentials is None or not self._is_own(credentials):
            return None
        return stale if is_same_key(credentials, self._replaced) else credentials

    def _is_own(self, credentials: Credentials) -> bool:
        """Return whether stored credentials are this account's.

        Raises:
            CredentialStoreError: If they are those of another one.
        """
        if self._site not in (None, credentials.site):
            raise CredentialStoreError(
                f"The site in {self._store!r} is not {self._site}. Create another ApiKeySource."
            )
        if self._login is None or self._login.username.lower() in (
            credentials.email.lower(),
            # casefold() makes "gro\u00df" and "gross" the same, which are two accounts.
            (credentials.login_name or "").lower(),
        ):
            return True
        if "@" in self._login.username or credentials.login_name:
            raise CredentialStoreError(f"{self._store!r} contains a different account.")
        return False  # an LDAP name cannot be compared with an email address


class _PasswordLogin:
    """Log in with a password.

    Args:
        client: The client to log in with.
        username: The account's email address or LDAP name.
        password: The password, or a function that returns it.
    """

    def __init__(self, client: AuthClient, username: str, password: PasswordProvider) -> None:
        self.client = validate_type("client", client, AuthClient)
        self.username = validate_text("username", username)
        if not callable(password):
            validate_text("password", password)

        async def get_password() -> str:
            if not callable(password):
                return password
            awaitable: object = password()
            if inspect.isawaitable(awaitable):
                return await awaitable  # type: ignore[no-any-return]
            del awaitable  # it may be the password itself
            raise InvalidInputError("password must be a str or an async function.")

        self._get_password = get_password  # no attribute has the password

    async def __call__(self) -> Credentials:
        credentials = await self.client.login(self.username, await self._get_password())
        is_email = credentials.email.lower() == self.username.lower()
        return credentials if is_email else evolve(credentials, login_name=self.username)


async def _create_client(credentials: Credentials) -> AuthClient:
    context = await run_in_thread(credentials.ssl_context)
    return AuthClient(credentials.site, ssl_context=context, allow_http=True)


def is_same_key(credentials: Credentials | None, other: Credentials | None) -> bool:
    # In a function of its own: error trackers evaluate attributes of variables.
    return credentials is not None and other is not None and credentials.api_key == other.api_key
