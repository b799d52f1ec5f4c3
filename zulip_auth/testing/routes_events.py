"""Endpoints of event queues."""

from __future__ import annotations

import secrets

from starlette.responses import Response

from .http import ErrorResponse, UserCall, bad_request, success_response
from .messages import Queue
from .routes_messages import reject_narrow
from .templates import fill


async def register(call: UserCall) -> Response:
    """Register an event queue."""
    reject_narrow(call)
    queue_id = secrets.token_hex(16)
    event_types, apply_markdown = call.get_json("event_types"), call.get_json("apply_markdown")
    call.state.queues[queue_id] = Queue(call.account, event_types, bool(apply_markdown))
    return success_response(**fill("queue", queue_id=queue_id, realm_name=call.realm.name))


async def get_events(call: UserCall) -> Response:
    """Return the events after the last one that the client has, or wait for one.

    Source: only a response that was waited for has the id of the queue.
    """
    queue_id, queue = _find_queue(call)
    try:
        queue.acknowledge(call.get_int("last_event_id"))
    except ValueError as error:
        raise bad_request(str(error)) from None
    if queue.events or call.get_json("dont_block", default=False):
        return success_response(events=queue.events)
    await queue.wait()
    if queue.expired:
        raise _bad_queue(queue_id)
    return success_response(events=queue.events, queue_id=queue_id)


async def delete_queue(call: UserCall) -> Response:
    """Delete an event queue and end its poll."""
    queue_id, queue = _find_queue(call)
    del call.state.queues[queue_id]
    queue.notify()
    return success_response()


def _find_queue(call: UserCall) -> tuple[str, Queue]:
    queue_id = call.require("queue_id")
    queue = call.state.queues.get(queue_id)
    if queue is None or queue.owner is not call.account:
        raise _bad_queue(queue_id)
    return queue_id, queue


def _bad_queue(queue_id: str) -> ErrorResponse:
    msg = f"Bad event queue ID: {queue_id}"
    return ErrorResponse(400, "BAD_EVENT_QUEUE_ID", msg, queue_id=queue_id)
