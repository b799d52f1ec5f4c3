from __future__ import annotations

import asyncio
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

import zulip_auth
from helpers.errors import error_message
from helpers.secret_scanner import SecretScanner
from zulip_auth import Credentials, NotLoggedInError, ZuliprcError
from zulip_auth._credentials import render_credentials, save_credentials
from zulip_auth._zuliprc import read_zuliprc
from zulip_auth.testing import FakeZulip

KEY = "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF"
CREDENTIALS = Credentials("https://chat.example.com", "iago@zulip.com", KEY, 16)


def test_basic_auth() -> None:
    assert CREDENTIALS.basic_auth == ("iago@zulip.com", KEY)


def test_user_id_optional() -> None:
    assert Credentials("https://chat.example.com", "iago@zulip.com", KEY).user_id is None


def test_credentials_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        CREDENTIALS.api_key = "another"  # type: ignore[misc]


def test_copy_and_pickle() -> None:
    assert copy.copy(CREDENTIALS) == copy.deepcopy([CREDENTIALS])[0] == CREDENTIALS
    assert evolve(CREDENTIALS, user_id=17).api_key == KEY
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(
            TypeError, match=r"^cannot pickle Credentials: they contain the API key$"
        ) as caught:
            pickle.dumps(CREDENTIALS, protocol)
        assert KEY not in str(caught.value)


def test_key_is_not_printed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("a bot").warning("%s %r", CREDENTIALS, CREDENTIALS)
    shown = [
        repr(CREDENTIALS),
        str(CREDENTIALS),
        f"{CREDENTIALS} {CREDENTIALS!r} {CREDENTIALS!a}",
        format(CREDENTIALS),
        pprint.pformat({"credentials": [CREDENTIALS]}),
        caplog.text,
    ]
    encoded = base64.b64encode(KEY.encode()).decode()
    for text in shown:
        assert "iago@zulip.com" in text
        assert KEY not in text
        assert encoded not in text


# ---- In a zuliprc

