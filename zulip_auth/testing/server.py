"""The stand-in server and its controls."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from .app import create_app
from .server_thread import ServerThread
from .state import Account, DevLogin, Realm, ReceivedRequest, State

_HOST = "127.0.0.1"
_POLL_INTERVAL = 0.005


class FakeZulip:
    """A stand-in Zulip server on a free loopback port, in its own thread.

    Responses match those recorded from real servers. Accounts, passwords,
    login attempts, messages and event queues have state, as on a real server.
    Use it with `async with` or `with`.

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
        self._thread: ServerThread | None = None
        self._reserved: socket.socket | None = None

    @property
    def app(self) -> Starlette:
        """Return the ASGI application, for tests without a socket."""
        return self._app

    @property
    def site(self) -> str:
        """Return the URL of the first organization.

        Raises:
            RuntimeError: If the server is not running, or its thread has died.
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
    def password_check_time(self) -> float:
        """Return or set the seconds that the check of a password takes, 0.0 by default.

        As on a real server, the attempt is counted before the check.
        """
        return self._state.password_check_time

    @password_check_time.setter
    def password_check_time(self, value: float) -> None:
        self._state.password_check_time = value

    @property
    def requests(self) -> Sequence[ReceivedRequest]:
        """Return all requests, also those to unknown paths, oldest first."""
        return tuple(self._state.requests)

    def add_user(self, email: str, password: str) -> Account:
        """Create an account in the first organization and return it."""
        return self._realm.add_user(email, password)

    def add_bot(self, owner_email: str, full_name: str) -> Account:
        """Create a bot in the first organization and return it.

        A bot has an API key, which its owner can list, and no password. Its
        email is made of *full_name*, such as `reminder-bot@zulipdev.com`.

        Args:
            owner_email: Email of the account that owns the bot.
            full_name: Full name of the bot.

        Raises:
            KeyError: If there is no such owner.
            ValueError: If the email is in use.
        """
        return self._realm.add_bot(owner_email, full_name)

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

    def add_route(
        self,
        path: str,
        endpoint: Callable[[Request], Response | Awaitable[Response]],
        *,
        methods: Sequence[str] = ("GET",),
    ) -> None:
        """Add an endpoint. It replaces the one that the server has at *path*.

        Args:
            path: Path of the URL, such as `/api/v1/typing`, with the parameters
                of a Starlette route.
            endpoint: Starlette endpoint: takes a request, returns a response.
            methods: HTTP methods.
        """
        self._app.router.routes.insert(0, Route(path, endpoint, methods=list(methods)))

    def fail_next(
        self,
        path: str,
        *,
        times: int = 1,
        status: int | None = None,
        json: Any = None,
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        drop: bool = False,
    ) -> None:
        """Fail the next requests to a path.

        They are recorded in `requests`, and have no other effect. A call adds
        to the failures of earlier calls.

        Args:
            path: Path of the URL, such as `/api/v1/fetch_api_key`.
            times: Number of requests that fail.
            status: Status code. By default 200 with a *json* or *body*, else
                500. With only a *delay*, the request succeeds, but late.
            json: Body of the response as a JSON value.
            body: Body of the response. By default empty.
            headers: Headers of the response.
            delay: Seconds before the response, or before the drop.
            drop: Whether to close the connection without a response.
        """
        has_body = json is not None or body is not None
        response: Response | None = None
        if json is not None:
            response = JSONResponse(json, status or 200, headers)
        elif status or has_body or not (delay or drop):
            response = HTMLResponse(body, status or (200 if has_body else 500), headers)
        failures = [(response, delay, drop)] * times
        self._state.failures.setdefault(path, []).extend(failures)

    async def wait_for(
        self, method: str, path: str, *, count: int = 1, timeout: float = 5.0
    ) -> tuple[ReceivedRequest, ...]:
        """Wait for requests to a path and return all of them, oldest first.

        Requests that were received before the call count.

        Args:
            method: HTTP method, such as `POST`.
            path: Path of the URL, such as `/api/v1/messages`.
            count: Number of requests to wait for.
            timeout: Seconds to wait.

        Raises:
            TimeoutError: If there are fewer requests when *timeout* expires.
            RuntimeError: If the server's thread has died.
        """
        number = 0
        for _ in range(int(timeout / _POLL_INTERVAL) + 1):
            self._state.check_error()
            received = [r for r in self.requests if (r.method, r.path) == (method, path)]
            if len(received) >= count:
                return tuple(received)
            number = len(received)
            # Sleep in a thread, because a test may have frozen the loop's clock.
            await asyncio.to_thread(time.sleep, _POLL_INTERVAL)
        raise TimeoutError(f"Received {number} of {count} {method} {path} requests in {timeout} s.")

    def advance(self, seconds: float) -> None:
        """Advance the server's clock.

        Args:
            seconds: Added to the current time.
        """
        self._state.clock_offset += seconds

    def expire_queues(self) -> None:
        """Expire all event queues: polls end with `BAD_EVENT_QUEUE_ID`."""
        self._state.expire_queues()

    def stop(self) -> None:
        """Stop the server, as in an outage: connections are dropped, and new ones fail.

        Its port stays reserved, and its state stays as it is.
        """
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
            self._reserved = _bind(self._state.port or 0)

    def start(self) -> None:
        """Start the server, on the same port after `stop`.

        Raises:
            RuntimeError: If the server is already running.
        """
        if self._thread is not None:
            raise RuntimeError("FakeZulip is already running.")
        sock, self._reserved = self._reserved or _bind(0), None
        self._state.port = sock.getsockname()[1]
        self._thread = ServerThread(self._app, self._state, sock)
        self._thread.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        reserved, self._reserved = self._reserved, None
        if reserved is not None:
            reserved.close()
        self._state.port = None
        if exc_info[1] is None:
            self._state.check_error()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        # Stopping takes a moment only, and must not be cancelled halfway.
        self.__exit__(*exc_info)

    def __repr__(self) -> str:
        port, status = self._state.port, "" if self._thread else " stopped"
        status = " died" if self._state.error else status
        return f"<FakeZulip http://{_HOST}:{port}{status}>" if port else "<FakeZulip not running>"


def _bind(port: int) -> socket.socket:
    """Return a socket that reserves a port. Connections fail until it listens."""
    # asyncio sets TCP_NODELAY only on sockets with an explicit protocol.
    sock = socket.socket(proto=socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((_HOST, port))
    return sock
