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
ALL = evolve(SETTINGS, dev_enabled=True, external_methods=(GOOGLE, SAML))


def type_input(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", FakeTTY(text))


def choose(settings: ServerSettings, sso: str | None = None) -> LoginMethod:
    return choose_method(settings, SITE, sso)


def choice_error(settings: ServerSettings, sso: str | None = None) -> str:
    return error_message(lambda: choose(settings, sso))


def test_single_method() -> None:
    assert choose(SETTINGS) == "password"
    only = evolve(SETTINGS, password_enabled=False, external_methods=(GOOGLE,))
    assert choose(only) == choose(only, "") == GOOGLE
    assert choose(evolve(SETTINGS, password_enabled=False, dev_enabled=True)) == "dev"


def test_menu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = []
    for number in "1234":
        type_input(f"{number}\n", monkeypatch)
        chosen.append(choose(ALL))
    assert chosen == ["password", GOOGLE, SAML, "dev"]
    shown = capsys.readouterr().err
    assert shown.startswith(
        "Login methods for Zulip? Dev:\n"
        "  1  password\n"
        "  2  Google, in a browser (google)\n"
        "  3  Our ?[2JSAML, in a browser (saml:idp)\n"
        "  4  development login, without a password\n"
        "Choose [1-4]: "
    )


@pytest.mark.parametrize("inputs", ["0", "5", "x", "²", "-1", "01", "hunter2"])
def test_menu_invalid_choice(
    inputs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_input(f"{inputs}\n1\n", monkeypatch)
    assert choose(ALL) == "password"
    assert capsys.readouterr().err.endswith(
        "Choose [1-4]: Enter a number from 1 to 4.\nChoose [1-4]: "
    )


def test_menu_eof(monkeypatch: pytest.MonkeyPatch) -> None:
    type_input("x\n", monkeypatch)
    assert choice_error(ALL) == "No input, or not in UTF-8."


def test_menu_without_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for stdin in (None, io.StringIO("1\n")):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert "pass USERNAME or --sso METHOD." in choice_error(ALL)


def test_sso_method_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(ALL, "saml:idp") == SAML
    type_input("2\n", monkeypatch)
    assert choose(ALL, "") == SAML
    assert choice_error(ALL, "github") == (
        "Unknown login method. Available with --sso: google, saml:idp."
    )


def test_no_browser_method() -> None:
    assert choice_error(SETTINGS, "") == "Zulip\x1b Dev offers no browser login."
    old = evolve(SETTINGS, zulip_version="2.0.8", feature_level=0)
    assert choice_error(old, "google") == (
        "Zulip\x1b Dev offers no browser login (Zulip 2.0.8 does not report login methods; "
        "2.1 and later do)."
    )
    assert choice_error(evolve(SETTINGS, password_enabled=False)) == (
        "Zulip\x1b Dev offers no supported login method."
    )


def test_different_realm_url() -> None:
    other = evolve(ALL, realm_url="https://own.example.com")
    assert choice_error(other, "google") == (
        "The organization's URL is https://own.example.com. Use it as SITE."
    )
    assert choose(evolve(SETTINGS, realm_url="https://own.example.com")) == "password"


def test_insecure_realm_url() -> None:
    """Advice to use a URL that every command rejects would be useless."""
    insecure = evolve(ALL, realm_url="http://own.example.com")
    assert choice_error(insecure, "google") == (
        "The organization's URL is http://own.example.com. "
        "Browser logins need https; log in with a password."
    )
