"""The commands, their options and the texts of `--help`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

import zulip_auth
from zulip_auth._exceptions import InvalidInputError

from .exit_codes import EXIT_CODES
from .output import terminal_width, wrap

SHELLS = ("bash", "fish", "zsh")

_SERVER = "--json --timeout --cert-bundle --allow-http"
# Command: (arguments and options, help).
COMMANDS = {
    "login": (
        "SITE [USERNAME] --password-stdin --password-command --api-key-stdin --dev --sso --bot "
        f"--config --no-save --keyring --overwrite --show-key {_SERVER}",
        "log in and save the API key",
    ),
    "whoami": (f"--config {_SERVER}", "check the saved API key and show its account"),
    "bots": (f"--config {_SERVER}", "list the bots of the account"),
    "api-key": ("--config --json", "print the saved API key"),
    "rotate": (
        f"--bot --save --config --show-key {_SERVER}",
        "replace the API key, save the new one and revoke the old one",
    ),
    "logout": (f"--revoke --config {_SERVER}", "delete the saved API key"),
    "sso-handler": (
        "[URL] --install --uninstall --json",
        "handle zulip:// URLs, to finish browser logins automatically (Linux desktops)",
    ),
    "fake-server": ("", "run a stand-in Zulip server, for tests (extra: testing)"),
    "completion": ("SHELL", "print a shell completion script"),
}
# Group: {argument, or option and its value: help}.
OPTIONS = {
    "arguments": {
        "SITE": "organization URL, such as chat.example.com",
        "[USERNAME]": "usually an email address; if omitted, choose a login method",
        "--bot NAME": "a bot that the account owns, in place of the account",
        "[URL]": "URL passed by the desktop",
        "SHELL": ", ".join(SHELLS),
    },
    "authentication": {
        "--password-stdin": "read the password from standard input",
        "--password-command COMMAND": "read the password from the first line of COMMAND's output",
        "--api-key-stdin": "read an API key from standard input instead of logging in",
        "--dev": "log in to a development server, without a password",
        "--sso [METHOD]": "log in with a browser; METHOD selects one of several",
    },
    "zuliprc": {
        "--config PATH": "zuliprc to use (default: $ZULIP_CONFIG or ~/.zuliprc)",
        "--overwrite": "overwrite a different account",
        "--save PATH": "zuliprc of the bot, to save its new key in",
    },
    "storage": {
        "--no-save": "do not save the key",
        "--keyring": "save the key in the system keyring instead (extra: keyring)",
        "--revoke": "revoke the key on the server before deleting it",
    },
    "desktop": {"--install": "register the handler", "--uninstall": "unregister the handler"},
    "output": {
        "--json": "print JSON, also for an error",
        "--show-key": "include the API key in the output",
    },
    "connection": {
        "--timeout SECONDS": "limit for a request (default: 30) or a password command",
        "--cert-bundle PATH": "CA certificates to trust (default: $ZULIP_CERT_BUNDLE)",
        "--allow-http": "send passwords and keys without encryption",
    },
}
_EXCLUSIVE = ("authentication", "storage", "desktop")
_OPTION_RE = re.compile(r"--[a-z]+(-[a-z]+)*(?==|$)")  # unlike most passwords
_EPILOG = """\
examples:
  zulip-auth login chat.example.com iago@zulip.com
  zulip-auth login chat.example.com --sso

exit codes:
""" + "".join(f"  {code:3}  {text}\n" for code, (text, _) in EXIT_CODES.items())


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; exit after `--help`.

    Raises:
        InvalidInputError: If they are invalid.
    """
    parser = _build_parser()
    options, extra = parser.parse_known_args(argv)
    if extra:
        _reject(extra, options.command)
    if options.command is None:
        parser.print_help()
        sys.exit()
    return options


def _reject(extra: Sequence[str], command: str | None) -> NoReturn:
    """Raise InvalidInputError for an unknown option, or an argument too many.

    They are not repeated, since one may be a password, except for what looks
    like the name of an option.
    """
    names = [match[0] for text in extra if (match := _OPTION_RE.match(text))]
    known = COMMANDS[command][0].split() if command else []
    if names and names[0] in known:
        reason = f"pass {names[0]} after {command}"
    elif names:
        reason = f"unknown option {names[0]}{_suggest(names[0], known)}"
    elif any(text.startswith("-") for text in extra):
        reason = "unknown option"
    else:
        reason = "too many arguments; a password is not an argument"
    raise InvalidInputError(f"{reason} (see --help)")


def _suggest(text: str, choices: Iterable[str]) -> str:
    from difflib import get_close_matches  # only if there is a mistake

    found = get_close_matches(text, choices, 1)
    return f", did you mean {found[0]}?" if found else ""


def _build_parser() -> argparse.ArgumentParser:
    description = "Log in to Zulip and save the API key for other Zulip tools."
    parser = _Parser(prog="zulip-auth", description=wrap(description), epilog=wrap(_EPILOG))
    parser.set_defaults(cert_bundle=None)  # for commands without that option
    version = f"zulip-auth {zulip_auth.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for command_name, (options, text) in COMMANDS.items():
        names = options.split()
        arguments = [name for name in names if not name.startswith("-")]
        usage = " ".join(["usage: zulip-auth", command_name, "[OPTIONS]", *arguments])
        command = commands.add_parser(
            command_name,
            help=text,
            description=wrap(f"{text[0].upper()}{text[1:]}."),
            usage=wrap(usage).removeprefix("usage: "),
        )
        for title, texts in OPTIONS.items():
            group: argparse._ActionsContainer = command.add_argument_group(title)
            if title in _EXCLUSIVE:
                group = group.add_mutually_exclusive_group()
            for option, text in texts.items():
                name, _, metavar = option.partition(" ")
                if name in names:
                    group.add_argument(
                        name.strip("[]").lower(), help=text, **_settings(name, metavar)
                    )
    return parser


def _settings(name: str, metavar: str) -> dict[str, Any]:
    """Return the keyword arguments of `add_argument`."""
    if name.startswith("-") and not metavar:
        return {"action": "store_true"}
    value = metavar or name
    settings: dict[str, Any] = {"metavar": value.strip("[]")}
    if value.startswith("["):  # it may be left out
        settings |= {"nargs": "?", "const": ""}
    if value == "SECONDS":
        settings["type"] = float
    if value == "SHELL":
        settings["choices"] = SHELLS
    return settings


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser with one-line errors."""

    def __init__(self, **settings: Any) -> None:
        width = min(terminal_width(), 80) - 1
        formatter = partial(argparse.RawDescriptionHelpFormatter, width=width, max_help_position=28)
        super().__init__(allow_abbrev=False, formatter_class=formatter, **settings)

    def error(self, message: str) -> NoReturn:
        # What argparse quotes is a value, which may be a misplaced password, or a choice.
        text, *quoted = re.split("[\"']", message)
        _, found, choices = message.replace("'", "").rpartition(" (choose from ")
        hint = found and _suggest(quoted[0], choices.rstrip(")").split(", "))
        hint = hint or f"{found}{choices if found else ''}"
        raise InvalidInputError(f"{text.rstrip(' :')}{hint} (see --help)")