LINES = f"[api]\nemail=iago@zulip.com\nkey={KEY}\nsite=https://chat.example.com\n"
LOADED = Credentials("https://chat.example.com", "iago@zulip.com", KEY)
ENV_VARS = (
    "ZULIP_CONFIG",
    "ZULIP_EMAIL",
    "ZULIP_API_KEY",
    "ZULIP_SITE",
    "ZULIP_CERT_BUNDLE",
    "ZULIP_CERT",
    "ZULIP_CERT_KEY",
    "ZULIP_ALLOW_INSECURE",
)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the default path of the zuliprc."""
    for name in ENV_VARS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".zuliprc"


def write(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)


def zuliprc_error(call: Callable[[], object], exc_type: type[ZuliprcError] = ZuliprcError) -> str:
    return error_message(call, exc_type, secrets=(KEY,))


@pytest.mark.parametrize(
    "credentials",
    [
        CREDENTIALS,
        LOADED,
        evolve(CREDENTIALS, email="a%b@zulip.com"),
        evolve(CREDENTIALS, site="http://localhost:9991"),
        evolve(CREDENTIALS, cert_bundle="/a b/ca.pem", client_cert="c", client_cert_key="k"),
    ],
)
def test_save_and_load(path: Path, credentials: Credentials) -> None:
    credentials.save()
    assert Credentials.load() == credentials
    elsewhere = path.with_name("elsewhere")
    credentials.save(elsewhere)
    assert Credentials.load(str(elsewhere)) == credentials


LOADING: dict[str, tuple[str, Credentials | None]] = {
    "as Zulip's settings page writes it": (LINES, LOADED),
    "no newline at the end": (LINES[:-1], LOADED),
    "no scheme": (LINES.replace("https://", ""), LOADED),
    "the path of the API": (LINES[:-1] + "/api/\n", LOADED),
    "a slash": (LINES[:-1] + "/", LOADED),
    "loopback without a scheme": (
        LINES.replace("https://chat.example.com", "localhost:9991"),
        evolve(LOADED, site="http://localhost:9991"),
    ),
    "spaces": (LINES.replace("=", " = "), LOADED),
    "a byte order mark": ("\ufeff" + LINES, LOADED),
    "comments": (LINES.replace("key", "# from settings\nkey"), LOADED),
    "insecure": (LINES + "insecure=false\n", LOADED),
    "unknown options": (LINES + "color=red\n", LOADED),
    "a user ID": (LINES + "user_id=16\n", CREDENTIALS),
    "certificates": (
        LINES + "cert_bundle=/ca.pem\nclient_cert=/c.pem\nclient_cert_key=/k.pem\n",
        evolve(LOADED, cert_bundle="/ca.pem", client_cert="/c.pem", client_cert_key="/k.pem"),
    ),
    "no certificates": (LINES + "cert_bundle=\n", LOADED),
    "empty": ("", None),
    "no key": (LINES.replace("key", "kez"), None),
    "no email": (LINES.replace("email", "mail"), None),
    "no site": (LINES.replace("site", "sight"), None),
    "an empty key": (LINES.replace(KEY, ""), None),
    "a key with a space": (LINES.replace(KEY, f"{KEY} {KEY}"), None),
    "a key of two lines": (LINES.replace(KEY, f"{KEY}\n {KEY}"), None),
    "a key beyond ASCII": (LINES.replace(KEY, f"{KEY}é"), None),
    "a key of 2,000 letters": (LINES.replace(KEY, KEY * 63), None),
    "an email with a space": (LINES.replace("iago@", "iago @"), None),
    "an invalid site": (LINES.replace("chat.example.com", "chat example"), None),
    "a site that would send the key unencrypted": (LINES.replace("https", "http"), None),
    "an invalid user ID, which Zulip's own client ignores": (LINES + "user_id=x\n", LOADED),
    "a user ID below one": (LINES + "user_id=0\n", LOADED),
    "a key in quotes": (LINES.replace(KEY, f'"{KEY}"'), None),
    "an email in quotes": (LINES.replace("iago@zulip.com", "'iago@zulip.com'"), None),
    "a file in quotes": (LINES + 'cert_bundle="/ca.pem"\n', None),
    "a key twice": (LINES + f"key={KEY}\n", None),
    "an invalid line": (LINES + f"{KEY}\n", None),
}


@pytest.mark.parametrize(("content", "expected"), LOADING.values(), ids=LOADING)
def test_load(path: Path, content: str, expected: Credentials | None) -> None:
    write(path, content)
    if expected is None:
        with pytest.raises(ZuliprcError, match=re.escape(str(path))) as caught:
            Credentials.load()
        SecretScanner(KEY).check_error(caught.value)
    else:
        assert Credentials.load() == expected


NOT_LOGGED_IN = {
    "no section": ("", "No section [api] in {path}"),
    "no options": ("[api]\n", "No section [api] in {path}"),
    "no account": ("[api]\nx=y\n", "No site and no email and no key in section [api] of {path}"),
    "no key": ("[api]\nemail=a@x.org\nsite=x.org\n", "No key in section [api] of {path}"),
}


@pytest.mark.parametrize(("content", "message"), NOT_LOGGED_IN.values(), ids=NOT_LOGGED_IN)
def test_load_without_key(path: Path, content: str, message: str) -> None:
    assert zuliprc_error(Credentials.load, NotLoggedInError) == (
        f"{path} does not exist. Run `zulip-auth login`."
    )
    write(path, content)
    assert zuliprc_error(Credentials.load, NotLoggedInError) == (
        f"{message.format(path=path)}. Run `zulip-auth login`."
    )


INVALID_VALUES = {
    "email missing": ("email", "", "No email in {source}. Run `zulip-auth login`."),
    "email": (
        "email",
        "a b",
        "email in {source} is too long, or has spaces or other invalid characters.",
    ),
    "key": (
        "key",
        f"{KEY} {KEY}",
        "key in {source} is too long, or has spaces or other invalid characters.",
    ),
    "key in quotes": ("key", f"'{KEY}'", "key in {source} is in quotation marks. Remove them."),
    "path": (
        "site",
        "x.org/path",
        "site in {source} is invalid: site must not contain a path. "
        "Use the organization URL, such as https://chat.example.com.",
    ),
    "plain http": (
        "site",
        "http://x.org",
        "site in {source} is invalid: Plain http to x.org would send the password unencrypted. "
        "Use https://x.org.",
    ),
}


@pytest.mark.parametrize(
    ("option", "value", "message"), INVALID_VALUES.values(), ids=INVALID_VALUES
)
def test_load_error_message(path: Path, option: str, value: str, message: str) -> None:
    write(path, re.sub(f"{option}=.*", f"{option}={value}", LINES))
    assert zuliprc_error(Credentials.load) == message.format(source=f"section [api] of {path}")


def test_load_section(path: Path) -> None:
    write(path, LINES.replace("[api]", "[helper]") + LINES.replace("iago", "api"))
    assert Credentials.load(section="helper") == LOADED
    assert Credentials.from_env(section="helper") == LOADED
    message = f"No section [other] in {path}. Run `zulip-auth login`."
    assert zuliprc_error(lambda: Credentials.load(section="other"), NotLoggedInError) == message


def test_load_over_http(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = evolve(LOADED, site="http://chat.example.com")
    for _ in range(2):  # in a new file, and over the same account
        credentials.save()
    for load in (Credentials.load, Credentials.from_env):
        assert "Plain http" in zuliprc_error(load)
        assert load(allow_http=True) == credentials
    path.unlink()
    monkeypatch.setenv("ZULIP_SITE", "http://chat.example.com")
    arguments: dict[str, Any] = {"email": LOADED.email, "api_key": KEY}
    assert Credentials.from_env(**arguments, allow_http=True) == credentials
    assert zuliprc_error(lambda: Credentials.from_env(**arguments)).startswith(
        "ZULIP_SITE is invalid: Plain http to chat.example.com would"
    )


@pytest.mark.parametrize("load", [Credentials.load, Credentials.from_env])
def test_warnings_name_the_caller(
    path: Path, load: Callable[[], Credentials], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, LINES + "insecure = true\n")
    path.chmod(0o644)
    monkeypatch.setenv("ZULIP_ALLOW_INSECURE", "true")
    with pytest.warns(UserWarning, match="readable|ignored") as caught:
        assert load() == LOADED
    messages = [str(warning.message) for warning in caught]
    assert messages[-2:] == [
        f"{path} is readable by other users. Run: chmod 600 {path}",
        f"insecure in {path} is ignored; use cert_bundle.",
    ]
    expected = ["ZULIP_ALLOW_INSECURE is ignored; use ZULIP_CERT_BUNDLE."]
    assert messages[:-2] == (expected if load == Credentials.from_env else [])
    assert {warning.filename for warning in caught} == {__file__}


def test_save_over_another_account(path: Path) -> None:
    before = (
        LINES + "insecure = true\nlogin_name = jdoe\ncert_bundle = /ca.pem\n[zterm]\ntheme = dark\n"
    )
    for other in (evolve(LOADED, email="hamlet@zulip.com"), evolve(LOADED, site="https://x.org")):
        write(path, before)
        assert zuliprc_error(other.save) == (
            f"{path} belongs to a different account or is not a zuliprc. "
            "Pass overwrite=True or use another path."
        )
        assert path.read_bytes() == before.encode()
        other.save(overwrite=True)
        assert Credentials.load() == other
        # Options of the other account are removed, and other sections are preserved.
        assert "insecure" not in path.read_text()
        assert "login_name" not in path.read_text()
        assert "theme = dark" in path.read_text()


@pytest.mark.parametrize(
    "existing",
    [
        LINES,
        LINES.replace("iago", "IAGO").replace("https://", "").replace(KEY, "old"),
        "[api]\n",
        LINES.replace(f"key={KEY}\n", ""),
    ],
)
def test_save_over_same_account(path: Path, existing: str) -> None:
    write(
        path,
        f"{existing}insecure = false\nlogin_name = jdoe\ncert_bundle = /ca.pem\nuser_id = 15\n",
    )
    CREDENTIALS.save()
    assert Credentials.load() == evolve(CREDENTIALS, cert_bundle="/ca.pem")
    assert "insecure = false" in path.read_text()
    assert "login_name = jdoe" in path.read_text()


def test_render(path: Path) -> None:
    write(path, render_credentials(CREDENTIALS))
    assert Credentials.load() == CREDENTIALS
    # Options that are None are left out.
    assert render_credentials(LOADED) == LINES.replace("=", " = ")


def test_save_login_name(path: Path) -> None:
    evolve(CREDENTIALS, login_name="jdoe").save(path)
    assert read_zuliprc(path)["login_name"] == "jdoe"
    assert Credentials.load() == CREDENTIALS
    assert Credentials.load().login_name == "jdoe"
    evolve(CREDENTIALS, login_name="john").save(path)
    assert read_zuliprc(path)["login_name"] == "john"


def test_save_without_key(path: Path) -> None:
    CREDENTIALS.save()
    save_credentials(CREDENTIALS, path, include_key=False)
    assert "key" not in read_zuliprc(path)
    assert read_zuliprc(path)["email"] == CREDENTIALS.email


def test_save_over_another_file(path: Path) -> None:
    write(path, "precious")
    assert "is not a zuliprc" in zuliprc_error(CREDENTIALS.save)
    assert path.read_text() == "precious"
    CREDENTIALS.save(overwrite=True)
    assert Credentials.load() == CREDENTIALS


@pytest.mark.parametrize(
    "invalid",
    [
        {"email": "iago\n@zulip.com"},
        {"email": ""},
        {"site": "chat.example.com"},
        {"site": "https://chat.example.com/api"},
        {"api_key": "a\n[api]"},
        {"user_id": 0},
        {"cert_bundle": ""},
        {"cert_bundle": Path("/ca.pem")},
        {"api_key": b"key"},
    ],
)
def test_save_invalid_value(path: Path, invalid: dict[str, Any]) -> None:
    message = zuliprc_error(
        evolve(CREDENTIALS, **invalid).save,
        NotLoggedInError if invalid.get("api_key") == "" else ZuliprcError,
    )
    assert "credentials" in message
    assert not path.exists()


def test_from_env_precedence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, LINES + "user_id=16\ncert_bundle=/file.pem\nclient_cert=/c.pem\n")
    stored = evolve(CREDENTIALS, cert_bundle="/file.pem", client_cert="/c.pem")
    assert Credentials.from_env() == stored
    monkeypatch.setenv("ZULIP_CERT_BUNDLE", "/env.pem")
    monkeypatch.setenv("ZULIP_CERT", "/env-cert.pem")
    monkeypatch.setenv("ZULIP_CERT_KEY", "/env-key.pem")
    in_env: dict[str, Any] = {
        "cert_bundle": "/env.pem",
        "client_cert": "/env-cert.pem",
        "client_cert_key": "/env-key.pem",
    }
    assert Credentials.from_env() == evolve(stored, **in_env)
    monkeypatch.setenv("ZULIP_EMAIL", "bot@zulip.com")
    monkeypatch.setenv("ZULIP_API_KEY", "envkey")
    monkeypatch.setenv("ZULIP_SITE", "env.example.com/api")
    # The user ID in the file belongs to its own account.
    expected = Credentials("https://env.example.com", "bot@zulip.com", "envkey", **in_env)
    assert Credentials.from_env() == expected
    assert Credentials.from_env(
        email="arg@zulip.com", api_key="argkey", site="arg.example.com", cert_bundle="/arg.pem"
    ) == Credentials(
        "https://arg.example.com",
        "arg@zulip.com",
        "argkey",
        **{**in_env, "cert_bundle": "/arg.pem"},
    )
    for name in ("ZULIP_CERT_BUNDLE", "ZULIP_CERT", "ZULIP_CERT_KEY"):
        monkeypatch.setenv(name, "")  # like a missing one
    assert Credentials.from_env().cert_bundle is None  # the file is not read
    assert Credentials.from_env(path=path).cert_bundle == "/file.pem"
    assert Credentials.from_env(path=path).api_key == "envkey"


def test_from_env_without_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_file = f"in the environment and section [api] of {path}. Run `zulip-auth login`."
    message = f"No site and no email and no key {no_file}"
    assert zuliprc_error(Credentials.from_env, NotLoggedInError) == message
    monkeypatch.setenv("ZULIP_API_KEY", KEY)
    monkeypatch.setenv("ZULIP_SITE", "x.org")
    assert zuliprc_error(Credentials.from_env) == f"No email {no_file}"
    monkeypatch.setenv("ZULIP_EMAIL", "iago@zulip.com")
    # Neither the file nor the home directory is needed.
    path.mkdir()
    monkeypatch.setenv("HOME", "relative")
    monkeypatch.setattr(Path, "expanduser", None)
    monkeypatch.setattr(Path, "open", None)
    assert Credentials.from_env() == Credentials("https://x.org", "iago@zulip.com", KEY)


ENV_ERRORS: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "variable in quotes": (
        {"ZULIP_API_KEY": f'"{KEY}"'},
        {},
        "ZULIP_API_KEY is in quotation marks. Remove them.",
    ),
    "variable": (
        {"ZULIP_EMAIL": "a b"},
        {},
        "ZULIP_EMAIL is too long, or has spaces or other invalid characters.",
    ),
    "file name in quotes": (
        {"ZULIP_CERT": "'/c.pem'"},
        {},
        "ZULIP_CERT is in quotation marks. Remove them.",
    ),
    "argument": (
        {},
        {"api_key": f"{KEY}\n"},
        "argument api_key is too long, or has spaces or other invalid characters.",
    ),
    "argument of another type": ({}, {"site": 7}, "argument site must be a str, not int."),
    "file": (
        {},
        {},
        "key in section [api] of {path} is in quotation marks. Remove them.",
    ),
}


@pytest.mark.parametrize(("env", "arguments", "message"), ENV_ERRORS.values(), ids=ENV_ERRORS)
def test_from_env_error_message(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    arguments: dict[str, Any],
    message: str,
) -> None:
    write(path, LINES if env or arguments else LINES.replace(KEY, f'"{KEY}"'))
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    error = zuliprc_error(lambda: Credentials.from_env(**arguments))
    assert error == message.format(path=path)


MIXED: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "another key": ({"ZULIP_API_KEY": "x"}, {}, "ZULIP_API_KEY and key in {file} differ"),
    "another address": (
        {"ZULIP_EMAIL": "x@zulip.com"},
        {},
        "ZULIP_EMAIL and email in {file} differ",
    ),
    "another site": ({"ZULIP_SITE": "x.org"}, {}, "ZULIP_SITE and site in {file} differ"),
    "key and address without a site": (
        {"ZULIP_EMAIL": "x@zulip.com", "ZULIP_API_KEY": "x"},
        {},
        "ZULIP_EMAIL and email in {file} differ",
    ),
    "argument over the environment": (
        {"ZULIP_EMAIL": "x@zulip.com", "ZULIP_API_KEY": "x", "ZULIP_SITE": "x.org"},
        {"site": "y.org"},
        "argument site and ZULIP_SITE differ",
    ),
    "key of an argument": (
        {"ZULIP_EMAIL": "x@zulip.com", "ZULIP_API_KEY": "x", "ZULIP_SITE": "x.org"},
        {"api_key": "y"},
        "argument api_key and ZULIP_API_KEY differ",
    ),
}


@pytest.mark.parametrize(("env", "arguments", "message"), MIXED.values(), ids=MIXED)
def test_two_accounts_are_never_mixed(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    arguments: dict[str, Any],
    message: str,
) -> None:
    write(path, LINES)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    error = zuliprc_error(lambda: Credentials.from_env(**arguments))
    assert error == (
        message.format(file=f"section [api] of {path}")
        + ", so email, key and site may be of different accounts. Set all three in one place."
    )


def test_values_that_agree_may_be_mixed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, LINES)
    monkeypatch.setenv("ZULIP_EMAIL", LOADED.email.upper())
    monkeypatch.setenv("ZULIP_SITE", f"{LOADED.site}/api/v1")
    assert Credentials.from_env() == evolve(LOADED, email=LOADED.email.upper())
    # A zuliprc without a key has the account that the key is for.
    write(path, LINES.replace(f"key={KEY}\n", ""))
    monkeypatch.setenv("ZULIP_API_KEY", "envkey")
    assert Credentials.from_env().api_key == "envkey"


def test_files_named_by_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Container secrets are files."""
    files = {"EMAIL": "a@x.org\n", "API_KEY": f"\ufeff{KEY}\r\n", "SITE": "x.org"}
    for name, value in files.items():
        write(path.with_name(name), value)
        monkeypatch.setenv(f"ZULIP_{name}_FILE", str(path.with_name(name)))
    assert Credentials.from_env() == Credentials("https://x.org", "a@x.org", KEY)
    monkeypatch.setenv("ZULIP_SITE", "y.org")
    assert zuliprc_error(Credentials.from_env) == (
        "ZULIP_SITE and ZULIP_SITE_FILE are both set. Unset one."
    )
    monkeypatch.delenv("ZULIP_SITE")
    for content, reason in ((b"\xff", "not valid UTF-8"), (b"a" * 70_000, "larger than 64 KiB")):
        path.with_name("API_KEY").write_bytes(content)
        assert zuliprc_error(Credentials.from_env) == (
            f"Could not read the file of ZULIP_API_KEY_FILE: {reason}."
        )
    for name, reason in (("missing", "No such file or directory"), ("a\0b", "invalid path")):
        monkeypatch.setattr(os, "environ", {**os.environ, "ZULIP_API_KEY_FILE": name})
        assert zuliprc_error(Credentials.from_env) == (
            f"Could not read the file of ZULIP_API_KEY_FILE: {reason}."
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("key=" + KEY, "passcmd=pass show zulip"), "No key in {file}, and its passcmd, an option"),
        (
            ("iago@zulip.com", "user10@chat.example.com"),
            "email in {file} is an address that Zulip shows in place of a hidden one.",
        ),
        (("[api]", "[API]"), "Section [API] in {path} must be named [api]."),
        (("[api]", "[api]\nemail=b@x.org"), "{path} is not a zuliprc: it has email twice in one"),
        (("[api]", "[api]\nx=1\nx=2"), "{path} is not a zuliprc: it has an option twice in one"),
        (("[api]", "[x]\n[x]\n[api]"), "{path} is not a zuliprc: it has two sections of the same"),
    ],
    ids=["passcmd", "hidden email", "capitals", "two emails", "two options", "two sections"],
)
def test_what_others_put_into_files(path: Path, change: tuple[str, str], message: str) -> None:
    write(path, LINES.replace(*change))
    assert zuliprc_error(Credentials.load).startswith(
        message.format(path=path, file=f"section [api] of {path}")
    )


