from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import keyring
import pytest
from keyring.backends import fail, null

from helpers.cli_runner import InMemoryKeyring
from helpers.secret_scanner import SecretScanner
from zulip_auth import ConfigurationError, Credentials, KeyringError
from zulip_auth._cli import keyring as keyring_store

SITE, EMAIL, KEY = "https://chat.example.com", "iago@zulip.com", "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF"

CREDENTIALS = Credentials(SITE, EMAIL, KEY)


def test_set_get_delete_key(memory: InMemoryKeyring) -> None:
    assert keyring_store.get_key(site=SITE, email=EMAIL) is None
    keyring_store.set_key(CREDENTIALS)
    keyring_store.set_key(Credentials("https://x.org", EMAIL, "other"))
    assert keyring_store.get_key(site=SITE, email=EMAIL) == KEY
    assert memory.entries["zulip-auth", f"{EMAIL} {SITE}"] == KEY
    keyring_store.delete_key(site=SITE, email=EMAIL)
    assert keyring_store.get_key(site=SITE, email=EMAIL) is None
    assert keyring_store.get_key(site="https://x.org", email=EMAIL) == "other"


@pytest.mark.parametrize("call", ["set", "check"])
def test_missing_backend(call: str, memory: InMemoryKeyring) -> None:
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    calls: dict[str, Any] = {
        "set": partial(keyring_store.set_key, CREDENTIALS),
        "check": keyring_store.check,
    }
    with pytest.raises(KeyringError) as caught:
        calls[call]()
    assert str(caught.value) == (
        "Could not access the system keyring (NoKeyringError). Is it unlocked?"
    )
    SecretScanner(KEY).check("".join(map(str, caught.value.args)), "the error")


def test_get_key_without_backend(memory: InMemoryKeyring) -> None:
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    assert keyring_store.get_key(site=SITE, email=EMAIL) is None


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert keyring_store.get_key(site=SITE, email=EMAIL) is None
    assert not keyring_store.delete_key(site=SITE, email=EMAIL)
    with pytest.raises(ConfigurationError, match=r"pip install 'zulip-auth\[keyring\]'") as caught:
        keyring_store.set_key(CREDENTIALS)
    SecretScanner(KEY).check_error(caught.value)


def test_keyring_is_imported_lazily() -> None:
    script = "import sys, zulip_auth._cli; print('keyring' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_check(memory: InMemoryKeyring) -> None:
    keyring_store.set_key(CREDENTIALS)
    keyring_store.check()
    assert list(memory.entries.values()) == [KEY]


@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring], ids=["fail", "null"])
def test_check_without_backend(backend: Any, memory: InMemoryKeyring) -> None:
    keyring.set_keyring(backend())
    with pytest.raises(KeyringError):
        keyring_store.check()


def test_set_key_that_is_not_stored(memory: InMemoryKeyring) -> None:
    keyring.set_keyring(null.Keyring())  # type: ignore[no-untyped-call]
    with pytest.raises(KeyringError, match="does not return the value") as caught:
        keyring_store.set_key(CREDENTIALS)
    SecretScanner(KEY).check_error(caught.value)
