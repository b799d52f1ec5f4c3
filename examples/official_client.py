"""Feed the official `zulip` client with a zuliprc, whose key is renewed where it was revoked.

    python official_client.py [ZULIPRC]

The zuliprc is one that asyncio_script.py or `zulip-auth login` wrote; ~/.zuliprc, or
what ZULIP_CONFIG names, if none is given. If the server refuses its key, the password
is asked for; where there is no terminal, it is the first line of standard input.
"""

import asyncio
import getpass
import sys

import requests
import zulip

from zulip_auth import AuthClient, Credentials, InvalidApiKeyError, ZulipAuthError


def ask_password() -> str:
    """Return the password, which is shown nowhere."""
    if sys.stdin.isatty():
        return getpass.getpass()
    return sys.stdin.readline().rstrip("\r\n")


def renew(path: str | None) -> None:
    """See to it that the server takes the key in the zuliprc."""
    credentials = Credentials.load(path)
    client = AuthClient(credentials.site, ssl_context=credentials.ssl_context())
    try:
        asyncio.run(client.verify(credentials))
    except InvalidApiKeyError:
        print(f"The key of {credentials.email} was revoked.", file=sys.stderr)
        asyncio.run(client.login(credentials.email, ask_password())).save(path)


def main() -> None:
    """Renew the key, make a call, and end with what went wrong, if anything."""
    path = sys.argv[1] if len(sys.argv) > 1 else None
    try:
        renew(path)
        # It finds the same file; only ZULIP_EMAIL, ZULIP_API_KEY and ZULIP_SITE go before it.
        answer = zulip.Client(config_file=path, client="ExampleScript/1.0").get_profile()
    except (ZulipAuthError, zulip.ZulipError, requests.RequestException) as error:
        sys.exit(str(error))
    except (EOFError, KeyboardInterrupt):
        sys.exit(130)
    if answer["result"] != "success":
        sys.exit(f"The call failed: {answer['msg']}")
    print(f"The official client is {answer['full_name']}.")


if __name__ == "__main__":
    main()
