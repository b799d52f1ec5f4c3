"""The README, and the page about fleets, say what is so: code runs, tables are complete."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

import zulip_auth
from zulip_auth.testing import FakeZulip

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FLEETS = (ROOT / "docs" / "fleets.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README + FLEETS, re.DOTALL)
FIRST = "import asyncio\nimport zulip_auth\n"


def block(containing: str, site: str) -> dict[str, Any]:
    """Run the one block with some words in it, with a site that answers."""
    [code] = [each for each in BLOCKS if containing in each]
    names: dict[str, Any] = {"asyncio": asyncio, "httpx": httpx, "zulip_auth": zulip_auth}
    code = re.sub(r"(https://)?chat\.example\.com", site, code)
    exec(compile(code, "a document", "exec"), names)
    return names


@pytest.fixture
def site(fake_zulip: FakeZulip) -> str:
    fake_zulip.add_user("iago@zulip.com", "secret")
    return fake_zulip.site


def test_every_block_is_run_below() -> None:
    assert len(BLOCKS) == 6


def test_the_first_sample_is_short_and_works(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = [each for each in BLOCKS if FIRST in each]
    assert len([line for line in code.splitlines() if line]) <= 6
    block(FIRST, site)
    assert capsys.readouterr().out == (
        f"Credentials(site='{site}', email='iago@zulip.com', user_id=10)\n"
    )


async def test_the_basic_auth_sample_works(site: str) -> None:
    credentials = await zulip_auth.login(site, "iago@zulip.com", "secret")
    response = await block("who_am_i", site)["who_am_i"](credentials)
    assert response.request.headers["authorization"].startswith("Basic ")


async def test_the_sample_with_many_logins_works(site: str) -> None:
    passwords = {"iago@zulip.com": "secret", "nobody@zulip.com": "secret"}
    iago, nobody = await block("log_in_all", site)["log_in_all"](passwords)
    assert iago.email == "iago@zulip.com"
    assert isinstance(nobody, zulip_auth.AuthenticationFailedError)


async def test_the_sample_with_a_fleet_works(fake_zulip: FakeZulip) -> None:
    passwords = {f"user{number}@example.com": f"secret {number}" for number in range(20)}
    for email, password in passwords.items():
        fake_zulip.add_user(email, password)
    fleet = {**passwords, "nobody@example.com": "secret"}
    sample = block("log_in_fleet", fake_zulip.site)
    found = await sample["log_in_fleet"](fleet, a_minute=60_000)
    assert {email: getattr(each, "email", None) for email, each in found.items()} == {
        **{email: email for email in passwords},
        "nobody@example.com": None,
    }
    assert isinstance(found["nobody@example.com"], zulip_auth.AuthenticationFailedError)


async def test_the_error_sample_works(site: str) -> None:
    log_in = block("log_in_or_explain", site)["log_in_or_explain"]
    for left in (4, 3, 2, 1, 0):
        assert (await log_in(site, "iago@zulip.com", "guess")).endswith(f"({left} left)")
    assert (await log_in(site, "iago@zulip.com", "secret")).startswith("Locked for 17")


async def test_the_fixture_sample_works(fake_zulip: FakeZulip) -> None:
    await block("check_my_bot", fake_zulip.site)["check_my_bot"](fake_zulip)


def test_the_error_table_is_the_tree() -> None:
    found: dict[int, str] = {0: "ZulipAuthError"}
    rows = re.findall(r"^\| ((?:– )*)`(\w+Error)` \|", README, re.MULTILINE)
    for dashes, name in rows:
        depth = dashes.count("–") + 1
        found[depth] = name
        assert getattr(zulip_auth, name).__bases__[0].__name__ == found[depth - 1]
    errors = {name for name in zulip_auth.__all__ if name.endswith("Error")}
    assert {name for _, name in rows} == errors - {"ZulipAuthError"}


def test_the_default_policy_is_the_one_named() -> None:
    assert repr(zulip_auth.RetryPolicy()) in README


def test_the_commands_are_run_by_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("make demo", "make test", "make check", "pip --quiet install ."):
        assert command in ci
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ([\w-]+)", README + FLEETS + contributing):
        assert f"\n{target}:" in makefile
