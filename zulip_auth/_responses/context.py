"""What a server is asked, and what it answers, as far as the meaning depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import evolve, field, frozen

from zulip_auth._redaction import Secret

AuthMethod = Literal["password", "dev", "jwt", "key", "nothing"]
"""What a request is to be let in for: a password, a username alone on a
development server, a token, an API key, or nothing, since anybody may ask."""


@frozen
class RawResponse:
    """What a server answered.

    Attributes:
        status_code: The HTTP status.
        headers: The headers, by their names in lower case.
        body: The body; None where it could not be read: encoded, too long, malformed.
        parsed: What the generated client made of a 200; None where it could not.
    """

    status_code: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    parsed: object = field(default=None, repr=False)

    def with_parsed(self, parsed: object) -> RawResponse:
        """Return the same answer with what the generated client made of it."""
        return evolve(self, parsed=parsed)


@frozen
class RequestContext:
    """What a server was asked.

    Attributes:
        site: The organization's address.
        way: What the request was to be let in for.
        secrets: What must be in no error.
    """

    site: str
    way: AuthMethod
    secrets: tuple[Secret, ...] = ()

    def cut_out(self, text: str) -> str:
        """Return a server's words without the secrets that were sent to it."""
        for secret in self.secrets:
            text = secret.cut_out(text)
        return text
