from __future__ import annotations

import asyncio
import base64
import copy
import logging
import pickle
import pprint
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
import zulip
from attrs import evolve
from attrs.exceptions import FrozenInstanceError

import zulip_auth
from helpers.secret_scanner import SecretScanner
from zulip_auth import Credentials, ZuliprcError
from zulip_auth.testing import FakeZulip

KEY = "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF"
CREDENTIALS = Credentials("https://chat.example.com", "iago@zulip.com", KEY, 16)


def test_basic_auth_is_what_http_libraries_take() -> None:
    assert CREDENTIALS.basic_auth == ("iago@zulip.com", KEY)


def test_the_user_id_may_be_unknown() -> None:
    assert Credentials("https://chat.example.com", "iago@zulip.com", KEY).user_id is None


def test_they_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        CREDENTIALS.api_key = "another"  # type: ignore[misc]


def test_they_are_copied_but_not_pickled() -> None:
    assert copy.copy(CREDENTIALS) == copy.deepcopy([CREDENTIALS])[0] == CREDENTIALS
    assert evolve(CREDENTIALS, user_id=17).api_key == KEY
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(
            TypeError, match=r"^Credentials are not pickled, since they hold the API key\.$"
        ) as caught:
            pickle.dumps(CREDENTIALS, protocol)
        assert KEY not in str(caught.value)


def test_the_key_is_in_nothing_that_is_printed_or_logged(caplog: pytest.LogCaptureFixture) -> None:
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
VARIABLES = ("ZULIP_CONFIG", "ZULIP_EMAIL", "ZULIP_API_KEY", "ZULIP_SITE", "ZULIP_CERT_BUNDLE")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where a zuliprc is that nobody needs to name."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".zuliprc"


def write(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)


def refused(call: Callable[[], object], *secrets: str) -> str:
    with pytest.raises(ZuliprcError) as caught:
        call()
    SecretScanner(KEY, *secrets).check_error(caught.value)
    return str(caught.value)


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
def test_what_is_saved_is_loaded(path: Path, credentials: Credentials) -> None:
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
    "insecure, which changes nothing": (LINES + "insecure=true\n", LOADED),
    "unknown values": (LINES + "colour=red\n", LOADED),
    "a number": (LINES + "user_id=16\n", CREDENTIALS),
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
    "a site that is none": (LINES.replace("chat.example.com", "chat example"), None),
    "a site that would send the key unencrypted": (LINES.replace("https", "http"), None),
    "a number that is none, which Zulip's own client ignores": (LINES + "user_id=x\n", LOADED),
    "a number below one": (LINES + "user_id=0\n", LOADED),
    "a key twice": (LINES + f"key={KEY}\n", None),
    "a line that is none": (LINES + f"{KEY}\n", None),
}


@pytest.mark.parametrize(("content", "expected"), LOADING.values(), ids=LOADING)
def test_a_file_is_loaded_or_refused(
    path: Path, content: str, expected: Credentials | None
) -> None:
    write(path, content)
    if expected is None:
        assert refused(Credentials.load).startswith(str(path))
    else:
        assert Credentials.load() == expected


def test_the_error_names_all_that_is_missing(path: Path) -> None:
    write(path, "[api]\n")
    assert refused(Credentials.load) == (
        f"{path} has no site and no email and no key that can be used. "
        "`zulip-auth login` writes a file that has all."
    )


@pytest.mark.call_depth
def test_a_file_open_to_others_is_warned_about_where_it_is_loaded(path: Path) -> None:
    write(path, LINES)
    path.chmod(0o644)
    with pytest.warns(UserWarning, match="chmod 600") as caught:
        Credentials.load()
    assert [warning.filename for warning in caught] == [__file__]


def test_another_accounts_file_is_replaced_only_on_demand(path: Path) -> None:
    write(path, LINES + "insecure = true\ncert_bundle = /ca.pem\n[zterm]\ntheme = dark\n")
    for other in (evolve(LOADED, email="hamlet@zulip.com"), evolve(LOADED, site="https://x.org")):
        before = path.read_bytes()
        assert "holds something else than this account" in refused(other.save)
        assert path.read_bytes() == before
        other.save(overwrite=True)
        assert Credentials.load() == other
    # What was the other site's has gone, and what is nobody's has stayed.
    assert "insecure" not in path.read_text()
    assert "theme = dark" in path.read_text()


@pytest.mark.parametrize(
    "held",
    [
        LINES,
        LINES.replace("iago", "IAGO").replace("https://", "").replace(KEY, "old"),
        "[api]\n",
        LINES.replace(f"key={KEY}\n", ""),
    ],
)
def test_the_same_accounts_file_is_replaced(path: Path, held: str) -> None:
    write(path, f"{held}insecure = false\ncert_bundle = /ca.pem\nuser_id = 15\n")
    CREDENTIALS.save()
    assert Credentials.load() == evolve(CREDENTIALS, cert_bundle="/ca.pem")
    assert "insecure = false" in path.read_text()


