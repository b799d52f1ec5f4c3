"""The command line."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from ._client import AuthClient
from ._credentials import Credentials
from ._errors import InvalidInputError, ZulipAuthError
from ._inputs import checked_text
from ._version import __version__

_OK, _FAILED, _BAD_INPUT, _INTERRUPTED = 0, 1, 2, 130
_HARMLESS = ("the following arguments are required", "there are too many arguments")
_MOST_STDIN = 64 * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: What follows the program's name; None for what it was
            started with.

    Returns:
        0, or 2 where the input is bad, 130 after Ctrl-C, 1 for any other error.
    """
    options = _parse(arguments)
    _report_retries()
    try:
        return _write(_describe(_log_in(options), options))
    except KeyboardInterrupt:
        print(file=sys.stderr)  # off the line with the prompt and the ^C
        return _complain("Interrupted.", _INTERRUPTED)
    except InvalidInputError as error:
        return _complain(str(error), _BAD_INPUT)
    except ZulipAuthError as error:
        return _complain(str(error), _FAILED)


def _log_in(options: argparse.Namespace) -> Credentials:
    client = AuthClient(options.site, user_agent="zulip-auth-cli")
    username = checked_text("username", options.username)
    if options.dev:
        return asyncio.run(client.dev_login(username))
    password = _read_password(username, from_stdin=options.password_stdin)
    return asyncio.run(client.login(username, password))


def _read_password(username: str, *, from_stdin: bool) -> str:
    # What is caught here may hold the password, so it is not what is raised.
    with suppress(UnicodeDecodeError):
        return _password_from_stdin() if from_stdin else _password_from_terminal(username)
    raise InvalidInputError("The password is not written in UTF-8.")


def _password_from_stdin() -> str:
    if sys.stdin is None:
        raise InvalidInputError("Standard input is closed.")
    text = sys.stdin.buffer.read(_MOST_STDIN).decode()
    return text.removesuffix("\n").removesuffix("\r")


def _password_from_terminal(username: str) -> str:
    try:
        with warnings.catch_warnings():
            # It warns before it reads with echo, which must not happen.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"Password of {username}: ")
    except getpass.GetPassWarning:
        raise InvalidInputError(
            "There is no terminal to ask for the password on. Use --password-stdin."
        ) from None
    except EOFError:
        raise InvalidInputError("No password was given.") from None


def _describe(credentials: Credentials, options: argparse.Namespace) -> str:
    key = credentials.api_key if options.show_key else None
    if options.json:
        told = {
            "site": credentials.site,
            "email": credentials.email,
            "user_id": credentials.user_id,
        }
        return json.dumps(told if key is None else {**told, "api_key": key})
    number = "" if credentials.user_id is None else f" (user {credentials.user_id})"
    return (
        f"Logged in to {credentials.site} as {credentials.email}{number}.\n"
        f"API key: {key or '******** (--show-key shows it)'}"
    )


def _write(text: str) -> int:
    try:
        print(text, flush=True)
    except UnicodeEncodeError:
        print(text.encode("ascii", "backslashreplace").decode(), flush=True)
    except OSError as error:
        with suppress(OSError):
            sys.stdout.close()  # or Python would try, and complain, once more
        return _complain(f"Logged in, but cannot say so: {error.strerror}.", _FAILED)
    return _OK


def _report_retries() -> None:
    """Let what the library logs about retries reach standard error."""
    log = logging.getLogger("zulip_auth")
    if not log.handlers:
        log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)


def _complain(text: str, code: int) -> int:
    print(f"zulip-auth: {text}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints take one line."""

    def error(self, message: str) -> NoReturn:
        # Only words of ours are repeated: an argument may be a misplaced password.
        if not message.startswith(_HARMLESS) and " not allowed with " not in message:
            message = "the arguments make no sense"
        sys.exit(_complain(f"{message} (see --help)", _BAD_INPUT))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="zulip-auth", description="Log in to Zulip.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"zulip-auth {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    login = commands.add_parser(
        "login",
        allow_abbrev=False,
        help="turn a username and a password into an API key",
        description="Log in to an organization. The password is asked for, without echo.",
        epilog="Exit codes: 0 logged in, 1 not logged in, 2 bad input, 130 interrupted.",
    )
    login.add_argument("site", metavar="SITE", help="such as chat.example.com")
    login.add_argument("username", metavar="USERNAME", help="usually an e-mail address")
    way = login.add_mutually_exclusive_group()
    way.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )
    way.add_argument(
        "--dev", action="store_true", help="log in to a development server, without a password"
    )
    login.add_argument("--json", action="store_true", help="print one JSON object")
    login.add_argument("--show-key", action="store_true", help="print the API key, too")
    options, surplus = parser.parse_known_args(arguments)
    if surplus:
        # Not repeated: it may be a password.
        parser.error("there are too many arguments; a password is not one of them")
    return options
