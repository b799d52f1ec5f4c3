"""Choose a login method: from the options, the server and the user."""

from __future__ import annotations

import argparse
import sys
from typing import Literal

from attrs import frozen

from zulip_auth._exceptions import InvalidInputError
from zulip_auth._models import ExternalMethod, ServerSettings
from zulip_auth._urls import try_normalize_site

from . import output
from .output import sanitize


@frozen
class LoginMethod:
    """A login method and its name in the menu."""

    kind: Literal["password", "dev", "browser"]
    name: str = ""
    method: ExternalMethod | None = None


def choose_method(settings: ServerSettings, site: str, options: argparse.Namespace) -> LoginMethod:
    """Return the method that the options name or the user chooses.

    Raises:
        InvalidInputError: If there is no such method, or no terminal.
    """
    methods = _available_methods(settings)
    if options.sso is not None:
        methods = [m for m in methods if m.method and options.sso in ("", m.method.name)]
        if not methods:
            raise InvalidInputError(_no_browser_message(settings))
    if not methods:
        raise InvalidInputError(
            f"{sanitize(settings.realm_name)} offers no supported login method."
        )
    chosen = methods[0] if len(methods) == 1 else _prompt_for_method(methods, settings)
    if chosen.method is not None and settings.realm_url != site:
        # The redirect names the organization by its realm_url.
        usable = try_normalize_site(settings.realm_url) == settings.realm_url
        hint = "Use it as SITE." if usable else "Browser logins need https; log in with a password."
        raise InvalidInputError(f"The organization's URL is {sanitize(settings.realm_url)}. {hint}")
    return chosen


def _available_methods(settings: ServerSettings) -> list[LoginMethod]:
    """Return the login methods that a server reports."""
    methods = [LoginMethod("password", "password")] if settings.password_enabled else []
    for method in settings.external_methods:
        name = sanitize(f"{method.display_name}, in a browser ({method.name})")
        methods += [LoginMethod("browser", name, method)]
    if settings.dev_enabled:
        methods += [LoginMethod("dev", "development login, without a password")]
    return methods


def _no_browser_message(settings: ServerSettings) -> str:
    names = ", ".join(sanitize(method.name) for method in settings.external_methods)
    if names:
        return f"Unknown login method. Available with --sso: {names}."
    message = f"{sanitize(settings.realm_name)} offers no browser login"
    if settings.feature_level == 0:
        version = sanitize(settings.zulip_version)
        message += f" (Zulip {version} does not report login methods; 2.1 and later do)"
    return f"{message}."


def _prompt_for_method(methods: list[LoginMethod], settings: ServerSettings) -> LoginMethod:
    if not output.is_interactive():
        raise InvalidInputError(
            "Several login methods are available. Pass USERNAME or --sso METHOD."
        )
    output.print_err(f"Login methods for {sanitize(settings.realm_name)}:")
    for number, method in enumerate(methods, 1):
        output.print_err(f"  {number}  {method.name}")
    choice = prompt(f"Choose [1-{len(methods)}]: ")
    if not (choice.isascii() and choice.isdigit() and 1 <= int(choice) <= len(methods)):
        raise InvalidInputError(f"Enter a number from 1 to {len(methods)}.")
    return methods[int(choice) - 1]


def prompt(text: str) -> str:
    """Return a line of input.

    Raises:
        InvalidInputError: If there is none.
    """
    if not output.is_interactive():  # piped input may be the password
        raise InvalidInputError("Cannot prompt without a terminal. Pass USERNAME.")
    output.print_err(text, end="")
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError:
        line = ""
    if not line.strip():
        raise InvalidInputError("No input.")
    return line.strip()
