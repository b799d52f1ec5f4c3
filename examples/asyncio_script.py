"""Log in, keep the credentials, and make one call with them.

    python asyncio_script.py chat.example.com iago@zulip.com

The password is asked for; where there is no terminal, it is the first line of
standard input. The credentials go to ~/.zuliprc, or to where ZULIP_CONFIG says:
`zulip_auth.Credentials.load()` reads them from there, as all Zulip tools do.
"""

import argparse
import asyncio
import getpass
import sys

import httpx

import zulip_auth


def ask_password() -> str:
    """Return the password, which is shown nowhere."""
    if sys.stdin.isatty():
        return getpass.getpass()
    return sys.stdin.readline().rstrip("\r\n")


async def log_in(site: str, username: str, password: str) -> str:
    """Log in, and return what the server calls the account's owner."""
    credentials = await zulip_auth.login(site, username, password)
    credentials.save()
    async with httpx.AsyncClient(auth=credentials.basic_auth) as http:
        answer = await http.get(f"{credentials.site}/api/v1/users/me")
        answer.raise_for_status()
        return str(answer.json()["full_name"])


def main() -> None:
    """Read the arguments, and end with what went wrong, or with exit code 0."""
    parser = argparse.ArgumentParser(description="Log in to Zulip and keep the credentials.")
    parser.add_argument("site")
    parser.add_argument("username")
    options = parser.parse_args()
    try:
        name = asyncio.run(log_in(options.site, options.username, ask_password()))
    except zulip_auth.ZulipAuthError as error:
        sys.exit(str(error))  # a sentence for people, without a secret
    except httpx.HTTPError as error:
        sys.exit(f"Logged in, but the call failed: {error!r}")
    except (EOFError, KeyboardInterrupt):
        sys.exit(130)
    print(f"Logged in as {name}.")


if __name__ == "__main__":
    main()
