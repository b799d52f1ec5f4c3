"""The error responses of Zulip's API."""

from __future__ import annotations

from typing import Any


class ErrorResponse(ValueError):
    """End a request with an error response."""

    def __init__(self, status: int, code: str, msg: str, **fields: object) -> None:
        super().__init__(msg)
        self.status = status
        self.body: dict[str, Any] = {"result": "error", "msg": msg, **fields, "code": code}


def bad_request(msg: str) -> ErrorResponse:
    """Return an error without a code of its own."""
    return ErrorResponse(400, "BAD_REQUEST", msg)


def reject_if(*problems: tuple[bool, str]) -> None:
    """Raise an error with the message of the first problem that there is."""
    for is_problem, msg in problems:
        if is_problem:
            raise bad_request(msg)
