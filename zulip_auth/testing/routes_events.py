"""Endpoints of a bot: event queues and messages."""

from __future__ import annotations

import json
import secrets
import time

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from .http import ErrorResponse, read_request, require, success_response
from .routes_users import authenticate
from .state import FEATURE_LEVEL, VERSION, Account, Queue, Realm, State


@frozen
class Events:
    """Endpoints of event queues and messages."""

    state: State

    async def register(self, request: Request) -> Response:
        await read_request(request, self.state)
        realm, account = authenticate(request, self.state)
        queue_id = secrets.token_hex(16)
        self.state.queues[queue_id] = Queue(account)
        return success_response(
            queue_id=queue_id,
            last_event_id=-1,
            event_queue_longpoll_timeout_seconds=90,
            zulip_version=VERSION,
            zulip_feature_level=FEATURE_LEVEL,
            zulip_merge_base="",
            realm_name=realm.name,
        )

    async def events(self, request: Request) -> Response:
        parameters = await read_request(request, self.state)
        _, account = authenticate(request, self.state)
        queue_id, queue = self._queue(parameters, account)
        last_event_id = _parse_int(parameters.get("last_event_id", "-1"), "last_event_id")
        queue.events = [event for event in queue.events if event["id"] > last_event_id]
        if not queue.events and parameters.get("dont_block") != "true":
            await queue.wait()
        return success_response(events=list(queue.events), queue_id=queue_id)

    async def delete(self, request: Request) -> Response:
        parameters = await read_request(request, self.state)
        _, account = authenticate(request, self.state)
        queue_id, queue = self._queue(parameters, account)
        del self.state.queues[queue_id]
        queue.notify()
        return success_response()

    async def send_message(self, request: Request) -> Response:
        parameters = await read_request(request, self.state)
        realm, account = authenticate(request, self.state)
        type_, to = require(parameters, "type"), require(parameters, "to")
        content = require(parameters, "content")
        is_direct = type_ in ("direct", "private")
        recipients = _recipients(realm, to) if is_direct else realm.accounts
        if account not in recipients:
            recipients = [*recipients, account]
        message = {
            "id": next(self.state.message_ids),
            "type": "private" if is_direct else "stream",
            "sender_id": account.user_id,
            "sender_email": account.email,
            "sender_full_name": account.full_name,
            "content": content,
            "content_type": "text/x-markdown",
            "display_recipient": [{"id": user.user_id, "email": user.email} for user in recipients]
            if is_direct
            else to,
            "subject": "" if is_direct else parameters.get("topic", "(no topic)"),
            "timestamp": int(time.time()),
        }
        for queue in self.state.queues.values():
            if queue.owner in recipients:
                queue.add({"type": "message", "message": message, "flags": []})
        return success_response(id=message["id"])

    def _queue(self, parameters: dict[str, str], account: Account) -> tuple[str, Queue]:
        queue_id = require(parameters, "queue_id")
        queue = self.state.queues.get(queue_id)
        if queue is None or queue.owner is not account:
            raise ErrorResponse(
                400, "BAD_EVENT_QUEUE_ID", f"Bad event queue ID: {queue_id}", queue_id=queue_id
            )
        return queue_id, queue


def _parse_int(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ErrorResponse(400, "BAD_REQUEST", f"{name} is not an integer") from None


def _recipients(realm: Realm, to: str) -> list[Account]:
    """Return the accounts that *to* lists, by email or by user id."""
    try:
        names = json.loads(to)
    except ValueError:
        names = to.split(",")
    names = names if isinstance(names, list) else [names]
    accounts = [user for user in realm.accounts if user.email in names or user.user_id in names]
    if len(accounts) != len(names):
        raise ErrorResponse(400, "BAD_REQUEST", f"Invalid email '{to}'")
    return accounts
