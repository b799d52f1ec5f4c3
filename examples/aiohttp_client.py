"""Call Zulip's API with aiohttp and stored credentials.

    python aiohttp_client.py [ZULIPRC]

The zuliprc is one that asyncio_script.py, `zulip-auth login` or any other Zulip
tool wrote; ~/.zuliprc, or what ZULIP_CONFIG names, if none is given.
"""

import asyncio
import sys

import aiohttp

from zulip_auth import Credentials, ZulipAuthError


async def full_name(credentials: Credentials) -> str:
    """Ask the server for the name of the account's owner."""
    # aiohttp.BasicAuth(*credentials.basic_auth) does the same in older versions, but is
    # deprecated since 3.14, and wants encoding="utf-8" for an address beyond Latin-1.
    authorization = aiohttp.encode_basic_auth(*credentials.basic_auth)
    # The session sends the key wherever it goes: use it for this site alone.
    async with (
        aiohttp.ClientSession(
            f"{credentials.site}/api/v1/",
            headers={"Authorization": authorization},
            connector=aiohttp.TCPConnector(ssl=credentials.ssl_context() or True),
            timeout=aiohttp.ClientTimeout(total=30),
            raise_for_status=True,
        ) as http,
        http.get("users/me", allow_redirects=False) as answer,
    ):
        return str((await answer.json())["full_name"])


def main() -> None:
    """Load the credentials, make the call, and end with what went wrong, if anything."""
    try:
        credentials = Credentials.load(sys.argv[1] if len(sys.argv) > 1 else None)
        print(f"This is the key of {asyncio.run(full_name(credentials))}.")
    except aiohttp.ClientResponseError as error:
        # Not the error itself: its repr holds the request, and so the key.
        revoked = " The key is wrong or was revoked: log in again." if error.status == 401 else ""
        sys.exit(f"The server answered {error.status}.{revoked}")
    except (ZulipAuthError, aiohttp.ClientError, TimeoutError) as error:
        sys.exit(str(error) or type(error).__name__)


if __name__ == "__main__":
    main()