def test_serializers_do_not_find_the_key() -> None:
    # They require newer versions of attrs and Starlette than this package does.
    cattrs = pytest.importorskip("cattrs", exc_type=ImportError)
    encoders = pytest.importorskip("fastapi.encoders", exc_type=ImportError)
    credentials = LOADED
    for data in (
        asdict(credentials),
        astuple(credentials),
        cattrs.unstructure(credentials),
        repr(vars(type(credentials))),
    ):
        assert KEY not in repr(data)
    for serialize in (
        encoders.jsonable_encoder,
        msgspec.to_builtins,
        msgspec.json.encode,
        vars,
        json.dumps,
    ):
        with suppress(TypeError, ValueError):
            assert KEY not in repr(serialize(credentials))
    assert KEY not in json.dumps(asdict(credentials), default=str)
    changed = evolve(credentials, api_key="other")
    assert (changed.api_key, credentials.api_key) == ("other", KEY)
    assert len({changed, credentials, evolve(credentials)}) == 2


def test_from_env_is_like_zulips_client(
    path: Path, monkeypatch: pytest.MonkeyPatch, fake_zulip: FakeZulip
) -> None:
    write(path, LINES.replace("https://chat.example.com", fake_zulip.site))
    other = path.with_name("other")
    write(other, path.read_text().replace("iago", "other"))
    for settings in (
        {},
        {"ZULIP_EMAIL": "iago@zulip.com", "ZULIP_API_KEY": KEY},
        {
            "ZULIP_EMAIL": "env@zulip.com",
            "ZULIP_API_KEY": "envkey",
            "ZULIP_SITE": f"{fake_zulip.site}/api/",
        },
        {"ZULIP_SITE": f"{fake_zulip.site}/api/"},
        {"ZULIP_CONFIG": str(other)},
    ):
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            ours = Credentials.from_env()
            theirs = zulip.Client()
        assert ours.basic_auth == (theirs.email, theirs.api_key)
        assert f"{ours.site}/api/" == theirs.base_url


