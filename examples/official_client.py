"""Use stored credentials with the official `zulip` client; renew a revoked key first.

    python official_client.py [ZULIPRC]

ZULIPRC is a file from asyncio_script.py or `zulip-auth login` (default: $ZULIP_CONFIG
or ~/.zuliprc). If the server rejects its key, the script prompts for the password;
without a terminal, it reads the first line of standard input.
"""

import asyncio
import getpass
import sys

import requests
import zulip

from zulip_auth import AuthClient, Credentials, InvalidApiKeyError, ZulipAuthError


def read_password() -> str:
    """Prompt for the password without echo, or read it from standard input."""
    if sys.stdin.isatty():
        return getpass.getpass()
    return sys.stdin.readline().rstrip("\r\n")


def renew(path: str | None) -> None:
    """Check the key in the zuliprc; if the server rejects it, log in and save a new one."""
    credentials = Credentials.load(path)
    client = AuthClient(credentials.site, ssl_context=credentials.ssl_context())
    try:
        asyncio.run(client.verify(credentials))
    except InvalidApiKeyError:
        print(f"The key of {credentials.email} was revoked.", file=sys.stderr)
        asyncio.run(client.login(credentials.email, read_password())).save(path)


def main() -> None:
    """Renew the key and make a request; exit with a message if that fails."""
    path = sys.argv[1] if len(sys.argv) > 1 else None
    try:
        renew(path)
        # It reads the same file, unless ZULIP_EMAIL, ZULIP_API_KEY or ZULIP_SITE override it.
        response = zulip.Client(config_file=path, client="ExampleScript/1.0").get_profile()
    except (ZulipAuthError, zulip.ZulipError, requests.RequestException) as error:
        sys.exit(str(error))
    except (EOFError, KeyboardInterrupt):
        sys.exit(130)
    if response["result"] != "success":
        sys.exit(f"The request failed: {response['msg']}")
    print(f"The official client is logged in as {response['full_name']}.")


if __name__ == "__main__":
    main()
