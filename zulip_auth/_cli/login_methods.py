"""Which way in to take, where the arguments do not say: the server is asked, then the user."""

from __future__ import annotations

import argparse
import sys
from typing import Literal

from attrs import frozen

from zulip_auth._exceptions import InvalidInputError
from zulip_auth._models import ExternalMethod, ServerSettings

from . import output
from .output import visible


@frozen
class Way:
    """How to log in, and what it is called."""

    kind: Literal["password", "dev", "browser"]
    name: str = ""
    method: ExternalMethod | None = None


def choose_way(settings: ServerSettings, site: str, options: argparse.Namespace) -> Way:
    """Return the way that the options name, or that the user chooses.

    Raises:
        InvalidInputError: There is no such way, or nobody to ask.
    """
    ways = _ways_of(settings)
    if options.sso is not None:
        ways = [way for way in ways if way.method and options.sso in ("", way.method.name)]
        if not ways:
            raise InvalidInputError(_no_browser(settings))
    if not ways:
        raise InvalidInputError(f"{visible(settings.realm_name)} has no way in for this command.")
    way = ways[0] if len(ways) == 1 else _asked(ways, settings)
    if way.method is not None and settings.realm_url != site:
        # Where the browser ends, the organization goes by this one.
        raise InvalidInputError(
            f"The organization's own address is {visible(settings.realm_url)}. Log in there."
        )
    return way


def _ways_of(settings: ServerSettings) -> list[Way]:
    """Return the ways in that a server says it has."""
    ways = [Way("password", "a password")] if settings.password_enabled else []
    for method in settings.external_methods:
        name = visible(f"{method.display_name}, in the browser ({method.name})")
        ways += [Way("browser", name, method)]
    if settings.dev_enabled:
        ways += [Way("dev", "no password, since this is a development server")]
    return ways


def _no_browser(settings: ServerSettings) -> str:
    names = ", ".join(visible(method.name) for method in settings.external_methods)
    if names:
        return f"There is no such way in. What may follow --sso here: {names}."
    text = f"{visible(settings.realm_name)} has no way in through a browser"
    if settings.feature_level == 0:
        version = visible(settings.zulip_version)
        text += f", or does not tell: it runs Zulip {version}, and 2.1 was the first to"
    return f"{text}."


def _asked(ways: list[Way], settings: ServerSettings) -> Way:
    if not output.can_ask():
        raise InvalidInputError(
            "There are several ways in, and no terminal to ask on. Give a USERNAME, or --sso NAME."
        )
    output.say(f"Ways in to {visible(settings.realm_name)}:")
    for number, way in enumerate(ways, 1):
        output.say(f"  {number}  {way.name}")
    choice = ask(f"Which one (1 to {len(ways)})? ")
    if not (choice.isascii() and choice.isdigit() and 1 <= int(choice) <= len(ways)):
        raise InvalidInputError(f"That is no number from 1 to {len(ways)}.")
    return ways[int(choice) - 1]


def ask(question: str) -> str:
    """Return a line that the user types.

    Raises:
        InvalidInputError: There is none.
    """
    if not output.can_ask():  # what is piped there may be the password
        raise InvalidInputError("There is no terminal to ask on. Give a USERNAME.")
    output.say(question, end="")
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError:
        line = ""
    if not line.strip():
        raise InvalidInputError("There is no answer.")
    return line.strip()
