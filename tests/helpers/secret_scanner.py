"""Looking for a secret wherever something can be printed, logged or reached."""

from __future__ import annotations

import base64
import html
import json
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any
from urllib.parse import quote, quote_plus

import zulip_auth
import zulip_auth_client

OURS = tuple(str(Path(str(module.__file__)).parent) for module in (zulip_auth, zulip_auth_client))


def forms(secret: str) -> set[str]:
    """Return the ways in which a secret may be written."""
    data = secret.encode()
    # What base64 makes of it depends on where it begins; the ends depend on the neighbours.
    shifted = {
        base64.b64encode(b"\0" * shift + data).decode().rstrip("=")[4:-2] for shift in range(3)
    }
    return shifted | {
        secret,
        secret.lower(),
        secret.upper(),
        quote(secret, safe=""),
        quote(secret, safe="").lower(),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        html.escape(secret),
        repr(secret)[1:-1],
        repr(data)[2:-1],
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
        data.hex(),
    }


class SecretScanner:
    """Finds secrets in texts.

    Args:
        secrets: What must be nowhere.
    """

    def __init__(self, *secrets: str) -> None:
        self._forms = set().union(*(forms(secret) for secret in secrets))

    def check(self, text: str, where: str) -> None:
        for form in self._forms:
            assert form not in text, f"{where} shows {form!r}"

    def check_object(self, value: object, where: str) -> None:
        """Look through all that can be reached from a value without entering modules."""
        for path, each in walk(value, where):
            if isinstance(each, str):
                self.check(each, path)
            elif isinstance(each, bytes | bytearray):
                self.check(bytes(each).decode("latin-1"), path)
                self.check(bytes(each).decode("utf-8", "replace"), path)
            else:
                self.check(repr(each), f"repr of {path}")

    def check_error(self, error: BaseException) -> None:
        """Look through an exception, and what a log of its traceback would show of ours."""
        self.check_object(error, type(error).__name__)
        self.check(f"{error} {error!r}", "the error")
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.check("".join(shown.format_exception_only()), "the traceback's last line")
        ours = 0
        for frame in shown.stack:
            if frame.filename.startswith(OURS):
                ours += 1
                self.check(f"{frame.locals} {frame.line}", f"{frame.name}, line {frame.lineno}")
        assert ours, "no frame of the library was looked at"


def walk(value: object, where: str) -> Iterator[tuple[str, object]]:
    """Yield everything that can be reached, and by which path."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [(where, value)]
    kept = []  # so that no id is given to another object meanwhile
    while waiting:
        path, each = waiting.pop()
        if id(each) in seen or isinstance(each, ModuleType | TracebackType | type):
            continue
        seen.add(id(each))
        kept.append(each)
        yield path, each
        if isinstance(each, dict):
            waiting += [(f"a key of {path}", name) for name in each]
            waiting += [(f"{path}[{name!r}]", inner) for name, inner in each.items()]
        elif isinstance(each, list | tuple | set | frozenset):
            waiting += [(f"{path}[…]", inner) for inner in each]
        elif not isinstance(each, str | bytes | bytearray | int | float | complex | None):
            for name in dir(each):
                if name in ("__globals__", "__builtins__", "__class__", "__traceback__"):
                    continue
                try:
                    inner = getattr(each, name)
                except Exception:  # noqa: BLE001 - what cannot be reached is no leak
                    continue
                if not callable(inner):
                    waiting.append((f"{path}.{name}", inner))
