from __future__ import annotations

import base64
import copy
import json
import logging
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
    for serialize in (
        encoders.jsonable_encoder,
        msgspec.to_builtins,
        msgspec.json.encode,
        vars,
        json.dumps,
    ):
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


@pytest.mark.parametrize(
    "credentials",
    [
        CREDENTIALS,
        evolve(CREDENTIALS, email="a%b@zulip.com", login_name="jdoe"),
        evolve(LOADED, site="http://localhost:9991"),
        evolve(CREDENTIALS, cert_bundle="/a b/ca.pem", client_cert="c", client_cert_key="k"),
    ],
)
def test_save_and_load(path: Path, credentials: Credentials) -> None:
    credentials.save()
    assert Credentials.load() == credentials
    assert Credentials.load().login_name == credentials.login_name
    elsewhere = path.with_name("elsewhere")
    write(elsewhere, render_credentials(credentials))
    assert Credentials.load(str(elsewhere)) == credentials
    assert "None" not in elsewhere.read_text()


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
}


@pytest.mark.parametrize(("content", "changes"), READ.values(), ids=READ)
def test_load_is_like_zulips_client(
    path: Path, content: str, changes: dict[str, Any], fake_zulip: FakeZulip
) -> None:
    write(path, content)
    assert Credentials.load() == evolve(LOADED, **changes)
    write(path, re.sub(r"(https://)?chat\.example\.com", fake_zulip.site, content))
    ours, theirs = Credentials.load(), zulip.Client(config_file=str(path))
    assert (*ours.basic_auth, f"{ours.site}/api/") == (
        theirs.email,
        theirs.api_key,
        theirs.base_url,
    )


# It does not accept these, or wants certificates that exist.
READ_TOO: dict[str, tuple[str, dict[str, Any]]] = {
    "a byte order mark": ("\ufeff" + LINES, {}),
    "a % written once": (LINES.replace("iago", "50%off"), {"email": "50%off@zulip.com"}),
    "loopback": (LINES.replace("https://chat.example.com", "[::1]"), {"site": "http://[::1]"}),
    "certificates": (
        LINES + "cert_bundle=/ca.pem\nclient_cert=/c.pem\nclient_cert_key=\n",
        {"cert_bundle": "/ca.pem", "client_cert": "/c.pem"},
    ),
}


@pytest.mark.parametrize(("content", "changes"), READ_TOO.values(), ids=READ_TOO)
def test_load(path: Path, content: str, changes: dict[str, Any]) -> None:
    write(path, content)
    assert Credentials.load() == evolve(LOADED, **changes)


