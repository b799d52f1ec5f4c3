"""Keeping a secret: out of sight, and out of what somebody else wrote."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from html import escape
from urllib.parse import quote, quote_plus

from attrs import field, frozen

_MARK = "[cut out]"


@frozen
class Secret:
    """Holds a password so that no traceback which shows variables shows it."""

    value: str = field(repr=False)

    def cut_out(self, text: str) -> str:
        """Return a text without the secret that it may repeat, plain or encoded."""
        forms = {
            self.value,
            quote(self.value),
            quote(self.value, safe=""),
            quote(self.value, safe="!~*'()"),  # as browsers do
            quote_plus(self.value),
            json.dumps(self.value)[1:-1],
            escape(self.value),
            escape(self.value).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
            b64encode(self.value.encode()).decode(),
        }
        # Backwards, so that a form comes before another one that it begins with.
        either = "|".join(map(re.escape, sorted(forms, reverse=True)))
        return re.sub(either, _MARK, text, flags=re.IGNORECASE)