# It accepts no byte order mark, and wants certificates that exist.
ACCEPTED = LOADING.keys() - {"a byte order mark", "certificates", "no certificates"}
ACCEPTED = {name for name in ACCEPTED if LOADING[name][1] is not None}


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_load_is_like_zulips_client(path: Path, name: str, fake_zulip: FakeZulip) -> None:
    localhost = fake_zulip.add_realm("localhost").site.removeprefix("http://")
    content = LOADING[name][0].replace("localhost:9991", localhost)
    write(path, re.sub(r"(https://)?chat\.example\.com", fake_zulip.site, content))
    theirs = zulip.Client(config_file=str(path))
    ours = Credentials.load(path)
    assert (theirs.email, theirs.api_key, theirs.base_url) == (
        ours.email,
        ours.api_key,
        f"{ours.site}/api/",
    )


@pytest.mark.parametrize("email", ["iago@zulip.com", "50%off@zulip.com"])
def test_zulips_client_loads_saved_file(path: Path, email: str, fake_zulip: FakeZulip) -> None:
    account = fake_zulip.add_user(email, "secret")
    asyncio.run(zulip_auth.login(fake_zulip.site, email, "secret")).save()
    profile = zulip.Client(config_file=str(path)).get_profile()
    assert (profile["user_id"], profile["delivery_email"]) == (account.user_id, email)


