"""One API key for many tasks: who logs in, and when."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from attrs import Factory, define

from ._client import AuthClient
from ._credentials import Credentials, credentials_from_section
from ._exceptions import (
    APIStatusError,
    InvalidApiKeyError,
    InvalidInputError,
    ZulipAuthError,
    ZuliprcError,
)
from ._redaction import Secret
from ._validation import get_asyncio_loop, validate_text, validate_type
from ._zuliprc import read_zuliprc, resolve_zuliprc_path

_log = logging.getLogger("zulip_auth")

_PASSING = (408, 429)  # the server has looked at nothing
_SAME_KEY_PAUSE = 60.0
"""How many seconds there is no login for a key that a login has just given again."""

Password = str | Callable[[], Awaitable[str]]
Outcome = Credentials | Exception
"""What came of a login. Raised, an error would be one for all who wait."""


@define(eq=False)
class _Login:
    """A login under way, and who waits for it, in whichever event loops."""

    loop: asyncio.AbstractEventLoop
    waiting: list[asyncio.Future[Outcome | None]] = Factory(list)


class ApiKeySource:
    """Gives one account's credentials to any number of tasks, and logs in when needed.

    However many tasks ask at the same moment, there is one login. It is not
    broken off when those who wait for it are cancelled: the next one finds what
    came of it.

    A refused login is remembered, and raised to every later caller without
    another request, so that a wrong password costs the account one attempt.
    `reset()` forgets it. Nothing is remembered where the server was not
    reached, has failed, or wanted to be asked later (429).

    Tasks of several event loops may share it, too, each loop in a thread of its own.

    Args:
        client: What logs in; it says to which site.
        username: The account's e-mail address, or its LDAP name.
        password: Its password, or a coroutine function that returns it, which
            is called once for each login. What that raises comes out of `get`
            and `refresh` as it is.
        zuliprc: A file in which to keep the credentials between two runs. What
            it holds is used until the server refuses it. It is read and
            written in another thread.

    Raises:
        InvalidInputError: An argument makes no sense.
    """

    def __init__(
        self,
        client: AuthClient,
        username: str,
        password: Password,
        *,
        zuliprc: str | os.PathLike[str] | None = None,
    ) -> None:
        given = password if callable(password) else Secret(password)
        del password  # so that no traceback which shows variables shows it
        self._client = validate_type("client", client, AuthClient)
        self._username = validate_text("username", username)
        if isinstance(given, Secret):
            validate_text("password", given.value)
        self._password = given
        self._zuliprc = None if zuliprc is None else _path(zuliprc)
        self._lock = threading.Lock()  # over all that follows
        self._current: Credentials | None = None
        self._stale = ""  # the key that was refused last
        self._same_key: tuple[str, float] = "", 0.0  # given again for a refused one, and when
        self._refused: ZulipAuthError | None = None
        self._resets = 0
        self._login: _Login | None = None

    @property
    def site(self) -> str:
        """Return the organization's address."""
        return self._client.site

    def __repr__(self) -> str:
        return f"<ApiKeySource {getattr(self, '_client', 'without a client')!r}>"

    async def get(self) -> Credentials:
        """Return the credentials, and log in first where there are none.

        Raises:
            ZuliprcError: The zuliprc cannot be used, or is another account's.
                It is as it was.
            ZulipAuthError: The login failed, now or before; as from
                `AuthClient.login`.
        """
        return self._current or await self._logged_in("")

    async def refresh(self, stale: Credentials) -> Credentials:
        """Return other credentials than those which a server has refused.

        It logs in only if nobody has done so since.

        Args:
            stale: The credentials that were refused.

        Raises:
            InvalidInputError: They are no credentials.
            InvalidApiKeyError: A login gives the very key that was refused.
                For a minute after that, there is no other login for it.
            ZuliprcError: As from `get`.
            ZulipAuthError: As from `get`.
        """
        if not isinstance(stale, Credentials):
            kind = type(stale).__name__
            del stale  # which may be the key itself
            raise InvalidInputError(f"stale must be Credentials, not {kind}.")
        return await self._logged_in(stale.api_key)

    def reset(self) -> None:
        """Forget that a login was refused: the next caller tries again."""
        with self._lock:
            self._refused = None
            self._same_key = "", 0.0
            self._resets += 1

    async def _logged_in(self, stale: str) -> Credentials:
        refused = Secret(stale)
        del stale  # so that no traceback which shows variables shows it
        while True:
            known = self._known(refused)
            if known is None:
                known = await self._wait()
            if isinstance(known, ZulipAuthError):
                raise copy.copy(known)  # each has a traceback of its own
            if isinstance(known, Exception):
                raise known
            # It may be the login of one who did not know yet that the key is stale.
            if known is not None and known.api_key != refused.value:
                return known

    def _known(self, stale: Secret) -> Outcome | None:
        """Return what needs no waiting; else see to it that there is a login."""
        with self._lock:
            if stale.value:
                self._stale = stale.value
            if self._refused is not None:
                return self._refused
            if self._current is not None and self._current.api_key != stale.value:
                return self._current
            key, since = self._same_key
            if stale.value and stale.value == key and time.monotonic() < since + _SAME_KEY_PAUSE:
                return _same_key_again(self.site)
            self._current = None
            # A loop that does not run any more will never end it.
            if self._login is None or not self._login.loop.is_running():
                loop = get_asyncio_loop()
                self._login = _Login(loop)
                task = loop.create_task(self._log_in(Secret(self._stale), self._resets))
                task.add_done_callback(partial(self._end, self._login))
            return None

    async def _wait(self) -> Outcome | None:
        """Return what comes of the login under way; None where it was given up."""
        with self._lock:
            login = self._login
            if login is None:  # it has just ended, in another thread
                return None
            ended: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
            login.waiting.append(ended)
        return await ended

    def _end(self, login: _Login, task: asyncio.Task[Outcome]) -> None:
        """Tell all who wait, each in the event loop of its own."""
        outcome = None if task.cancelled() else task.result()
        with self._lock:
            if self._login is login:
                self._login = None
        for ended in login.waiting:
            try:
                ended.get_loop().call_soon_threadsafe(_set, ended, outcome)
            except RuntimeError:  # that loop has been closed meanwhile
                continue

    async def _log_in(self, stale: Secret, resets: int) -> Outcome:
        try:
            found = await asyncio.to_thread(self._load, stale)
            if found is None:
                password = await self._ask_password()
                if isinstance(password, Exception):
                    return password
                found = await self._client.login(self._username, password.value)
                await asyncio.to_thread(self._save, found)
        except ZulipAuthError as error:
            return self._remember(copy.copy(error), resets)
        with self._lock:
            self._current = found
            if found.api_key != stale.value:
                return found
            self._same_key = stale.value, time.monotonic()
        return _same_key_again(self.site)

    def _remember(self, error: ZulipAuthError, resets: int) -> ZulipAuthError:
        status = error.status_code if isinstance(error, APIStatusError) else 0
        with self._lock:
            if 400 <= status <= 499 and status not in _PASSING and resets == self._resets:
                self._refused = error
        return error

    async def _ask_password(self) -> Secret | Exception:
        if isinstance(self._password, Secret):
            return self._password
        try:
            asked = self._password()
            if not inspect.isawaitable(asked):
                del asked
                return InvalidInputError("password must be a str or a coroutine function.")
            return Secret(await asked)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return InvalidInputError("What was asked for the password was cancelled.")
        except Exception as error:  # noqa: BLE001 - it is the caller's own, and comes out as it is
            return error

    def _load(self, stale: Secret) -> Credentials | None:
        """Return what the zuliprc holds, if it is of use."""
        path = self._zuliprc
        values = None if path is None else read_zuliprc(path, missing_ok=True)
        if values is None or values.get("key") is None:
            return None
        stored = credentials_from_section(values, str(path))
        named = "@" in self._username  # else the file cannot be compared with it
        if stored.site != self.site or (
            named and stored.email.casefold() != self._username.casefold()
        ):
            raise ZuliprcError(f"{path} holds another account than the one that is to log in.")
        return stored if named and stored.api_key != stale.value else None

    def _save(self, credentials: Credentials) -> None:
        if self._zuliprc is None:
            return
        try:
            credentials.save(self._zuliprc)
        except ZuliprcError as error:
            # The key is there all the same, and whoever waits for it wants to go on.
            _log.warning("Logged in, but the key is not kept. %s", error)


def _set(ended: asyncio.Future[Outcome | None], outcome: Outcome | None) -> None:
    if not ended.done():  # who waited may have been cancelled
        ended.set_result(outcome)


def _path(path: str | os.PathLike[str]) -> Path:
    try:
        return resolve_zuliprc_path(path)
    except ZuliprcError:
        pass
    raise InvalidInputError("zuliprc must be a str or a Path, in a home that exists.")


def _same_key_again(site: str) -> InvalidApiKeyError:
    return InvalidApiKeyError(
        f"{site} refuses the very API key that a login there gives. "
        "Something between may take the header Authorization away. Try again in a minute.",
        status_code=401,
    )
