from __future__ import annotations

import base64
import copy
import json
import logging
import os
import pickle
import pprint
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
import zulip
from attrs import asdict, astuple, evolve
from attrs.exceptions import FrozenInstanceError

from helpers.errors import error_message
from zulip_auth import Credentials, NotLoggedInError, ZuliprcError
from zulip_auth._credentials import render_credentials, save_credentials
from zulip_auth._zuliprc import read_zuliprc
from zulip_auth.testing import FakeZulip

KEY = "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF"
LINES = f"[api]\nemail=iago@zulip.com\nkey={KEY}\nsite=https://chat.example.com\n"
LOADED = Credentials("https://chat.example.com", "iago@zulip.com", KEY)
CREDENTIALS = evolve(LOADED, user_id=16)


def test_value() -> None:
    assert CREDENTIALS.basic_auth == ("iago@zulip.com", KEY)
    assert LOADED.user_id is None
    with pytest.raises(FrozenInstanceError):
        CREDENTIALS.api_key = "another"  # type: ignore[misc]
    assert copy.copy(CREDENTIALS) == copy.deepcopy([CREDENTIALS])[0] == CREDENTIALS
    changed = evolve(LOADED, api_key="other")
    assert (changed.api_key, LOADED.api_key) == ("other", KEY)
    assert len({changed, LOADED, evolve(LOADED)}) == 2
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=r"^cannot pickle Credentials: they contain the API"):
            pickle.dumps(CREDENTIALS, protocol)


def test_key_is_not_printed(caplog: pytest.LogCaptureFixture) -> None:
    # They require newer versions of attrs and Starlette than this package does.
    cattrs = pytest.importorskip("cattrs", exc_type=ImportError)
    encoders = pytest.importorskip("fastapi.encoders", exc_type=ImportError)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("a bot").warning("%s %r", CREDENTIALS, CREDENTIALS)
    shown = [
        f"{CREDENTIALS} {CREDENTIALS!r} {CREDENTIALS!a} {CREDENTIALS!s}",
        pprint.pformat({"credentials": [CREDENTIALS]}),
        caplog.text,
        json.dumps(asdict(CREDENTIALS), default=str),
        *map(repr, (asdict(CREDENTIALS), astuple(CREDENTIALS), cattrs.unstructure(CREDENTIALS))),
    ]
    web = encoders.jsonable_encoder
    for serialize in (web, msgspec.to_builtins, msgspec.json.encode, vars, json.dumps):
        with suppress(TypeError, ValueError):
            shown.append(repr(serialize(CREDENTIALS)))
    encoded = base64.b64encode(KEY.encode()).decode()
    for text in shown:
        assert "iago@zulip.com" in text
        assert KEY not in text
        assert encoded not in text


