"""Fail in many ways and print what each error tracker records: python failures.py."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

if __name__ == "__main__":  # as a script, the directory of the helpers is not on the path
    sys.path.insert(0, str(Path(__file__).parent.parent))

import httpx

import zulip_auth
from helpers.raw_server import (
    Scenario,
    ScriptedServer,
    close_without_response,
    never_respond,
    respond,
)
from zulip_auth.httpx_auth import ApiKeyAuth

Recorder = Callable[[BaseException], str]


# Calls, since trackers evaluate names and attributes in the source lines of each frame.
def password() -> str:
    return "correct horse & battery=+%é"


def api_key() -> str:
    return "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF"


def credentials(site: str) -> zulip_auth.Credentials:
    return zulip_auth.Credentials(site, "iago@zulip.com", api_key(), 16)


class InterruptingTransport(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        raise KeyboardInterrupt


def error(code: str, msg: str = "No") -> dict[str, Any]:
    return {"result": "error", "msg": msg, "code": code}


WRONG = respond(401, error("AUTHENTICATION_FAILED"))
ECHO = respond(401, error("AUTHENTICATION_FAILED", f"not {password()}"))
REVOKED = respond(401, error("UNAUTHORIZED"), {"WWW-Authenticate": 'Basic realm="zulip"'})


async def log_in(site: str, **options: Any) -> object:
    return await zulip_auth.login(site, "iago@zulip.com", password(), **options)


def source(site: str, end: str = "") -> zulip_auth.ApiKeySource:
    client = zulip_auth.AuthClient(site)
    return zulip_auth.ApiKeySource(client, "iago@zulip.com", password() + end)


async def request_with_auth(site: str) -> None:
    async with httpx.AsyncClient(auth=ApiKeyAuth(source(site))) as http:
        await http.get(f"{site}/api/v1/users/me")


async def bug(site: str) -> None:
    with mock.patch("zulip_auth._http.error_from_response", side_effect=RuntimeError("a bug")):
        await log_in(site)


FAILURES: dict[str, tuple[Callable[[str], Any], Scenario]] = {
    "wrong password": (log_in, WRONG),
    "echoed password": (log_in, ECHO),
    "lost connection": (log_in, close_without_response),
    "malformed response": (log_in, respond(200, "{}")),
    "unreachable": (
        lambda _: log_in("http://127.0.0.1:1", retry=zulip_auth.RetryPolicy(attempts=1)),
        WRONG,
    ),
    "cancelled": (lambda site: asyncio.wait_for(log_in(site), 0.05), never_respond),
    "invalid password": (
        lambda site: zulip_auth.login(site, "iago@zulip.com", password() + "\n"),
        WRONG,
    ),
    "misspelled option": (lambda site: log_in(site, tiemout=3), WRONG),
    "bug": (bug, WRONG),
    "KeyboardInterrupt": (lambda site: log_in(site, transport=InterruptingTransport()), WRONG),
    "rejected token": (lambda site: zulip_auth.AuthClient(site).jwt_login(api_key()), WRONG),
    "rejected key": (lambda site: zulip_auth.AuthClient(site).verify(credentials(site)), REVOKED),
    "key instead of credentials": (
        lambda site: zulip_auth.AuthClient(site).verify(api_key()),  # type: ignore[arg-type]
        REVOKED,
    ),
    "lost new key": (
        lambda site: zulip_auth.AuthClient(site).regenerate_api_key(credentials(site)),
        close_without_response,
    ),
    "source, wrong password": (lambda site: source(site).get(), WRONG),
    "source, refresh": (lambda site: source(site).refresh(credentials(site)), WRONG),
    "source, invalid password": (lambda site: source(site, "\n"), WRONG),
    "httpx auth, wrong password": (request_with_auth, WRONG),
    "httpx auth with a tuple": (
        lambda site: ApiKeyAuth(credentials(site).basic_auth),  # type: ignore[arg-type]
        WRONG,
    ),
    "save": (lambda site: credentials(site).save("/proc/self"), WRONG),
}


def record_nothing_but_locals(exc: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(exc, capture_locals=True).format())


def ipython_recorder() -> Recorder:
    from IPython.core.ultratb import VerboseTB

    formatter = VerboseTB(include_vars=True)

    def record(exc: BaseException) -> str:
        return formatter.text(type(exc), exc, exc.__traceback__)

    return record


def sentry_recorder(*integrations: Any) -> Recorder:
    import sentry_sdk
    from sentry_sdk.integrations.httpx import HttpxIntegration

    events: list[str] = []

    def keep(event: Any, _hint: Any) -> None:
        events.append(json.dumps(event, default=str, ensure_ascii=False))

    sentry_sdk.init(
        "http://key@127.0.0.1:1/1",
        before_send=keep,
        integrations=[HttpxIntegration(), *integrations],
        auto_enabling_integrations=False,  # they import every framework that is installed
    )
    client = sentry_sdk.get_client()

    def record(exc: BaseException) -> str:
        with sentry_sdk.isolation_scope() as scope:
            scope.set_client(client)
            sentry_sdk.capture_exception(exc)
        return events.pop()

    return record


def pure_eval_recorder() -> Recorder:
    from sentry_sdk.integrations.pure_eval import PureEvalIntegration

    return sentry_recorder(PureEvalIntegration())


RECORDERS: dict[str, Callable[[], Recorder]] = {
    "locals": lambda: record_nothing_but_locals,
    "IPython": ipython_recorder,
    "sentry": sentry_recorder,
    "sentry with pure_eval": pure_eval_recorder,
}


def leak() -> None:
    """Fail as a careless library does, to show that the recorder finds it."""
    value = password()
    raise ValueError(len(value))


def report(name: str, exc: BaseException, recorders: dict[str, Recorder]) -> None:
    # Printed, not collected: this frame is in the next report.
    for tracker, record in recorders.items():
        print(json.dumps([tracker, name, type(exc).__name__, record(exc)]))


async def main() -> None:
    recorders = {tracker: make() for tracker, make in RECORDERS.items()}
    try:
        leak()
    except ValueError as exc:
        report("leak", exc, recorders)
    for name, (call, scenario) in FAILURES.items():
        async with ScriptedServer(scenario) as server:
            try:
                await call(server.site)
            except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - recorded
                report(name, exc, recorders)


if __name__ == "__main__":
    asyncio.run(main())
