"""The commands and options, and the texts of `--help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from zulip_auth._version import __version__

from .output import print_error

# From BSD's sysexits.h; 130 is the shells' code for SIGINT.
EXIT_CODES = {
    "OK": 0,
    "USAGE": 64,
    "UNAVAILABLE": 69,
    "IOERR": 74,
    "TEMPFAIL": 75,
    "PROTOCOL": 76,
    "NOPERM": 77,
    "CONFIG": 78,
    "INTERRUPTED": 130,
}
_EXIT_CODE_HELP = {
    "OK": "success",
    "USAGE": "invalid arguments or input",
    "UNAVAILABLE": "server unreachable or failing",
    "IOERR": "success, but the output could not be written",
    "TEMPFAIL": "rate limited, or browser login expired; try again later",
    "PROTOCOL": "not a Zulip server",
    "NOPERM": "login or API key rejected",
    "CONFIG": "zuliprc or keyring not accessible",
    "INTERRUPTED": "interrupted",
}
_EXIT_CODE_EPILOG = "exit codes:\n" + "\n".join(
    f"  {code:3}  {_EXIT_CODE_HELP[name]}" for name, code in EXIT_CODES.items()
)
_EXAMPLES = """\
examples:
  zulip-auth login chat.example.com iago@zulip.com
  zulip-auth login chat.example.com iago@zulip.com --password-command 'pass zulip'
  zulip-auth login chat.example.com --sso
  zulip-auth whoami
"""
_SAFE_MESSAGES = ("the following arguments are required", "too many arguments")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; exit if they are invalid."""
    parser = build_parser()
    options, extra = parser.parse_known_args(argv)
    if extra:
        # Not repeated, since one may be a password.
        parser.error("too many arguments (passwords are not accepted on the command line)")
    return options


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="zulip-auth",
        description="Log in to Zulip and save the API key for other Zulip tools.",
        epilog=f"{_EXAMPLES}\n{_EXIT_CODE_EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"zulip-auth {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )

    def add(name: str, summary: str, **details: Any) -> argparse.ArgumentParser:
        description = f"{summary[0].upper()}{summary[1:]}. {details.pop('details', '')}".strip()
        return commands.add_parser(
            name, help=summary, description=description, allow_abbrev=False, **details
        )

    _add_login(
        add(
            "login",
            "log in and save the API key",
            details="Prompts for the password unless an option provides it.",
        )
    )
    whoami = add("whoami", "show the account of the saved API key and check that it is valid")
    _add_config(whoami)
    whoami.add_argument("--json", action="store_true", help="print JSON")
    _add_config(
        add(
            "logout",
            "delete the saved API key",
            details="This does not revoke it; see the output for how to.",
        )
    )
    handler = add(
        "sso-handler",
        "handle zulip:// URLs, so that browser logins finish automatically",
        details="Requires a Linux desktop with xdg-mime.",
    )
    handler.add_argument("url", nargs="?", metavar="URL", help="URL passed by the desktop")
    action = handler.add_mutually_exclusive_group()
    action.add_argument("--install", action="store_true", help="register the handler")
    action.add_argument("--uninstall", action="store_true", help="unregister the handler")
    completion = add(
        "completion",
        "print a shell completion script",
        details="Requires an extra: pip install 'zulip-auth[completion]'",
    )
    completion.add_argument(
        "shell", choices=("bash", "zsh", "tcsh"), metavar="SHELL", help="bash, zsh or tcsh"
    )
    return parser


def _add_login(login: argparse.ArgumentParser) -> None:
    login.add_argument("site", metavar="SITE", help="such as chat.example.com")
    login.add_argument(
        "username",
        metavar="USERNAME",
        nargs="?",
        help="usually an email address; if omitted, choose a login method",
    )
    auth = login.add_argument_group("authentication").add_mutually_exclusive_group()
    auth.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )
    auth.add_argument(
        "--password-command",
        metavar="COMMAND",
        help="read the password from the first line of COMMAND's output",
    )
    auth.add_argument(
        "--dev", action="store_true", help="log in to a development server, without a password"
    )
    auth.add_argument(
        "--sso",
        nargs="?",
        const="",
        metavar="METHOD",
        help="log in with a browser; METHOD selects one of several",
    )
    storage = login.add_argument_group("storage")
    _add_config(storage, "; - for standard output")
    saving = storage.add_mutually_exclusive_group()
    saving.add_argument("--no-save", action="store_true", help="do not save the key")
    saving.add_argument(
        "--keyring",
        action="store_true",
        help="save the key in the system keyring instead of the zuliprc "
        "(requires an extra: pip install 'zulip-auth[keyring]')",
    )
    storage.add_argument("--overwrite", action="store_true", help="overwrite a different account")
    output = login.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print JSON")
    output.add_argument("--show-key", action="store_true", help="include the API key in the output")


def _add_config(group: argparse._ActionsContainer, details: str = "") -> None:
    group.add_argument(
        "--config",
        metavar="PATH",
        help=f"zuliprc to use (default: $ZULIP_CONFIG or ~/.zuliprc){details}",
    )


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser with one-line errors."""

    def error(self, message: str) -> NoReturn:
        # A value is not repeated, since it may be a misplaced password.
        if not message.startswith(_SAFE_MESSAGES) and " not allowed with " not in message:
            message = "invalid arguments"
        print_error(f"{message} (see --help)")
        sys.exit(EXIT_CODES["USAGE"])
