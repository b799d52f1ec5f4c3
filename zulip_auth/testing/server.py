"""The stand-in server and its controls."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from .accounts import Account, Realm
from .app import CONTROL_PATH, create_app
from .control import Control
from .messages import Message, normalize_topic
from .server_thread import ServerThread
from .state import DevLogin, ReceivedRequest, State

_POLL_INTERVAL = 0.005


class FakeZulip:
    """A stand-in Zulip server, in its own thread.

    Responses match those recorded from real servers. Accounts, passwords,
    login attempts, messages and event queues have state, as on a real server.
    Use it with `async with` or `with`.

    Args:
        users: Passwords of the first organization's users, by email.
        dev_login: Whether `dev_fetch_api_key` is `"on"`, `"off"`, or missing
            as in `"production"`.
        host: Address to listen on.
        port: Port to listen on; 0 for a free one.
        realm_host: Host name of the first organization. By default *host*, or
            the loopback address if that is the address of all interfaces.
        any_host: Whether requests with another host name are for the first
            organization. By default, there is no organization at other names.
        ssl_context: Context with a certificate, for https.
    """

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        *,
        dev_login: DevLogin = "on",
        host: str = "127.0.0.1",
        port: int = 0,
        realm_host: str | None = None,
        any_host: bool = False,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        scheme = "http" if ssl_context is None else "https"
        self._state = State(dev_login, any_host, scheme)
        self._host, self._port, self._ssl_context = host, port, ssl_context
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        self._realm = self._state.add_realm(realm_host or loopback.get(host, host))
        for email, password in (users or {}).items():
            self._realm.add_user(email, password)
        self._app = create_app(self._state)
        self._app.router.routes.insert(0, Route(f"{CONTROL_PATH}{{action}}", Control(self)))
        self._thread: ServerThread | None = None
        self._process = 0
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

    @property
    def messages(self) -> Sequence[Message]:
        """Return all messages, oldest first."""
        with self._state.lock:
            return tuple(self._state.messages.values())

    @property
    def unserved(self) -> Sequence[str]:
        """Return the requests to endpoints of Zulip that this server does not have."""
        return tuple(self._state.unserved)

    def add_user(self, email: str, password: str, *, full_name: str = "Test User") -> Account:
        """Create an account in the first organization and return it.

        Args:
            email: Email address.
            password: Password.
            full_name: Full name, as in a mention.
        """
        return self._realm.add_user(email, password, full_name=full_name)

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

    def send(
        self,
        sender: Account | str,
        to: Account | str | Sequence[Account | str],
        content: str,
        *,
        topic: str | None = None,
    ) -> int:
        """Send a message without a request, and return its id.

        Args:
            sender: Account or email of the sender.
            to: Name of a channel with a *topic*, else one or more accounts or
                emails.
            content: Content.
            topic: Topic of a message to a channel.

        Raises:
            KeyError: If there is no such account or channel.
            ValueError: If the content or the topic is invalid.
        """
        account = self.account(sender) if isinstance(sender, str) else sender
        realm = self._state.realm_of(account)
        target: str | list[Account]
        if topic is not None:
            channel = realm.find_channel(to) if isinstance(to, str) else None
            if channel is None:
                raise KeyError(to)
            target, topic = channel, normalize_topic(topic)
        else:
            names = [to] if isinstance(to, Account | str) else to
            target = [realm.account(n) if isinstance(n, str) else n for n in names]
        return self._state.send(realm, account, target, topic or "", content, "FakeZulip").id

    def mark(self) -> int:
        """Return the number of requests until now, for the argument *since* of `wait_for`."""
        return len(self._state.requests)

    def count(self, method: str, path: str, *, since: int = 0) -> int:
        """Return the number of requests to a path.

        Args:
            method: HTTP method, such as `POST`.
            path: Path of the URL, such as `/api/v1/messages`.
            since: Requests to leave out: a value of `mark`.
        """
        return len(self._received(method, path, None, since))

    async def wait_for(
        self,
        method: str,
        path: str,
        *,
        match: Callable[[ReceivedRequest], bool] | None = None,
        count: int = 1,
        since: int = 0,
        timeout: float = 5.0,
    ) -> tuple[ReceivedRequest, ...]:
        """Wait for requests to a path and return all of them, oldest first.

        Requests that were received before the call count, unless there is
        *since*.

        Args:
            method: HTTP method, such as `POST`.
            path: Path of the URL, such as `/api/v1/messages`.
            match: Function that returns whether to count a request.
            count: Number of requests to wait for.
            since: Requests to leave out: a value of `mark`.
            timeout: Seconds to wait.

        Raises:
            TimeoutError: If there are fewer requests when *timeout* expires.
            RuntimeError: If the server's thread has died.
        """
        number = 0
        for _ in range(int(timeout / _POLL_INTERVAL) + 1):
            self._state.check_error()
            received = self._received(method, path, match, since)
            if len(received) >= count:
                return received
            number = len(received)
            # Sleep in a thread, because a test may have frozen the loop's clock.
            await asyncio.to_thread(time.sleep, _POLL_INTERVAL)
        raise TimeoutError(f"Received {number} of {count} {method} {path} requests in {timeout} s.")

    def _received(
        self,
        method: str,
        path: str,
        match: Callable[[ReceivedRequest], bool] | None,
        since: int,
    ) -> tuple[ReceivedRequest, ...]:
        found = (r for r in self.requests[since:] if (r.method, r.path) == (method, path))
        return tuple(r for r in found if match is None or match(r))

    def advance(self, seconds: float) -> None:
        """Advance the server's clock.

        Polls that then have waited for 50 s get a heartbeat, queues without a
        poll for ten minutes expire, and scheduled messages are sent.

        Args:
            seconds: Added to the current time.
        """
        self._state.advance(seconds)

    def expire_queues(self) -> None:
        """Expire all event queues: polls end with `BAD_EVENT_QUEUE_ID`."""
        self._state.expire_queues()

    def stop(self) -> None:
        """Stop the server, as in an outage: connections are dropped, and new ones fail.

        Its port stays reserved, and its state stays as it is. In a forked
        process, this has no effect on the server of its parent.
        """
        thread, self._thread = self._thread, None
        if thread is not None and self._process == os.getpid():
            thread.stop()
            self._reserved = _bind(self._host, self._state.port or 0)

    def start(self) -> None:
        """Start the server, on the same port after `stop`.

        Raises:
            RuntimeError: If the server is already running.
            OSError: If the port is in use, or the address is not one of this
                machine.
        """
        if self._thread is not None:
            raise RuntimeError("FakeZulip is already running.")
        sock, self._reserved = self._reserved or _bind(self._host, self._port), None
        self._state.port = sock.getsockname()[1]
        self._process = os.getpid()
        self._thread = ServerThread(self._app, self._state, sock, self._ssl_context)
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
            if unserved := ", ".join(dict.fromkeys(self.unserved)):
                warnings.warn(f"FakeZulip does not serve {unserved}.", stacklevel=2)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        # Stopping takes a moment only, and must not be cancelled halfway.
        self.__exit__(*exc_info)

    def __repr__(self) -> str:
        port, status = self._state.port, "" if self._thread else " stopped"
        status = " died" if self._state.error else status
        site = f"{self._state.scheme}://{self._realm.host}:{port}"
        return f"<FakeZulip {site}{status}>" if port else "<FakeZulip not running>"


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket that reserves a port. Connections fail until it listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets with an explicit protocol.
    sock = socket.socket(family, proto=socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
