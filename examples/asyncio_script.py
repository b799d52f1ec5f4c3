"""Log in, save the credentials and make one request with them.

    python asyncio_script.py chat.example.com iago@zulip.com

The script prompts for the password; without a terminal, it reads the first line of
standard input. It saves the credentials to $ZULIP_CONFIG or ~/.zuliprc, where
`zulip_auth.Credentials.load()` and other Zulip tools find them.
"""

import argparse
import asyncio
import getpass
import sys

import httpx

import zulip_auth


def read_password() -> str:
    """Prompt for the password without echo, or read it from standard input."""
    if sys.stdin.isatty():
        return getpass.getpass()
    return sys.stdin.readline().rstrip("\r\n")


async def log_in(site: str, username: str, password: str) -> str:
    """Log in, save the credentials and return the full name of the user."""
    credentials = await zulip_auth.login(site, username, password)
    credentials.save()
    async with httpx.AsyncClient(auth=credentials.basic_auth) as http:
        response = await http.get(f"{credentials.site}/api/v1/users/me")
        response.raise_for_status()
        return str(response.json()["full_name"])


def main() -> None:
    """Parse the arguments and log in; exit with a message if that fails."""
    parser = argparse.ArgumentParser(description="Log in to Zulip and save the credentials.")
    parser.add_argument("site")
    parser.add_argument("username")
    options = parser.parse_args()
    try:
        name = asyncio.run(log_in(options.site, options.username, read_password()))
    except zulip_auth.ZulipAuthError as error:
        sys.exit(str(error))  # a sentence for users, without secrets
    except httpx.HTTPError as error:
        sys.exit(f"Logged in, but the request failed: {error!r}")
    except (EOFError, KeyboardInterrupt):
        sys.exit(130)
    print(f"Logged in as {name}.")


if __name__ == "__main__":
    main()
