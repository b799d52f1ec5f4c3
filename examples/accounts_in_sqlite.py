"""Check or rotate the API keys of many accounts, of many organizations, in a database.

    FERNET_KEY=... python accounts_in_sqlite.py accounts.db [--rotate]

The database has a table `accounts` with the columns site, email and key; the keys are
encrypted with FERNET_KEY, from `Fernet.generate_key()`.
"""

import argparse
import asyncio
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable

import httpx
from cryptography.fernet import Fernet

from zulip_auth import ApiKeySource, Credentials, ZulipAuthError
from zulip_auth.httpx_auth import ApiKeyAuth

SCHEMA = "CREATE TABLE accounts (site, email, key, PRIMARY KEY (site, email))"
CONCURRENCY = 20


class DatabaseStore:
    """Keep the credentials of one account in the database."""

    def __init__(self, db: sqlite3.Connection, fernet: Fernet, site: str, email: str) -> None:
        self.db, self.fernet, self.account = db, fernet, (site, email)

    def __repr__(self) -> str:
        return f"the key of {self.account[1]}"

    async def load(self) -> Credentials | None:
        """Return the credentials, or None if there is no such account."""
        query = "SELECT key FROM accounts WHERE site = ? AND email = ?"
        row = self.db.execute(query, self.account).fetchone()
        return row and Credentials(*self.account, self.fernet.decrypt(row[0]).decode())

    async def save(self, credentials: Credentials) -> None:
        """Store the API key in a transaction."""
        key = self.fernet.encrypt(credentials.api_key.encode())
        with self.db:
            self.db.execute("REPLACE INTO accounts VALUES (?, ?, ?)", (*self.account, key))


async def check(http: httpx.AsyncClient, source: ApiKeySource) -> None:
    """Make a request with the key of an account; any other request works in the same way."""
    credentials = await source.get()
    url = f"{credentials.site}/api/v1/users/me"
    (await http.get(url, auth=ApiKeyAuth(source))).raise_for_status()


async def for_each(
    db: sqlite3.Connection, fernet: Fernet, func: Callable[[ApiKeySource], Awaitable[object]]
) -> dict[tuple[str, str], Exception]:
    """Call a function for each account, and return the errors."""
    slots = asyncio.Semaphore(CONCURRENCY)
    errors: dict[tuple[str, str], Exception] = {}

    async def call(site: str, email: str) -> None:
        async with slots:
            try:
                await func(ApiKeySource.from_store(DatabaseStore(db, fernet, site, email)))
            except (ZulipAuthError, httpx.HTTPError) as error:
                errors[site, email] = error

    accounts = db.execute("SELECT site, email FROM accounts").fetchall()
    await asyncio.gather(*(call(*account) for account in accounts))
    return errors


async def main(database: str, rotate: bool) -> int:
    """Return the number of accounts with an error."""
    fernet = Fernet(os.environ["FERNET_KEY"])
    db = sqlite3.connect(database)
    async with httpx.AsyncClient() as http:
        func = ApiKeySource.rotate if rotate else lambda source: check(http, source)
        errors = await for_each(db, fernet, func)
    db.close()
    for (site, email), error in errors.items():
        print(f"{email} at {site}: {error!r}", file=sys.stderr)
    return len(errors)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Check the API keys in a database.")
    parser.add_argument("database")
    parser.add_argument("--rotate", action="store_true", help="replace each key")
    options = parser.parse_args()
    sys.exit(min(asyncio.run(main(options.database, options.rotate)), 1))
