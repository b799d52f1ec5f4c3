"""The stand-in server and its controls."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette

from .app import create_app
from .state import Account, DevLogin, Realm, ReceivedRequest, State

_HOST = "127.0.0.1"


class FakeZulip:
    """A stand-in Zulip server on a free loopback port, in its own thread.

    Responses match those recorded from real servers. Accounts, passwords and
    login attempts have state, as on a real server. Use it with `async with`
    or `with`.

    Args:
        users: Passwords of the first organization's users, by email.
        dev_login: Whether `dev_fetch_api_key` is `"on"`, `"off"`, or missing
            as in `"production"`.
    """

    def __init__(
        self, users: Mapping[str, str] | None = None, *, dev_login: DevLogin = "on"
    ) -> None:
        self._state = State(dev_login)
        self._realm = self._state.add_realm(_HOST)
        for email, password in (users or {}).items():
            self._realm.add_user(email, password)
        self._app = create_app(self._state)
        self._thread: _ServerThread | None = None

    @property
    def app(self) -> Starlette:
        """Return the ASGI application, for tests without a socket."""
        return self._app

    @property
    def site(self) -> str:
        """Return the URL of the first organization.

        Raises:
            RuntimeError: If the server is not running.
        """
        return self._realm.site

    @property
    def realm(self) -> Realm:
        """Return the first organization."""
        return self._realm

    @property
    def dev_login(self) -> DevLogin:
        """Return or set the state of development logins: `"on"`, `"off"` or `"production"`."""
        return self._state.dev_login

    @dev_login.setter
    def dev_login(self, value: DevLogin) -> None:
        self._state.dev_login = value

    @property
    def requests(self) -> Sequence[ReceivedRequest]:
        """Return the requests to the endpoints, oldest first."""
        return tuple(self._state.requests)

    def add_user(self, email: str, password: str) -> Account:
        """Create an account in the first organization and return it."""
        return self._realm.add_user(email, password)

    def account(self, email: str) -> Account:
        """Return an account of the first organization by its case-insensitive email.

        Raises:
            KeyError: If there is no such account.
        """
        return self._realm.account(email)

    def add_realm(self, host: str) -> Realm:
        """Create an organization at another host name and return it.

        Args:
            host: Host name of its URL, without a port. `localhost` needs no
                setup; for other names, use a transport that connects to this
                server.
        """
        return self._state.add_realm(host)

    def advance(self, seconds: float) -> None:
        """Advance the server's clock.

        Args:
            seconds: Added to the current time.
        """
        self._state.clock_offset += seconds

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise RuntimeError("FakeZulip is already running.")
        self._thread = _ServerThread(self._app, self._state)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
            thread.join()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()  # before the await, which may be cancelled
            await asyncio.to_thread(thread.join)

    def __repr__(self) -> str:
        return f"<FakeZulip {self.site if self._thread else 'not running'}>"


class _ServerThread:
    """A running uvicorn server and its thread."""

    def __init__(self, app: Starlette, state: State) -> None:
        # Listen before the thread starts, so that early requests wait in the backlog.
        self._socket = socket.create_server((_HOST, 0), backlog=2048)
        state.port = self._socket.getsockname()[1]
        self._state = state
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="FakeZulip", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._socket:
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        self._server.should_exit = True
        self._state.close_queues()
        self._state.port = None

    def join(self) -> None:
        self._thread.join()
