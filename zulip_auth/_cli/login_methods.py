"""Choose a login method: from the options, the server and the user."""

from __future__ import annotations

from typing import Literal

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
    methods: dict[LoginMethod, str] = {"password": "password"}
    if sso is not None or not settings.password_enabled:
        methods.clear()
    for external in settings.external_methods:
        if sso in (None, "", external.name):
            text = f"{external.display_name}, in a browser ({external.name})"
            methods[external] = sanitize(text)
    if settings.dev_enabled and sso is None:
        methods["dev"] = "development login, without a password"
    if not methods:
        names = ", ".join(external.name for external in settings.external_methods)
        kind = "supported login method" if sso is None else "browser login"
        raise InvalidInputError(
            f"Unknown login method. Available with --sso: {names}."
            if names
            else f"{settings.realm_name} offers no {kind}."
        )
    method = next(iter(methods)) if len(methods) == 1 else _prompt(methods, settings)
    if isinstance(method, ExternalMethod) and settings.realm_url != site:
        # The redirect names the organization by its realm_url.
        usable = try_normalize_site(settings.realm_url) == settings.realm_url
        hint = "Use it as SITE." if usable else "Browser logins need https; log in with a password."
        raise InvalidInputError(f"The organization's URL is {settings.realm_url}. {hint}")
    return method


def _prompt(methods: dict[LoginMethod, str], settings: ServerSettings) -> LoginMethod:
    if not is_interactive():
        raise InvalidInputError("Choose a login method: pass USERNAME or --sso METHOD.")
    print_err(wrap(sanitize(f"Login methods for {settings.realm_name}:")))
    numbers: dict[str, LoginMethod] = {
        str(number): method for number, method in enumerate(methods, 1)
    }
    for choice, method in numbers.items():
        print_err(wrap(f"  {choice}  {methods[method]}"))
    # A wrong number is not an error, after which a password could be typed in plain sight.
    while (choice := prompt(f"Choose [1-{len(methods)}]: ")) not in numbers:
        print_err(f"Enter a number from 1 to {len(methods)}.")
    return numbers[choice]
