"""Fields of responses and events, in the order of a Zulip 10.0 server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_TEMPLATES = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def fill(template: str, **fields: object) -> dict[str, Any]:
    """Return a template with the values of *fields* in it."""
    return {**_TEMPLATES[template], **fields}