def test_what_is_no_zuliprc_is_replaced_only_on_demand(path: Path) -> None:
    write(path, "precious")
    assert "holds something else" in refused(CREDENTIALS.save)
    assert path.read_text() == "precious"
    CREDENTIALS.save(overwrite=True)
    assert Credentials.load() == CREDENTIALS


@pytest.mark.parametrize(
    "odd",
    [
        {"email": "iago\n@zulip.com"},
        {"email": ""},
        {"site": "chat.example.com"},
        {"site": "http://chat.example.com"},
        {"api_key": "a\n[api]"},
        {"user_id": 0},
        {"cert_bundle": ""},
        {"cert_bundle": Path("/ca.pem")},
        {"api_key": b"key"},
    ],
)
def test_what_no_login_gives_is_not_saved(path: Path, odd: dict[str, Any]) -> None:
    refused(evolve(CREDENTIALS, **odd).save)
    assert not path.exists()


def test_each_value_is_the_arguments_else_the_environments_else_the_files(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ZuliprcError, match="no site and no email and no key"):
        Credentials.from_env()
    write(path, LINES + "user_id=16\ncert_bundle=/file.pem\nclient_cert=/c.pem\n")
    stored = evolve(CREDENTIALS, cert_bundle="/file.pem", client_cert="/c.pem")
    assert Credentials.from_env() == stored
    monkeypatch.setenv("ZULIP_CERT_BUNDLE", "/env.pem")
    assert Credentials.from_env() == evolve(stored, cert_bundle="/env.pem")
    monkeypatch.setenv("ZULIP_EMAIL", "bot@zulip.com")
    monkeypatch.setenv("ZULIP_API_KEY", "envkey")
    # The number in the file is the number of its own account.
    found = Credentials.from_env()
    assert (found.email, found.api_key, found.user_id) == ("bot@zulip.com", "envkey", None)
    assert found.site == stored.site
    monkeypatch.setenv("ZULIP_SITE", "env.example.com/api")
    assert Credentials.from_env().site == "https://env.example.com"
    given = Credentials.from_env(
        email="arg@zulip.com", api_key="argkey", site="arg.example.com", cert_bundle="/arg.pem"
    )
    assert given == Credentials(
        "https://arg.example.com",
        "arg@zulip.com",
        "argkey",
        cert_bundle="/arg.pem",
        client_cert="/c.pem",
    )
    path.unlink()
    assert Credentials.from_env().api_key == "envkey"
    monkeypatch.setenv("ZULIP_EMAIL", "")  # which counts as not there
    refused(lambda: Credentials.from_env(api_key=KEY))
    refused(lambda: Credentials.from_env(api_key=f"{KEY}\n"))


def test_zulips_own_client_reads_the_environment_in_the_same_order(
    path: Path, monkeypatch: pytest.MonkeyPatch, fake_zulip: FakeZulip
) -> None:
    write(path, LINES.replace("https://chat.example.com", fake_zulip.site))
    other = path.with_name("other")
    write(other, path.read_text().replace("iago", "other"))
    for settings in (
        {},
        {"ZULIP_EMAIL": "env@zulip.com"},
        {"ZULIP_API_KEY": "envkey"},
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
def test_what_zulips_own_client_accepts_is_read_in_the_same_way(
    path: Path, name: str, fake_zulip: FakeZulip
) -> None:
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
def test_zulips_own_client_logs_in_with_a_file_of_ours(
    path: Path, email: str, fake_zulip: FakeZulip
) -> None:
    account = fake_zulip.add_user(email, "secret")
    asyncio.run(zulip_auth.login(fake_zulip.site, email, "secret")).save()
    profile = zulip.Client(config_file=str(path)).get_profile()
    assert (profile["user_id"], profile["delivery_email"]) == (account.user_id, email)


# ---- Certificates


def test_the_certificates_that_are_named_make_a_context(tmp_path: Path) -> None:
    assert CREDENTIALS.ssl_context() is None
    test_ca = trustme.CA()
    bundle, cert = tmp_path / "ca.pem", tmp_path / "cert.pem"
    test_ca.cert_pem.write_to_path(bundle)
    issued = test_ca.issue_cert("iago@zulip.com")
    issued.private_key_and_cert_chain_pem.write_to_path(cert)
    alone = evolve(CREDENTIALS, cert_bundle=str(bundle)).ssl_context()
    assert alone is not None
    assert len(alone.get_ca_certs()) == 1
    with_key = evolve(CREDENTIALS, cert_bundle=str(bundle), client_cert=str(cert))
    assert with_key.ssl_context() is not None
    assert evolve(with_key, cert_bundle=None).ssl_context() is not None
    for odd in (
        {"cert_bundle": "/missing"},
        {"cert_bundle": "a\0b"},
        {"client_cert": __file__},
        {"client_cert_key": 7},
    ):
        refused(evolve(with_key, **odd).ssl_context)