# ---- In a zuliprc


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the default path of the zuliprc."""
    for name in ("CONFIG", "EMAIL", "API_KEY", "SITE", "CERT_BUNDLE", "CERT", "CERT_KEY"):
        monkeypatch.delenv(f"ZULIP_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".zuliprc"


def write(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8", newline="")
    path.chmod(0o600)


def zuliprc_error(call: Callable[[], object], exc_type: type[ZuliprcError] = ZuliprcError) -> str:
    return error_message(call, exc_type, secrets=(KEY,))


def test_save_and_load(path: Path) -> None:
    for credentials in (
        evolve(CREDENTIALS, email="a%b@zulip.com", login_name="jdoe"),
        evolve(LOADED, site="http://localhost:9991"),
        evolve(CREDENTIALS, cert_bundle="/a b/ca.pem", client_cert="c", client_cert_key="k"),
    ):
        credentials.save(overwrite=True)
        assert Credentials.load() == credentials
        assert Credentials.load().login_name == credentials.login_name
        assert path.read_text() == render_credentials(credentials)


# What others write is read as Zulip's own client reads it.
READ: dict[str, tuple[str, dict[str, Any]]] = {
    "as Zulip's settings page writes it": (LINES, {}),
    "no newline at the end": (LINES[:-1], {}),
    "no scheme": (LINES.replace("https://", ""), {}),
    "the path of the API": (LINES[:-1] + "/api/\n", {}),
    "a slash": (LINES[:-1] + "/", {}),
    "spaces": (LINES.replace("=", "   =  "), {}),
    "colons": (LINES.replace("=", ": "), {}),
    "capitals": (LINES.replace("key", "Key"), {}),
    "carriage returns": (LINES.replace("\n", "\r\n"), {}),
    "comments": (LINES.replace("key", "# from settings\n; old\nkey"), {}),
    "other sections": ("[zterm]\ntheme=50%\n" + LINES + "[x]\n", {}),
    "a default": (f"[DEFAULT]\nkey={KEY}\n" + LINES.replace(f"key={KEY}\n", ""), {}),
    "a % written twice": (LINES.replace("iago", "50%%off"), {"email": "50%off@zulip.com"}),
    "a reference": (LINES.replace("iago", "%(name)s") + "name=iago\n", {}),
    "insecure": (LINES + "insecure=false\n", {}),
    "unknown options": (LINES + "color=50%\n", {}),
    "a user ID": (LINES + "user_id=16\n", {"user_id": 16}),
    "invalid user IDs": (LINES + "user_id=0\n", {}),
    # That client does not accept these.
    "a byte order mark": ("\ufeff" + LINES, {}),
    "a % written once": (LINES.replace("iago", "50%off"), {"email": "50%off@zulip.com"}),
    "loopback": (LINES.replace(LOADED.site, "[::1]"), {"site": "http://[::1]"}),
}


@pytest.mark.parametrize("name", READ)
def test_load_is_like_zulips_client(path: Path, name: str, fake_zulip: FakeZulip) -> None:
    content, changes = READ[name]
    write(path, content)
    assert Credentials.load() == evolve(LOADED, **changes)
    if name in ("a byte order mark", "a % written once", "loopback"):
        return
    write(path, re.sub(r"(https://)?chat\.example\.com", fake_zulip.site, content))
    ours, theirs = Credentials.load(), zulip.Client(config_file=str(path))
    assert ours.basic_auth == (theirs.email, theirs.api_key)
    assert f"{ours.site}/api/" == theirs.base_url


CHARACTERS = "has spaces or other invalid characters."
ERRORS: dict[str, tuple[str, str, str]] = {
    "no email": ("email", "mail", "No email in {file}. Run `zulip-auth login`."),
    "passcmd": (f"key={KEY}", "passcmd=x", "No key in {file}. Its passcmd is not run; set"),
    "capitals": ("[api]", "[API]", "Section [API] in {path} must be named [api]."),
    "key with a space": (KEY, f"{KEY} {KEY}", f"key in {{file}} {CHARACTERS}"),
    "key of two lines": (KEY, f"{KEY}\n {KEY}", "key in {file} contains a line break"),
    "key beyond ASCII": (KEY, f"{KEY}é", f"key in {{file}} {CHARACTERS}"),
    "key of 2,000 letters": (KEY, KEY * 63, "key in {file} is longer than 1024 characters."),
    "key in quotes": (KEY, f'"{KEY}"', "key in {file} is in quotes; remove them."),
    "path in quotes": ("key=", "cert_bundle='/x'\nkey=", "cert_bundle in {file} is in quotes; "),
    "key of a template": (KEY, "${KEY}", "key in {file} is a variable or placeholder that"),
    "email with a space": ("iago@", "iago @", f"email in {{file}} {CHARACTERS}"),
    "email with U+200B": ("iago", "\u200biago", "email in {file} contains an invisible character"),
    "hidden email": (
        "iago@zulip.com",
        "user10@chat.example.com",
        "email in {file} is an address that Zulip shows in place of a hidden one. Use the address",
    ),
    "plain http": (
        "https",
        "http",
        "site in {file} is invalid: Plain http to chat.example.com would send the password",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), ERRORS.values(), ids=ERRORS)
def test_load_error(path: Path, old: str, new: str, message: str) -> None:
    write(path, LINES.replace(old, new))
    assert zuliprc_error(Credentials.load).startswith(
        message.format(path=path, file=f"section [api] of {path}")
    )


def test_not_logged_in(path: Path) -> None:
    assert zuliprc_error(Credentials.load, NotLoggedInError) == (
        f"{path} does not exist. Run `zulip-auth login`."
    )
    for content, missing in (
        ("", "site and no email and no key"),
        ("[api]\nx=y\n", "site and no email and no key"),
        (LINES.replace(KEY, ""), "key"),
    ):
        write(path, content)
        assert zuliprc_error(Credentials.load, NotLoggedInError) == (
            f"No {missing} in section [api] of {path}. Run `zulip-auth login`."
        )


def test_section_and_plain_http(path: Path) -> None:
    credentials = evolve(LOADED, site="http://chat.example.com")
    for _ in range(2):  # in a new file, and over the same account
        credentials.save()
    path.write_text(path.read_text() + LINES.replace("[api]", "[helper]"))
    for load in (Credentials.load, Credentials.from_env):
        assert "Plain http" in zuliprc_error(load)
        assert load(allow_http=True) == credentials
        assert load(section="helper") == LOADED


def test_warning_of_access(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, LINES)
    for mode in (0o604, 0o644, 0o601):
        path.chmod(mode)
        with pytest.warns(UserWarning, match="readable") as caught:
            assert Credentials.load() == Credentials.from_env() == LOADED
        assert [(str(warning.message), warning.filename) for warning in caught] == 2 * [
            (f"{path} is readable by other users. Run: chmod 600 {path}", __file__)
        ]
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    Credentials.load()  # the file of another user, such as a container secret


def test_save_over_another_account(path: Path) -> None:
    options = "insecure=true\nlogin_name=jdoe\ncert_bundle=/ca.pem\n[zterm]\ntheme=dark\n"
    for content in (LINES + options, "precious"):
        changes: list[dict[str, Any]] = [{"email": "hamlet@zulip.com"}, {"site": "https://x.org"}]
        for change in changes:
            other = evolve(LOADED, **change)
            write(path, content)
            assert zuliprc_error(other.save) == (
                f"{path} belongs to a different account or is not a zuliprc. "
                "Pass overwrite=True or use another path."
            )
            assert path.read_text() == content
            other.save(overwrite=True)
            assert Credentials.load() == other
            # Options of the other account are removed, and other sections are preserved.
            assert "insecure" not in path.read_text()
            assert "jdoe" not in path.read_text()
            assert ("theme=dark" in path.read_text()) == (content != "precious")


def test_save_over_same_account(path: Path) -> None:
    options = "insecure=false\nlogin_name=jdoe\ncert_bundle=/ca.pem\nuser_id=15\n"
    spelled = LINES.replace("iago", "IAGO").replace("https://", "").replace(KEY, "old")
    for existing in (spelled, "[api]\n", LINES.replace(f"key={KEY}\n", "")):
        write(path, existing + options)
        CREDENTIALS.save()
        assert Credentials.load() == evolve(CREDENTIALS, cert_bundle="/ca.pem")
        section = read_zuliprc(path)
        assert (section["insecure"], section["login_name"]) == ("false", "jdoe")
    save_credentials(evolve(CREDENTIALS, login_name="john"), path, include_key=False)
    section = read_zuliprc(path)
    assert (section["email"], section["login_name"]) == (CREDENTIALS.email, "john")
    assert "key" not in section


def test_save_invalid_value(path: Path) -> None:
    invalid: list[dict[str, Any]] = [
        *({"email": "iago\n@zulip.com"}, {"api_key": "a\n[api]"}, {"api_key": b"key"}),
        *({"site": "chat.example.com"}, {"site": "https://chat.example.com/api"}, {"user_id": 0}),
        *({"cert_bundle": ""}, {"cert_bundle": Path("/ca.pem")}),
    ]
    for values in invalid:
        assert "credentials" in zuliprc_error(evolve(CREDENTIALS, **values).save)
        assert not path.exists()
    bytes_key: Any = b"key"
    error = zuliprc_error(
        lambda: Credentials.from_env(email="a@x.org", api_key=bytes_key, site="x.org")
    )
    assert error == "argument api_key must be a str, not bytes."


# ---- In the environment


def set_variables(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"ZULIP_{name}", value)


def test_precedence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, LINES + "user_id=16\ncert_bundle=/file.pem\nclient_cert=/c.pem\n")
    stored = evolve(CREDENTIALS, cert_bundle="/file.pem", client_cert="/c.pem")
    assert Credentials.from_env() == stored
    set_variables(monkeypatch, CERT_BUNDLE="/env.pem", CERT="/e.pem", CERT_KEY="/k.pem")
    tls: dict[str, Any] = {"client_cert": "/e.pem", "client_cert_key": "/k.pem"}
    assert Credentials.from_env() == evolve(stored, cert_bundle="/env.pem", **tls)
    set_variables(monkeypatch, EMAIL="bot@zulip.com", API_KEY="envkey", SITE="x.org/api")
    expected = Credentials(
        "https://x.org", "bot@zulip.com", "envkey", cert_bundle="/env.pem", **tls
    )
    assert Credentials.from_env() == Credentials.from_env(path=path) == expected  # no user ID
    assert Credentials.from_env(
        email="a@x.org", api_key="argkey", site="y.org", cert_bundle="/arg.pem"
    ) == Credentials("https://y.org", "a@x.org", "argkey", cert_bundle="/arg.pem", **tls)
    set_variables(monkeypatch, CERT_BUNDLE="")  # like a missing one
    assert Credentials.from_env().cert_bundle is None  # the file is not read
    assert Credentials.from_env(path=path).cert_bundle == "/file.pem"


def test_environment_without_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_file = f"in the environment and section [api] of {path}. Run `zulip-auth login`."
    error = zuliprc_error(Credentials.from_env, NotLoggedInError)
    assert error == f"No site and no email and no key {no_file}"
    set_variables(monkeypatch, API_KEY=KEY, SITE="x.org")
    assert zuliprc_error(Credentials.from_env) == f"No email {no_file}"
    # Neither the file nor the home directory is needed.
    set_variables(monkeypatch, EMAIL="iago@zulip.com")
    path.mkdir()
    monkeypatch.setattr(Path, "expanduser", None)
    assert Credentials.from_env() == Credentials("https://x.org", "iago@zulip.com", KEY)


# Variables, and arguments of `from_env` in small letters.
OTHER = "EMAIL=x@zulip.com API_KEY=x"
ENVIRONMENT_ERRORS = {
    "API_KEY=x": "ZULIP_API_KEY and key in {file} differ, so email, key and site may be of diff",
    "EMAIL=x@zulip.com": "ZULIP_EMAIL and email in {file} differ, ",
    "SITE=x.org": "ZULIP_SITE and site in {file} differ, ",
    OTHER: "ZULIP_EMAIL and email in {file} differ, ",
    f"{OTHER} SITE=x.org site=y.org": "argument site and ZULIP_SITE differ, ",
    f"{OTHER} SITE=x.org api_key=y": "argument api_key and ZULIP_API_KEY differ, ",
    f"{OTHER} SITE='x.org'": "ZULIP_SITE is invalid: site is in quotes; remove them. Use the ",
    f"{OTHER} SITE=http://x.org": "ZULIP_SITE is invalid: Plain http to x.org would send the ",
    # A mistake in a value comes before a difference because of it.
    "EMAIL='iago@zulip.com'": "ZULIP_EMAIL is in quotes; remove them.",
    "SITE=$SITE": "ZULIP_SITE is invalid: site is a variable or placeholder that was not repl",
    f"email=a@x.org site=x.org api_key={KEY}é": f"argument api_key {CHARACTERS}",
    "SITE=x.org SITE_FILE=x": "ZULIP_SITE and ZULIP_SITE_FILE are both set. Unset one.",
    "API_KEY_FILE=/dev/null": "The file of ZULIP_API_KEY_FILE is empty.",
    "SITE_FILE=x": "Could not read the file of ZULIP_SITE_FILE: No such file or directory.",
}


@pytest.mark.parametrize(("settings", "message"), ENVIRONMENT_ERRORS.items())
def test_environment_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, message: str
) -> None:
    """Two accounts are never mixed."""
    write(path, LINES)
    values = dict(setting.split("=") for setting in settings.split())
    set_variables(monkeypatch, **{name: v for name, v in values.items() if name.isupper()})
    arguments: Any = {name: v for name, v in values.items() if name.islower()}
    error = zuliprc_error(lambda: Credentials.from_env(**arguments))
    assert error.startswith(message.format(file=f"section [api] of {path}"))


def test_values_that_agree_may_be_mixed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, LINES)
    set_variables(monkeypatch, EMAIL=LOADED.email.upper(), SITE=f"{LOADED.site}/api/v1")
    assert Credentials.from_env() == evolve(LOADED, email=LOADED.email.upper())
    # A zuliprc without a key has the account that the key is for.
    write(path, LINES.replace(f"key={KEY}\n", ""))
    set_variables(monkeypatch, API_KEY="envkey")
    assert Credentials.from_env().api_key == "envkey"


def test_files_named_by_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Container secrets are files."""
    files = {"EMAIL": "a@x.org\n", "API_KEY": f"\ufeff{KEY}\r\n", "SITE": "x.org"}
    for name, value in files.items():
        write(path.with_name(name), value)
        set_variables(monkeypatch, **{f"{name}_FILE": str(path.with_name(name))})
    assert Credentials.from_env() == Credentials("https://x.org", "a@x.org", KEY)
    path.with_name("API_KEY").write_bytes(b"\xff")
    error = zuliprc_error(Credentials.from_env)
    assert error.startswith("the file of ZULIP_API_KEY_FILE contains a line break, NUL")