# ---- Certificates


def test_ssl_context(tmp_path: Path) -> None:
    assert CREDENTIALS.ssl_context() is None
    test_ca = trustme.CA()
    bundle, cert = tmp_path / "ca.pem", tmp_path / "cert.pem"
    test_ca.cert_pem.write_to_path(bundle)
    issued = test_ca.issue_cert("iago@zulip.com")
    issued.private_key_and_cert_chain_pem.write_to_path(cert)
    only = evolve(CREDENTIALS, cert_bundle=str(bundle)).ssl_context()
    assert only is not None
    assert len(only.get_ca_certs()) == 1
    with_key = evolve(CREDENTIALS, cert_bundle=str(bundle), client_cert=str(cert))
    assert with_key.ssl_context() is not None
    assert evolve(with_key, cert_bundle=None).ssl_context() is not None
    for invalid, message in (
        ({"cert_bundle": "/missing"}, "Could not load cert_bundle: No such file or directory."),
        ({"cert_bundle": "a\0b"}, "Could not load cert_bundle: invalid path or file."),
        ({"client_cert": __file__}, "Could not load client_cert or client_cert_key: "),
        ({"client_cert_key": 7}, "Could not load client_cert or client_cert_key: invalid path"),
    ):
        options: dict[str, Any] = dict(invalid)
        assert zuliprc_error(evolve(with_key, **options).ssl_context).startswith(message)
