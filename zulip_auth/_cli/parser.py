"""Which commands and options there are, and what `--help` says of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from zulip_auth._version import __version__

from .output import print_error

# Those of BSD's sysexits.h, and what shells give after Ctrl-C.
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
    "OK": "it is done",
    "USAGE": "the arguments or the input make no sense",
    "UNAVAILABLE": "the server was not reached, was lost, or has failed",
    "IOERR": "it is done, but standard output is closed or full",
    "TEMPFAIL": "too many attempts, or too slow in the browser: try again later",
    "PROTOCOL": "what answered is no Zulip server",
    "NOPERM": "the server refused",
    "CONFIG": "the zuliprc, or the keyring, cannot be read or written",
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
_SAFE_MESSAGES = ("the following arguments are required", "there are too many arguments")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; end the program where they make no sense."""
    parser = build_parser()
    options, extra = parser.parse_known_args(argv)
    if extra:
        # Not repeated: it may be a password.
        parser.error("there are too many arguments; a password is not one of them")
    return options


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="zulip-auth",
        description="Log in to Zulip, and keep the API key where Zulip's tools look for it.",
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
            "log in, and keep the API key in the zuliprc",
            details="The password is asked for without echo, unless an option says where it is.",
        )
    )
    whoami = add("whoami", "ask the server whose the stored key is, and whether it is good")
    _add_config(whoami)
    whoami.add_argument("--json", action="store_true", help="print one JSON object")
    _add_config(
        add(
            "logout",
            "remove the API key from the zuliprc, and from the keyring",
            details="The server goes on taking it: what is printed says how to revoke it.",
        )
    )
    handler = add(
        "sso-handler",
        "let the desktop hand the end of a login through a browser to this command",
        details="Then nothing needs to be pasted. It is for Linux desktops, with xdg-mime.",
    )
    handler.add_argument("url", nargs="?", metavar="URL", help="what the desktop hands over")
    action = handler.add_mutually_exclusive_group()
    action.add_argument("--install", action="store_true", help="become the handler for zulip://")
    action.add_argument("--uninstall", action="store_true", help="be it no longer")
    completion = add(
        "completion",
        "print what makes a shell complete commands and options",
        details="Needs the extra: pip install 'zulip-auth[completion]'",
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
        help="usually an e-mail address; without it, the server is asked which ways in there are",
    )
    auth = login.add_argument_group("how to log in").add_mutually_exclusive_group()
    auth.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )
    auth.add_argument(
        "--password-command",
        metavar="COMMAND",
        help="read it from what a command prints first, such as 'pass zulip'",
    )
    auth.add_argument(
        "--dev", action="store_true", help="log in to a development server, without a password"
    )
    auth.add_argument(
        "--sso",
        nargs="?",
        const="",
        metavar="NAME",
        help="log in through a browser; NAME says how, where there is more than one way",
    )
    storage = login.add_argument_group("where to keep the key")
    _add_config(storage, "; - prints it instead")
    saving = storage.add_mutually_exclusive_group()
    saving.add_argument("--no-save", action="store_true", help="keep nothing")
    saving.add_argument(
        "--keyring",
        action="store_true",
        help="keep the key in the system's keyring, and only the account in the zuliprc "
        "(needs the extra: pip install 'zulip-auth[keyring]')",
    )
    storage.add_argument(
        "--overwrite", action="store_true", help="replace another account in the zuliprc"
    )
    output = login.add_argument_group("what to print")
    output.add_argument("--json", action="store_true", help="print one JSON object")
    output.add_argument("--show-key", action="store_true", help="print the API key, too")


def _add_config(group: argparse._ActionsContainer, details: str = "") -> None:
    group.add_argument(
        "--config",
        metavar="PATH",
        help=f"the zuliprc, in place of $ZULIP_CONFIG or ~/.zuliprc{details}",
    )


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints take one line."""

    def error(self, message: str) -> NoReturn:
        # Only words of ours are repeated: an argument may be a misplaced password.
        if not message.startswith(_SAFE_MESSAGES) and " not allowed with " not in message:
            message = "the arguments make no sense"
        print_error(f"{message} (see --help)")
        sys.exit(EXIT_CODES["USAGE"])