def test_environment_is_like_zulips_client(
    path: Path, monkeypatch: pytest.MonkeyPatch, fake_zulip: FakeZulip
) -> None:
    site = fake_zulip.site
    write(path, LINES.replace(LOADED.site, site))
    other = path.with_name("other")
    write(other, path.read_text().replace("iago", "other"))
    for variables in (
        {},
        {"EMAIL": "iago@zulip.com", "API_KEY": KEY},
        {"EMAIL": "env@zulip.com", "API_KEY": "envkey", "SITE": f"{site}/api/"},
        {"SITE": f"{site}/api/"},
        {"CONFIG": str(other)},
    ):
        with monkeypatch.context() as patch:
            set_variables(patch, **variables)
            ours, theirs = Credentials.from_env(), zulip.Client()
        assert ours.basic_auth == (theirs.email, theirs.api_key)
        assert f"{ours.site}/api/" == theirs.base_url


# ---- Certificates


def test_ssl_context(tmp_path: Path, test_ca: trustme.CA) -> None:
    assert CREDENTIALS.ssl_context() is None
    bundle, cert = tmp_path / "ca.pem", tmp_path / "cert.pem"
    test_ca.cert_pem.write_to_path(bundle)
    issued = test_ca.issue_cert("iago@zulip.com")
    issued.private_key_and_cert_chain_pem.write_to_path(cert)
    only_ca = evolve(CREDENTIALS, cert_bundle=str(bundle)).ssl_context()
    assert only_ca is not None
    assert len(only_ca.get_ca_certs()) == 1
    both = evolve(CREDENTIALS, cert_bundle=str(bundle), client_cert=str(cert))
    assert both.ssl_context() is not None
    assert evolve(both, cert_bundle=None).ssl_context() is not None
    invalid: dict[str, tuple[str, str]] = {
        "/missing": ("cert_bundle", "cert_bundle: No such file or directory."),
        "a\0b": ("cert_bundle", "cert_bundle: invalid path or file."),
        __file__: ("client_cert", "client_cert or client_cert_key: "),
    }
    for value, (name, message) in invalid.items():
        options: dict[str, Any] = {name: value}
        error = zuliprc_error(evolve(both, **options).ssl_context)
        assert error.startswith(f"Could not load {message}")