CHARACTERS = "is too long, or has spaces or other invalid characters."
ERRORS: dict[str, tuple[str, str, str]] = {
    "no email": ("email", "mail", "No email in {file}. Run `zulip-auth login`."),
    "passcmd": (f"key={KEY}", "passcmd=x", "No key in {file}, and its passcmd, an option of"),
    "capitals": ("[api]", "[API]", "Section [API] in {path} must be named [api]."),
    "key with a space": (KEY, f"{KEY} {KEY}", f"key in {{file}} {CHARACTERS}"),
    "key of two lines": (KEY, f"{KEY}\n {KEY}", f"key in {{file}} {CHARACTERS}"),
    "key beyond ASCII": (KEY, f"{KEY}é", f"key in {{file}} {CHARACTERS}"),
    "key of 2,000 letters": (KEY, KEY * 63, f"key in {{file}} {CHARACTERS}"),
    "key in quotes": (KEY, f'"{KEY}"', "key in {file} is in quotes; remove them."),
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


def test_load_section(path: Path) -> None:
    write(path, LINES.replace("[api]", "[helper]") + LINES.replace("iago", "api"))
    assert Credentials.load(section="helper") == LOADED
    assert Credentials.from_env(section="helper") == LOADED


def test_plain_http(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = evolve(LOADED, site="http://chat.example.com")
    for _ in range(2):  # in a new file, and over the same account
        credentials.save()
    for load in (Credentials.load, Credentials.from_env):
        assert "Plain http" in zuliprc_error(load)
        assert load(allow_http=True) == credentials


@pytest.mark.parametrize("load", [Credentials.load, Credentials.from_env])
def test_warning_names_the_caller(path: Path, load: Callable[[], Credentials]) -> None:
    write(path, LINES)
    path.chmod(0o644)
    with pytest.warns(UserWarning, match="is readable by other users") as caught:
        assert load() == LOADED
    assert [warning.filename for warning in caught] == [__file__]


def test_save_over_another_account(path: Path) -> None:
    options = "insecure=true\nlogin_name=jdoe\ncert_bundle=/ca.pem\n[zterm]\ntheme=dark\n"
    for content in (LINES + options, "precious"):
        for other in (
            evolve(LOADED, email="hamlet@zulip.com"),
            evolve(LOADED, site="https://x.org"),
        ):
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


@pytest.mark.parametrize(
    "existing",
    [
        LINES.replace("iago", "IAGO").replace("https://", "").replace(KEY, "old"),
        "[api]\n",
        LINES.replace(f"key={KEY}\n", ""),
    ],
)
def test_save_over_same_account(path: Path, existing: str) -> None:
    options = "insecure = false\nlogin_name = jdoe\ncert_bundle = /ca.pem\nuser_id = 15\n"
    write(path, existing + options)
    CREDENTIALS.save()
    assert Credentials.load() == evolve(CREDENTIALS, cert_bundle="/ca.pem")
    assert "insecure = false" in path.read_text()
    assert Credentials.load().login_name == "jdoe"
    save_credentials(evolve(CREDENTIALS, login_name="john"), path, include_key=False)
    section = read_zuliprc(path)
    assert (section["email"], section["login_name"]) == (CREDENTIALS.email, "john")
    assert "key" not in section


@pytest.mark.parametrize(
    "invalid",
    [
        {"email": "iago\n@zulip.com"},
        {"site": "chat.example.com"},
        {"site": "https://chat.example.com/api"},
        {"api_key": "a\n[api]"},
        {"api_key": b"key"},
        {"user_id": 0},
        {"cert_bundle": ""},
        {"cert_bundle": Path("/ca.pem")},
    ],
)
def test_save_invalid_value(path: Path, invalid: dict[str, Any]) -> None:
    assert "credentials" in zuliprc_error(evolve(CREDENTIALS, **invalid).save)
    assert not path.exists()


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
    message = f"No site and no email and no key {no_file}"
    assert zuliprc_error(Credentials.from_env, NotLoggedInError) == message
    set_variables(monkeypatch, API_KEY=KEY, SITE="x.org")
    assert zuliprc_error(Credentials.from_env) == f"No email {no_file}"
    # Neither the file nor the home directory is needed.
    set_variables(monkeypatch, EMAIL="iago@zulip.com")
    path.mkdir()
    monkeypatch.setattr(Path, "expanduser", None)
    assert Credentials.from_env() == Credentials("https://x.org", "iago@zulip.com", KEY)


DIFFER = "so email, key and site may be of different accounts. Set all three in one place."
OTHER = {"EMAIL": "x@zulip.com", "API_KEY": "x"}
ENVIRONMENT_ERRORS: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "quotes": (OTHER | {"SITE": "'x.org'"}, {}, "ZULIP_SITE is invalid: site is in quotes; remove"),
    "argument": (
        {},
        {"email": LOADED.email, "site": LOADED.site, "api_key": f"{KEY}\n"},
        f"argument api_key {CHARACTERS}",
    ),
    "number": (OTHER, {"site": 7}, "argument site is invalid: site must be a str, not int."),
    "plain http": (OTHER | {"SITE": "http://x.org"}, {}, "ZULIP_SITE is invalid: Plain http"),
    "another key": ({"API_KEY": "x"}, {}, f"ZULIP_API_KEY and key in {{file}} differ, {DIFFER}"),
    "another email": (
        {"EMAIL": "x@zulip.com"},
        {},
        f"ZULIP_EMAIL and email in {{file}} differ, {DIFFER}",
    ),
    "another site": ({"SITE": "x.org"}, {}, f"ZULIP_SITE and site in {{file}} differ, {DIFFER}"),
    "no site": (OTHER, {}, f"ZULIP_EMAIL and email in {{file}} differ, {DIFFER}"),
    "argument site": (
        OTHER | {"SITE": "x.org"},
        {"site": "y.org"},
        f"argument site and ZULIP_SITE differ, {DIFFER}",
    ),
    "argument key": (
        OTHER | {"SITE": "x.org"},
        {"api_key": "y"},
        f"argument api_key and ZULIP_API_KEY differ, {DIFFER}",
    ),
    "twice": (
        {"SITE": "x.org", "SITE_FILE": "x"},
        {},
        "ZULIP_SITE and ZULIP_SITE_FILE are both set. Unset one.",
    ),
    "missing file": (
        {"API_KEY_FILE": "missing"},
        {},
        "Could not read the file of ZULIP_API_KEY_FILE: No such file or directory.",
    ),
}


@pytest.mark.parametrize(
    ("variables", "arguments", "message"), ENVIRONMENT_ERRORS.values(), ids=ENVIRONMENT_ERRORS
)
def test_environment_error(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    arguments: dict[str, Any],
    message: str,
) -> None:
    """Two accounts are never mixed."""
    write(path, LINES)
    set_variables(monkeypatch, **variables)
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
    assert zuliprc_error(Credentials.from_env) == f"the file of ZULIP_API_KEY_FILE {CHARACTERS}"


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


@pytest.mark.parametrize("email", ["iago@zulip.com", "50%off@zulip.com"])
def test_zulips_client_loads_saved_file(path: Path, email: str, fake_zulip: FakeZulip) -> None:
    account = fake_zulip.add_user(email, "secret")
    Credentials(fake_zulip.site, email, account.api_key).save()
    profile = zulip.Client(config_file=str(path)).get_profile()
    assert (profile["user_id"], profile["delivery_email"]) == (account.user_id, email)


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
