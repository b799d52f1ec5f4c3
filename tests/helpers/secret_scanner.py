"""Search for secrets in texts, objects and exceptions."""

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

LIBRARY_PATHS = tuple(
    str(Path(str(module.__file__)).parent) for module in (zulip_auth, zulip_auth_client)
)


def encodings(secret: str) -> set[str]:
    """Return the encodings of *secret* that count as a leak."""
    data = secret.encode()
    # Base64 depends on the offset, and at the ends on the neighboring bytes.
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
    """Fail a test in which one of *secrets* can be found.

    Args:
        secrets: Values that must not appear in any encoding.
    """

    def __init__(self, *secrets: str) -> None:
        self._encodings = set().union(*(encodings(secret) for secret in secrets))

    def check(self, text: str, where: str) -> None:
        for encoding in self._encodings:
            assert encoding not in text, f"{where} contains {encoding!r}"

    def check_object(self, value: object, where: str) -> None:
        """Check everything reachable from *value*, except through modules."""
        for path, item in walk(value, where):
            if isinstance(item, str):
                self.check(item, path)
            elif isinstance(item, bytes | bytearray):
                self.check(bytes(item).decode("latin-1"), path)
                self.check(bytes(item).decode("utf-8", "replace"), path)
            else:
                self.check(repr(item), f"repr of {path}")

    def check_error(self, error: BaseException) -> None:
        """Check an exception and the library's frames of its traceback, with locals."""
        self.check_object(error, type(error).__name__)
        self.check(f"{error} {error!r}", "the error")
        summary = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.check("".join(summary.format_exception_only()), "the last line of the traceback")
        frames = 0
        for frame in summary.stack:
            if frame.filename.startswith(LIBRARY_PATHS):
                frames += 1
                texts = [frame.line or "", *(frame.locals or {}).values()]  # the values of repr()
                self.check("\n".join(texts), f"{frame.name}, line {frame.lineno}")
        assert frames, "the traceback has no frame of the library"


def walk(value: object, where: str) -> Iterator[tuple[str, object]]:
    """Yield each reachable object with its path."""
    seen: set[int] = set()
    pending: list[tuple[str, Any]] = [(where, value)]
    alive = []  # or ids could be reused during the walk
    while pending:
        path, item = pending.pop()
        if id(item) in seen or isinstance(item, ModuleType | TracebackType | type):
            continue
        seen.add(id(item))
        alive.append(item)
        yield path, item
        if isinstance(item, dict):
            pending += [(f"a key of {path}", name) for name in item]
            pending += [(f"{path}[{name!r}]", child) for name, child in item.items()]
        elif isinstance(item, list | tuple | set | frozenset):
            pending += [(f"{path}[…]", child) for child in item]
        elif not isinstance(item, str | bytes | bytearray | int | float | complex | None):
            for name in dir(item):
                if name in ("__globals__", "__builtins__", "__class__", "__traceback__"):
                    continue
                try:
                    child = getattr(item, name)
                except Exception:  # noqa: BLE001 - unreadable attributes cannot leak
                    continue
                if not callable(child):
                    pending.append((f"{path}.{name}", child))
