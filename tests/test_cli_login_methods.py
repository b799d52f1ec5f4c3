from __future__ import annotations

import io
import sys

import pytest
from attrs import evolve

from helpers.cli_runner import FakeTTY
from helpers.errors import error_message
from zulip_auth import ExternalMethod, ServerSettings
from zulip_auth._cli.login_methods import LoginMethod, choose_method

SITE = "https://chat.example.com"
GOOGLE = ExternalMethod("google", "Google", f"{SITE}/google")
SAML = ExternalMethod("saml:idp", "Our \x1b[2JSAML", f"{SITE}/saml")
SETTINGS = ServerSettings(
    zulip_version="10.0",
    feature_level=325,
    realm_name="Zulip\x1b Dev",
    realm_url=SITE,
    password_enabled=True,
    ldap_enabled=False,
    dev_enabled=False,
    require_email_format_usernames=True,
    external_methods=(),
)
DISABLED = evolve(SETTINGS, password_enabled=False)
ALL = evolve(SETTINGS, dev_enabled=True, external_methods=(GOOGLE, SAML))


def choose(
    monkeypatch: pytest.MonkeyPatch,
    settings: ServerSettings,
    sso: str | None = None,
    typed: str | None = None,
) -> LoginMethod:
    monkeypatch.setattr(sys, "stdin", io.StringIO() if typed is None else FakeTTY(typed))
    return choose_method(settings, SITE, sso)


def test_without_menu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(monkeypatch, SETTINGS) == "password"
    only = evolve(DISABLED, external_methods=(GOOGLE,))
    assert choose(monkeypatch, only) == choose(monkeypatch, only, "") == GOOGLE
    assert choose(monkeypatch, ALL, "saml:idp") == SAML
    dev = evolve(DISABLED, dev_enabled=True)
    assert choose(monkeypatch, dev) == "dev"
    other = evolve(SETTINGS, realm_url="https://own.example.com")
    assert choose(monkeypatch, other) == "password"


def test_menu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = [choose(monkeypatch, ALL, typed=f"{number}\n") for number in "1234"]
    assert chosen == ["password", GOOGLE, SAML, "dev"]
    assert capsys.readouterr().err.startswith(
        "Login methods for Zulip? Dev:\n"
        "  1  password\n"
        "  2  Google, in a browser (google)\n"
        "  3  Our ?[2JSAML, in a browser (saml:idp)\n"
        "  4  development login, without a password\n"
        "Choose [1-4]: "
    )
    assert choose(monkeypatch, ALL, "", "2\n") == SAML
    capsys.readouterr()
    wrong = ("0", "5", "x", "²", "-1", "01")
    assert choose(monkeypatch, ALL, typed="\n".join([*wrong, "1"])) == "password"
    assert capsys.readouterr().err.count("Enter a number from 1 to 4.\n") == len(wrong)


# Advice to use a URL that every command rejects would be useless.
URLS = {"https": "Use it as SITE.", "http": "Browser logins need https; log in with a password."}
ERRORS: dict[str, tuple[ServerSettings, str | None, str | None]] = {
    "Choose a login method: pass USERNAME or --sso METHOD.": (ALL, None, None),
    "No input, or not in UTF-8.": (ALL, None, "x\n"),
    "Unknown login method. Available with --sso: google, saml:idp.": (ALL, "github", None),
    "Zulip\x1b Dev offers no browser login.": (SETTINGS, "", None),
    "Zulip\x1b Dev offers no supported login method.": (DISABLED, None, None),
    **{
        f"The organization's URL is {scheme}://own.example.com. {hint}": (
            evolve(ALL, realm_url=f"{scheme}://own.example.com"),
            "google",
            None,
        )
        for scheme, hint in URLS.items()
    },
}


@pytest.mark.parametrize("message", ERRORS)
def test_error(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, sso, typed = ERRORS[message]
    assert error_message(lambda: choose(monkeypatch, settings, sso, typed)) == message
