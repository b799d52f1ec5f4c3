"""Call Zulip's API with aiohttp and stored credentials.

    python aiohttp_client.py [ZULIPRC]

ZULIPRC is a file from asyncio_script.py, `zulip-auth login` or another Zulip tool
(default: $ZULIP_CONFIG or ~/.zuliprc).
"""

import asyncio
import sys

import aiohttp

from zulip_auth import Credentials, ZulipAuthError
from zulip_auth.aiohttp_auth import ApiKeyMiddleware


async def full_name(credentials: Credentials) -> str:
    """Return the full name of the user."""
    async with (
        aiohttp.ClientSession(
            f"{credentials.site}/api/v1/",
            middlewares=[ApiKeyMiddleware(credentials)],  # sends the key to its site only
            connector=aiohttp.TCPConnector(ssl=credentials.ssl_context() or True),
            timeout=aiohttp.ClientTimeout(total=30),
            raise_for_status=True,
        ) as http,
        http.get("users/me", allow_redirects=False) as response,
    ):
        return str((await response.json())["full_name"])


def main() -> None:
    """Load the credentials and make the request; exit with a message if that fails."""
    try:
        credentials = Credentials.load(sys.argv[1] if len(sys.argv) > 1 else None)
        print(f"This is the key of {asyncio.run(full_name(credentials))}.")
    except aiohttp.ClientResponseError as error:
        hint = " The API key is invalid or revoked: log in again." if error.status == 401 else ""
        sys.exit(f"The request failed: HTTP {error.status}.{hint}")
    except (ZulipAuthError, aiohttp.ClientError, TimeoutError) as error:
        sys.exit(str(error) or type(error).__name__)


if __name__ == "__main__":
    main()
