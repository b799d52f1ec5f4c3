"""Which way in to take, where the arguments do not say: the server is asked, then the user."""

from __future__ import annotations

import argparse
import sys
from typing import Literal

from attrs import frozen

from zulip_auth._exceptions import InvalidInputError
from zulip_auth._models import ExternalMethod, ServerSettings

from . import output
from .output import sanitize


@frozen
class LoginMethod:
    """How to log in, and what it is called."""

    kind: Literal["password", "dev", "browser"]
    name: str = ""
    method: ExternalMethod | None = None


def choose_method(settings: ServerSettings, site: str, options: argparse.Namespace) -> LoginMethod:
    """Return the way that the options name, or that the user chooses.

    Raises:
        InvalidInputError: There is no such way, or nobody to ask.
    """
    methods = _available_methods(settings)
    if options.sso is not None:
        methods = [m for m in methods if m.method and options.sso in ("", m.method.name)]
        if not methods:
            raise InvalidInputError(_no_browser_message(settings))
    if not methods:
        raise InvalidInputError(f"{sanitize(settings.realm_name)} has no way in for this command.")
    chosen = methods[0] if len(methods) == 1 else _prompt_for_method(methods, settings)
    if chosen.method is not None and settings.realm_url != site:
        # Where the browser ends, the organization goes by this one.
        raise InvalidInputError(
            f"The organization's own address is {sanitize(settings.realm_url)}. Log in there."
        )
    return chosen


def _available_methods(settings: ServerSettings) -> list[LoginMethod]:
    """Return the ways in that a server says it has."""
    methods = [LoginMethod("password", "a password")] if settings.password_enabled else []
    for method in settings.external_methods:
        name = sanitize(f"{method.display_name}, in the browser ({method.name})")
        methods += [LoginMethod("browser", name, method)]
    if settings.dev_enabled:
        methods += [LoginMethod("dev", "no password, since this is a development server")]
    return methods


def _no_browser_message(settings: ServerSettings) -> str:
    names = ", ".join(sanitize(method.name) for method in settings.external_methods)
    if names:
        return f"There is no such way in. What may follow --sso here: {names}."
    text = f"{sanitize(settings.realm_name)} has no way in through a browser"
    if settings.feature_level == 0:
        version = sanitize(settings.zulip_version)
        text += f", or does not tell: it runs Zulip {version}, and 2.1 was the first to"
    return f"{text}."


def _prompt_for_method(methods: list[LoginMethod], settings: ServerSettings) -> LoginMethod:
    if not output.is_interactive():
        raise InvalidInputError(
            "There are several ways in, and no terminal to ask on. Give a USERNAME, or --sso NAME."
        )
    output.print_err(f"Ways in to {sanitize(settings.realm_name)}:")
    for number, method in enumerate(methods, 1):
        output.print_err(f"  {number}  {method.name}")
    choice = prompt(f"Which one (1 to {len(methods)})? ")
    if not (choice.isascii() and choice.isdigit() and 1 <= int(choice) <= len(methods)):
        raise InvalidInputError(f"That is no number from 1 to {len(methods)}.")
    return methods[int(choice) - 1]


def prompt(text: str) -> str:
    """Return a line that the user types.

    Raises:
        InvalidInputError: There is none.
    """
    if not output.is_interactive():  # what is piped there may be the password
        raise InvalidInputError("There is no terminal to ask on. Give a USERNAME.")
    output.print_err(text, end="")
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError:
        line = ""
    if not line.strip():
        raise InvalidInputError("There is no answer.")
    return line.strip()
