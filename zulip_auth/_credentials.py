"""What a login gives."""

from __future__ import annotations

from typing import NoReturn, Self

from attrs import field, frozen


@frozen
class Credentials:
    """What authenticates every further request of one account.

    Attributes:
        site: The organization's address, such as `https://chat.example.com`.
        email: The account's e-mail address as the server spells it.
        api_key: The secret. It is in no `repr`, `str`, log or pickle.
        user_id: The account's number; None from servers before Zulip 7.0.
    """

    site: str
    email: str
    api_key: str = field(repr=False)
    user_id: int | None = None

    @property
    def basic_auth(self) -> tuple[str, str]:
        """Return the pair that HTTP libraries take for Basic authentication."""
        return self.email, self.api_key

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        # A pickle ends up in caches, queues and core dumps, where nobody looks
        # for a secret.
        raise TypeError("Credentials are not pickled, since they hold the API key.")
