"""One API key for many tasks: who logs in, and when."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from ._client import AuthClient
from ._credentials import Credentials
from ._errors import APIStatusError, ZulipAuthError, ZuliprcError
from ._inputs import checked_instance, checked_text
from ._secrets import Secret
from ._zuliprc import read_zuliprc

_log = logging.getLogger("zulip_auth")

_PASSING = (408, 429)  # the server has looked at nothing

Password = str | Callable[[], Awaitable[str]]


class ApiKeySource:
    """Gives one account's credentials to any number of tasks, and logs in when needed.

    However many tasks ask at the same moment, there is one login. It is not
    broken off when those who wait for it are cancelled: the next one finds what
    came of it.

    A refused login is remembered, and raised to every later caller without
    another request, so that a wrong password costs the account one attempt.
    `reset()` forgets it. Nothing is remembered where the server was not
    reached, has failed, or wanted to be asked later (429).

    It works in one event loop after another; two that ask at the same moment
    have a login each.

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
        self._client = checked_instance("client", client, AuthClient)
        self._username = checked_text("username", username)
        if isinstance(given, Secret):
            checked_text("password", given.value)
        self._password = given
        self._zuliprc = None if zuliprc is None else Path(zuliprc).expanduser()
        self._current: Credentials | None = None
        self._refused: ZulipAuthError | None = None
        self._login: asyncio.Task[Credentials | ZulipAuthError] | None = None

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
        return self._current or await self._logged_in(None)

    async def refresh(self, stale: Credentials) -> Credentials:
        """Return other credentials than those which a server has refused.

        It logs in only if nobody has done so since.

        Args:
            stale: The credentials that were refused.

        Raises:
            ZuliprcError: As from `get`.
            ZulipAuthError: As from `get`.
        """
        current = self._current
        if current is not None and current.api_key != stale.api_key:
            return current
        self._current = None
        return await self._logged_in(stale)

    def reset(self) -> None:
        """Forget that a login was refused: the next caller tries again."""
        self._refused = None

    async def _logged_in(self, stale: Credentials | None) -> Credentials:
        if self._refused is not None:
            raise copy.copy(self._refused)  # each has a traceback of its own
        loop = asyncio.get_running_loop()
        # One that began in another event loop will never end in this one.
        if self._login is None or self._login.done() or self._login.get_loop() is not loop:
            self._login = loop.create_task(self._log_in(stale))
        result = await asyncio.shield(self._login)
        if isinstance(result, ZulipAuthError):
            raise copy.copy(result)
        return result

    async def _log_in(self, stale: Credentials | None) -> Credentials | ZulipAuthError:
        """Return what came of a login; a raised error would be one for all who wait."""
        try:
            credentials = await asyncio.to_thread(self._load, stale)
            if credentials is None:
                credentials = await self._client.login(self._username, await self._ask_password())
                await asyncio.to_thread(self._save, credentials)
        except ZulipAuthError as error:
            failed = copy.copy(error)
        else:
            self._current = credentials
            return credentials
        status = failed.status_code if isinstance(failed, APIStatusError) else 0
        if 400 <= status <= 499 and status not in _PASSING:
            self._refused = failed
        return failed

    async def _ask_password(self) -> str:
        if isinstance(self._password, Secret):
            return self._password.value
        return await self._password()

    def _load(self, stale: Credentials | None) -> Credentials | None:
        """Return what the zuliprc holds, if it is of use."""
        path = self._zuliprc
        if path is None or not path.exists() or read_zuliprc(path).get("key") is None:
            return None
        stored = Credentials.load(path)
        named = "@" in self._username  # else the file cannot be compared with it
        if stored.site != self.site or (
            named and stored.email.casefold() != self._username.casefold()
        ):
            raise ZuliprcError(f"{path} holds another account than the one that is to log in.")
        is_stale = stale is not None and stored.api_key == stale.api_key
        return stored if named and not is_stale else None

    def _save(self, credentials: Credentials) -> None:
        if self._zuliprc is None:
            return
        try:
            credentials.save(self._zuliprc)
        except ZuliprcError as error:
            # The key is there all the same, and whoever waits for it wants to go on.
            _log.warning("Logged in, but the key is not kept. %s", error)
