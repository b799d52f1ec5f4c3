"""The commands, their options and the texts of `--help`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

from zulip_auth._version import __version__

from .output import print_error, terminal_width

# From BSD's sysexits.h; above 128, the shells' codes for signals.
EXIT_CODES = {
    0: "success",
    64: "invalid arguments or input",
    69: "server unreachable or failing",
    74: "success, but the output could not be written",
    75: "rate limited, or browser login expired; try again later",
    76: "not a Zulip server",
    77: "login or API key rejected",
    78: "not logged in, or zuliprc or keyring not accessible",
    129: "terminal closed",
    130: "interrupted by Ctrl-C",
    143: "terminated",
}
SHELLS = ("bash", "fish", "zsh")

_SERVER = "--timeout --cert-bundle --allow-http"
# Command: (arguments, options, help).
COMMANDS = {
    "login": (
        "SITE [USERNAME]",
        "--password-stdin --password-command --api-key-stdin --dev --sso --bot --config "
        f"--no-save --keyring --overwrite --json --show-key {_SERVER}",
        "log in and save the API key",
    ),
    "whoami": ("", f"--config --json {_SERVER}", "check the saved API key and show its account"),
    "bots": ("", f"--config --json {_SERVER}", "list the bots of the account"),
    "api-key": ("", "--config", "print the saved API key"),
    "logout": ("", f"--revoke --config {_SERVER}", "delete the saved API key"),
    "sso-handler": (
        "[URL]",
        "--install --uninstall",
        "handle zulip:// URLs, to finish browser logins automatically (Linux desktops)",
    ),
    "completion": ("SHELL", "", "print a shell completion script"),
}
_ARGUMENTS = {
    "SITE": "organization URL, such as chat.example.com",
    "[USERNAME]": "usually an email address; if omitted, choose a login method",
    "[URL]": "URL passed by the desktop",
    "SHELL": ", ".join(SHELLS),
}
OPTIONS = {
    "authentication": {
        "--password-stdin": "read the password from standard input",
        "--password-command COMMAND": "read the password from the first line of COMMAND's output",
        "--api-key-stdin": "read an API key from standard input instead of logging in",
        "--dev": "log in to a development server, without a password",
        "--sso [METHOD]": "log in with a browser; METHOD selects one of several",
        "--bot NAME": "save the API key of a bot that the account owns",
    },
    "storage": {
        "--config PATH": "zuliprc to use (default: $ZULIP_CONFIG or ~/.zuliprc)",
        "--no-save": "do not save the key",
        "--keyring": "save the key in the system keyring instead (extra: keyring)",
        "--overwrite": "overwrite a different account",
        "--revoke": "revoke the key on the server before deleting it",
        "--install": "register the handler",
        "--uninstall": "unregister the handler",
    },
    "output": {
        "--json": "print JSON",
        "--show-key": "include the API key in the output",
    },
    "connection": {
        "--timeout SECONDS": "limit for a request (default: 30) or a password command",
        "--cert-bundle PATH": "CA certificates to trust (default: $ZULIP_CERT_BUNDLE)",
        "--allow-http": "send passwords and keys without encryption",
    },
}
_EXCLUSIVE = (
    "--password-stdin --password-command --api-key-stdin --dev --sso",
    "--no-save --keyring",
    "--install --uninstall",
)
_EPILOG = """\
examples:
  zulip-auth login chat.example.com iago@zulip.com
  zulip-auth login chat.example.com iago@zulip.com \\
      --password-command 'pass zulip'
  zulip-auth login chat.example.com --sso
  zulip-auth whoami

exit codes:
""" + "".join(f"  {code:3}  {text}\n" for code, text in EXIT_CODES.items())


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; exit if they are invalid, or after `--help`."""
    parser = _build_parser()
    options, extra = parser.parse_known_args(argv)
    if extra:  # not repeated, since one may be a password
        parser.error("unknown option, or too many arguments (a password is not an argument)")
    for names in _EXCLUSIVE:
        values = {n: vars(options).get(n[2:].replace("-", "_")) for n in names.split()}
        used = [name for name, value in values.items() if value not in (None, False)]
        if len(used) > 1:
            parser.error(f"argument {used[1]}: not allowed with argument {used[0]}")
    if options.command is None:
        parser.print_help()
        sys.exit()
    return options


def _build_parser() -> argparse.ArgumentParser:
    description = "Log in to Zulip and save the API key for other Zulip tools."
    parser = _Parser(prog="zulip-auth", description=description, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"zulip-auth {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for name, (arguments, options, text) in COMMANDS.items():
        description = f"{text[0].upper()}{text[1:]}."
        command = commands.add_parser(name, help=text, description=description)
        for argument in arguments.split():
            command.add_argument(
                argument.strip("[]").lower(),
                metavar=argument.strip("[]"),
                nargs="?" if argument.startswith("[") else None,
                choices=SHELLS if argument == "SHELL" else None,
                help=_ARGUMENTS[argument],
            )
        for title, group_options in OPTIONS.items():
            group = command.add_argument_group(title)  # which is not shown if it is empty
            for option, option_text in group_options.items():
                if option.split()[0] in options.split():
                    group.add_argument(*option.split()[:1], help=option_text, **_settings(option))
    return parser


def _settings(option: str) -> dict[str, Any]:
    _, _, metavar = option.partition(" ")
    if metavar == "[METHOD]":
        return {"metavar": "METHOD", "nargs": "?", "const": ""}
    if metavar:
        return {"metavar": metavar, "type": float if metavar == "SECONDS" else str}
    return {"action": "store_true"}


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser with one-line errors."""

    def __init__(self, **settings: Any) -> None:
        width = min(terminal_width(), 80) - 1
        formatter = partial(argparse.RawDescriptionHelpFormatter, width=width, max_help_position=28)
        super().__init__(allow_abbrev=False, formatter_class=formatter, **settings)

    def error(self, message: str) -> NoReturn:
        # What argparse quotes is a value, which may be a misplaced password, or a choice.
        text = re.split("[\"']", message)[0].rstrip(" :")
        if "(choose from " in message:
            choices = message.rpartition("(choose from ")[2].replace("'", "")
            text = f"{text} (choose from {choices}"
        print_error(f"{text} (see --help)")
        sys.exit(64)
