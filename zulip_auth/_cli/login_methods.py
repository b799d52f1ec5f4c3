"""Choose a login method: from the options, the server and the user."""

from __future__ import annotations

from typing import Literal, NoReturn

from zulip_auth._exceptions import InvalidInputError
from zulip_auth._models import ExternalMethod, ServerSettings
from zulip_auth._site import try_normalize_site

from .output import is_interactive, print_err, sanitize, wrap
from .prompts import prompt

LoginMethod = ExternalMethod | Literal["password", "dev"]


def choose_method(settings: ServerSettings, site: str, sso: str | None) -> LoginMethod:
    """Return the method that the options name or the user chooses.

    Args:
        settings: The settings of the server.
        site: The organization URL.
        sso: The name of a browser login, empty for any, None for any method.

    Raises:
        InvalidInputError: If there is no such method, or no terminal.
    """
    methods: dict[LoginMethod, str] = _available_methods(settings)
    if sso is not None:
        methods = {m: name for m, name in methods.items() if _is_external(m, sso)}
        if not methods:
            _raise_no_browser_login(settings)
    if not methods:
        raise InvalidInputError(f"{settings.realm_name} offers no supported login method.")
    method = next(iter(methods)) if len(methods) == 1 else _prompt(methods, settings)
    if isinstance(method, ExternalMethod) and settings.realm_url != site:
        # The redirect names the organization by its realm_url.
        usable = try_normalize_site(settings.realm_url) == settings.realm_url
        hint = "Use it as SITE." if usable else "Browser logins need https; log in with a password."
        raise InvalidInputError(f"The organization's URL is {settings.realm_url}. {hint}")
    return method


def _available_methods(settings: ServerSettings) -> dict[LoginMethod, str]:
    """Return the login methods that a server reports, and their names in the menu."""
    methods: dict[LoginMethod, str] = {"password": "password"} if settings.password_enabled else {}
    for method in settings.external_methods:
        methods[method] = sanitize(f"{method.display_name}, in a browser ({method.name})")
    if settings.dev_enabled:
        methods["dev"] = "development login, without a password"
    return methods


def _is_external(method: LoginMethod, name: str) -> bool:
    return isinstance(method, ExternalMethod) and name in ("", method.name)


def _raise_no_browser_login(settings: ServerSettings) -> NoReturn:
    if names := ", ".join(method.name for method in settings.external_methods):
        raise InvalidInputError(f"Unknown login method. Available with --sso: {names}.")
    hint = ""
    if settings.feature_level == 0:
        hint = f" (Zulip {settings.zulip_version} does not report login methods; 2.1 and later do)"
    raise InvalidInputError(f"{settings.realm_name} offers no browser login{hint}.")


def _prompt(methods: dict[LoginMethod, str], settings: ServerSettings) -> LoginMethod:
    if not is_interactive():
        raise InvalidInputError("Choose a login method: pass USERNAME or --sso METHOD.")
    print_err(wrap(sanitize(f"Login methods for {settings.realm_name}:")))
    numbers: dict[str, LoginMethod] = {
        str(number): method for number, method in enumerate(methods, 1)
    }
    for number, method in numbers.items():
        print_err(wrap(f"  {number}  {methods[method]}"))
    # A wrong number is not an error, after which a password could be typed in plain sight.
    while (number := prompt(f"Choose [1-{len(methods)}]: ")) not in numbers:
        print_err(f"Enter a number from 1 to {len(methods)}.")
    return numbers[number]
