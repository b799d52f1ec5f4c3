"""The expected result of every recorded exchange, and the table of it in docs/servers.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from attrs import frozen

from helpers.recordings import LEVELS, Exchange, load_level, load_servers
from zulip_auth import (
    APIStatusError,
    AuthenticationFailedError,
    BadRequestError,
    DevAuthDisabledError,
    InvalidApiKeyError,
    InvalidInputError,
    InvalidResponseError,
    InvalidSubdomainError,
    PasswordAuthDisabledError,
    PasswordResetRequiredError,
    RateLimitedError,
    RealmDeactivatedError,
    ServerError,
    SubdomainRequiredError,
    UserDeactivatedError,
)

PAGE = Path(__file__).parents[2] / "docs" / "servers.md"
BEGIN, END = "<!-- begin: written by `make servers` -->", "<!-- end -->"

Expected = type[Any] | None  # None for a success
FIRST = LEVELS[0]


@frozen
class Case:
    """Exchanges with the same meaning on all servers.

    Attributes:
        names: The names of the recorded exchanges.
        expected: The class of the exception, by the first feature level with it.
    """

    names: tuple[str, ...]
    expected: Mapping[int, Expected]

    def expected_at(self, level: int) -> Expected:
        return self.expected[max(since for since in self.expected if since <= level)]


def case(names: str, expected: Expected | Mapping[int, Expected] = None) -> Case:
    """Return a case for names in lines, or separated by vertical bars."""
    parts = names.replace("\n", "|").split("|")
    by_level = expected if isinstance(expected, Mapping) else {FIRST: expected}
    return Case(tuple(filter(None, map(str.strip, parts))), by_level)


# By method and by the title in the documentation.
CASES: dict[str, dict[str, Case]] = {
    "login": {
        "correct password": case(
            """fetch: success | fetch: success, other case | fetch: success (production)
            fetch: success, other case (production) | fetch: owner of bots | clear: right
            fetch: success, unsupported parameter ignored | fetch: multipart
            fetch: in the query | hidden e-mail: fetch, admin | hidden e-mail: fetch, member"""
        ),
        "wrong password, or no such account": case(
            """fetch: wrong password | fetch: no such user | fetch: empty password
            fetch: wrong password (production) | fetch: no such user (production)
            fetch: deactivated realm, no user | clear: wrong 1 | clear: wrong 2 | clear: wrong 3
            fetch: bad attempt 1 | fetch: bad attempt 2 | fetch: bad attempt 3
            fetch: bad attempt 4 | fetch: bad attempt 5 | clear: wrong after it
            fetch: rate limit, bad attempt 1 | fetch: rate limit, bad attempt 2
            fetch: rate limit, bad attempt 3 | fetch: rate limit, bad attempt 4
            fetch: rate limit, bad attempt 5 | fetch: wrong password, Accept-Language de
            fetch: wrong password, Accept-Language fr;q=0.9, en;q=0.1""",
            AuthenticationFailedError,
        ),
        "the `user…@` address of an account": case(
            "hidden e-mail: fetch by user…@, admin | hidden e-mail: fetch by user…@, member",
            AuthenticationFailedError,
        ),
        "a bot": case("fetch: a bot account", AuthenticationFailedError),
        "sixth attempt": case(
            """fetch: bad attempt 6 | fetch: rate limit, bad attempt 6
            fetch: 6th after 5 by the library | fetch: right password while blocked""",
            RateLimitedError,
        ),
        "deactivated account": case(
            """fetch: deactivated user | fetch: deactivated user, wrong pw
            fetch: user deactivated""",
            UserDeactivatedError,
        ),
        "deactivated organization": case(
            """fetch: deactivated realm | fetch: deactivated realm, wrong pw
            fetch: realm deactivated""",
            RealmDeactivatedError,
        ),
        "passwords disabled in the organization": case(
            """fetch: password auth off in realm | fetch: password auth off, no user
            fetch: password auth disabled""",
            PasswordAuthDisabledError,
        ),
        "passwords disabled on the server": case(
            "fetch: password auth off on server", AuthenticationFailedError
        ),
        "password must be reset": case(
            "fetch: password reset needed", {FIRST: ServerError, 64: PasswordResetRequiredError}
        ),
        "unknown organization": case(
            """fetch: unknown subdomain | fetch: unknown subdomain by Host
            fetch: unknown subdomain (production)""",
            InvalidSubdomainError,
        ),
        "root domain": case(
            """fetch: root domain | fetch: root domain, landing page
            fetch: root domain (production) | fetch: at the root""",
            {FIRST: SubdomainRequiredError, 64: InvalidSubdomainError},
        ),
        "account of another organization": case(
            "fetch: account of another realm",
            {FIRST: AuthenticationFailedError, 171: InvalidSubdomainError},
        ),
        "username that is not an email address": case(
            """fetch: username not an e-mail | fetch: username not an email
            fetch: empty username""",
            BadRequestError,
        ),
        "missing field, or a JSON body": case(
            """fetch: password missing | fetch: username missing | fetch: JSON body
            fetch: JSON body is not read""",
            BadRequestError,
        ),
        "GET": case(
            "fetch: GET | fetch: GET (production)",
            {FIRST: InvalidResponseError, 35: APIStatusError},
        ),
        "another path": case(
            "fetch: unknown path | fetch: unknown path (production) | fetch: trailing slash",
            InvalidResponseError,
        ),
    },
    "dev_login": {
        "existing account": case(
            """dev: success | dev: a bot account | hidden e-mail: dev, admin
            hidden e-mail: dev, member"""
        ),
        "no such account": case("dev: no such user", AuthenticationFailedError),
        "deactivated account": case(
            "dev: deactivated user | dev: user deactivated", UserDeactivatedError
        ),
        "deactivated organization": case("dev: deactivated realm", RealmDeactivatedError),
        "unknown organization": case("dev: unknown subdomain", InvalidSubdomainError),
        "root domain": case(
            "dev: root domain", {FIRST: SubdomainRequiredError, 64: InvalidSubdomainError}
        ),
        "account of another organization": case(
            "dev: account of another realm",
            {FIRST: AuthenticationFailedError, 122: InvalidSubdomainError},
        ),
        "disabled in the organization": case(
            "dev: DevAuth off in the realm | dev: dev auth disabled in realm",
            AuthenticationFailedError,
        ),
        "disabled on the server": case("dev: DevAuth off on the server", DevAuthDisabledError),
        "production server": case(
            "dev: PRODUCTION | dev: success (production) | dev: no such user (production)",
            DevAuthDisabledError,
        ),
        "username that is not an email address, or missing": case(
            """dev: username not an e-mail | dev: username not an email
            dev: username missing""",
            BadRequestError,
        ),
        "GET": case("dev: GET", {FIRST: InvalidResponseError, 35: APIStatusError}),
    },
    "jwt_login": {
        "valid token": case(
            "jwt: success | jwt: success, include_profile", {FIRST: InvalidResponseError, 160: None}
        ),
        "not configured": case(
            "jwt: not configured", {FIRST: InvalidResponseError, 160: BadRequestError}
        ),
        "invalid token": case(
            """jwt: bad token | jwt: empty token | jwt: no e-mail in it | jwt: wrong key
            jwt: no email claim | jwt: garbage | jwt: no token""",
            {FIRST: InvalidResponseError, 160: BadRequestError},
        ),
        "no such account": case(
            "jwt: no such user", {FIRST: InvalidResponseError, 160: AuthenticationFailedError}
        ),
        "deactivated account": case(
            "jwt: deactivated user", {FIRST: InvalidResponseError, 160: UserDeactivatedError}
        ),
        "deactivated organization": case(
            "jwt: deactivated realm", {FIRST: InvalidResponseError, 160: RealmDeactivatedError}
        ),
        "unknown organization": case(
            "jwt: unknown subdomain", {FIRST: InvalidResponseError, 160: InvalidSubdomainError}
        ),
    },
    "server_settings": {
        "organization": case(
            """server_settings: realm | server_settings: realm (production) | settings: realm
            server_settings: with remote user"""
        ),
        "passwords disabled": case(
            "server_settings: password off realm | settings: password auth disabled"
        ),
        "deactivated organization": case("server_settings: deactivated realm"),
        "unknown organization": case(
            """server_settings: unknown subdomain | settings: unknown subdomain
            settings: no organization""",
            InvalidSubdomainError,
        ),
        "root domain": case("server_settings: root | settings: root", SubdomainRequiredError),
        "root domain with a landing page": case(
            "server_settings: root, landing page | settings: root domain", SubdomainRequiredError
        ),
    },
    "verify": {
        "valid key": case(
            """me: good key | me: success | me: a bot | me: key with a space in front
            me: reactivated account, same key"""
        ),
        "key of another account": case("me: good key, user_id of another", InvalidApiKeyError),
        "hidden email address": case(
            """hidden e-mail: me, admin | hidden e-mail: me, member
            hidden e-mail: me, user_id, admin | hidden e-mail: me, user_id, member"""
        ),
        "invalid or revoked key, or unknown address": case(
            """me: bad key | me: short key | me: malformed key | me: wrong key | me: no such user
            me: unknown address | me: the old key after it | me: key revoked by regenerate
            me: a bot, revoked key | me: a deactivated bot | me: wrong key, Accept-Language de
            me: wrong key, Accept-Language fr;q=0.9, en;q=0.1
            hidden e-mail: me by user…@, admin
            hidden e-mail: me by user…@, member""",
            InvalidApiKeyError,
        ),
        "account of another organization, or none": case(
            """me: key of another realm | me: unknown subdomain | me: root domain
            me: at another organization | me: at no organization | me: at the root""",
            InvalidSubdomainError,
        ),
        "deactivated account": case(
            "me: deactivated user | me: deactivated account", UserDeactivatedError
        ),
        "deactivated organization": case("me: deactivated realm", RealmDeactivatedError),
        "incoming webhook bot": case("me: an incoming webhook bot", InvalidApiKeyError),
        "header missing or malformed": case(
            "me: no auth | me: no header | me: not base64", InvalidApiKeyError
        ),
        "bearer token": case("me: Bearer | me: bearer", BadRequestError),
        "too many requests": case(
            "me: too many requests | me: more than 200 a minute", RateLimitedError
        ),
    },
    "regenerate_api_key": {
        "valid key": case("regenerate: good key | regenerate: success | regenerate: a bot itself"),
        "invalid key": case("regenerate: bad key", InvalidApiKeyError),
        "deactivated account": case(
            "regenerate: deactivated user | regenerate: deactivated account", UserDeactivatedError
        ),
        "deactivated organization": case("regenerate: deactivated realm", RealmDeactivatedError),
    },
    "bots": {
        "owner of bots": case("bots: list | bots: list with two new"),
        "invalid key, or a bot's": case(
            "bots: list, bad key | bots: list as a bot", InvalidApiKeyError
        ),
        "list without keys before 12.0": case(
            "bots: key | bots: key of another owner's bot", InvalidResponseError
        ),
    },
    "SSOFlow.finish": {
        "redirect of a login": case("sso: redirect | sso: remote user, mobile flow"),
        "redirect to another page": case("sso: start", InvalidInputError),
    },
}

NOT_CALLED = {
    "dev_list_users": "an endpoint that no method calls",
    "dev: list users": "an endpoint that no method calls",
    "dev_get_emails": "an endpoint that no method calls",
    "regenerate: /json": "an endpoint of the web app",
    "bots: create": "an endpoint that no method calls",
    "bots: regenerate key": "an endpoint that no method calls",
    "bots: deactivate": "an endpoint that no method calls",
    "settings: turn": "an endpoint that no method calls",
    "sso: ": "a page for the browser",
}
"""Exchanges without a method of the library, by the beginning of their names."""


def find_case(exchange: Exchange) -> tuple[str, str, Case] | None:
    """Return the method, the title and the case of an exchange, or None if not called."""
    for method, cases in CASES.items():
        for title, entry in cases.items():
            if exchange.name in entry.names:
                return method, title, entry
    assert exchange.name.startswith(tuple(NOT_CALLED)), exchange.name
    return None


def summarize(exchange: Exchange) -> str:
    """Return the status of a response, and its code, reason or message."""
    if exchange.status == 302:
        return f"302 to `{exchange.headers['location'].partition('?')[0]}`"
    try:
        body = exchange.json()
    except ValueError:
        return f"{exchange.status}, {'web page' if exchange.body else 'empty'}"
    if exchange.status == 200:
        return "200"
    identifier = body.get("code") or body.get("reason")
    if identifier in (None, "BAD_REQUEST", "UNAUTHORIZED"):
        code = f" `{identifier}`" if identifier else ""
        return f"{exchange.status}{code}, “{body['msg'].rstrip('.')}”"
    return f"{exchange.status} `{identifier}`"


def table() -> str:
    """Return the tables of docs/servers.md."""
    lines = ["| feature level | version | recorded exchanges |", "|---:|---|---:|"]
    lines += [
        f"| {level} | {version} | {count} |" for level, (version, count) in load_servers().items()
    ]
    lines.append("")
    for method, cases in CASES.items():
        lines += [
            f"### `{method}`",
            "",
            "| case | levels | response | result |",
            "|---|---|---|---|",
        ]
        for title, entry in cases.items():
            rows = [
                (level, summarize(exchange), entry.expected_at(level))
                for level in LEVELS
                for exchange in load_level(level)
                if exchange.name in entry.names
            ]
            lines += _rows(title, rows)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _rows(title: str, rows: list[tuple[int, str, Expected]]) -> Iterator[str]:
    by_level = {
        level: ("; ".join(sorted({row[1] for row in group})), group[0][2])
        for level, items in groupby(rows, key=lambda row: row[0])
        for group in [list(items)]
    }
    for (response, expected), levels in groupby(by_level, key=lambda level: by_level[level]):
        first, *others = levels
        name = "success"
        if expected is not None:
            name = f"[`{expected.__name__}`](reference/exceptions.md#{expected.__name__.lower()})"
        # No-break spaces: the levels stay on one line.
        span = (
            f"{first}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{others[-1]}" if others else str(first)
        )
        yield f"| {title} | {span} | {response} | {name} |"
        title = ""


def main() -> None:
    """Write the tables into docs/servers.md."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
