"""A response, and what is known of the request that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

from zulip_auth._redaction import repeats_secret

AuthMethod = Literal["password", "dev", "jwt", "api_key", "none"]
"""How a request authenticates."""


@frozen
class RawResponse:
    """A complete HTTP response, with what the generated client reads of one.

    Attributes:
        status_code: The HTTP status code.
        headers: The headers, by lowercase name.
        content: The body; None if it is encoded, too large or malformed.
    """

    status_code: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)

    def json(self) -> Any:
        """Parse the body.

        Raises:
            ValueError: If it is not JSON.
        """
        return json.loads(self.content or b"")


@frozen
class RequestContext:
    """The parts of a request that the meaning of its response depends on.

    Attributes:
        site: The organization URL.
        auth: How the request authenticates.
        secrets: Values that no error may contain.
        is_bot: Whether the username is that of a bot.
        authorization: The Authorization header, if any.
    """

    site: str
    auth: AuthMethod
    secrets: tuple[str, ...] = field(default=(), repr=False)
    is_bot: bool = False
    authorization: str | None = field(default=None, repr=False)

    def is_safe(self, text: str) -> bool:
        """Return whether a server's text does not repeat a secret of the request."""
        return not repeats_secret(text, self.secrets)
