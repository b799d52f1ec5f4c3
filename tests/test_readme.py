"""The README says what is so; its code blocks are run in test_docs.py."""

from __future__ import annotations

import re
from pathlib import Path

import zulip_auth

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_sample_is_short() -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 6


def test_the_error_table_is_the_tree() -> None:
    found: dict[int, str] = {0: "ZulipAuthError"}
    rows = re.findall(r"^\| ((?:– )*)`(\w+Error)` \|", README, re.MULTILINE)
    for dashes, name in rows:
        depth = dashes.count("–") + 1
        found[depth] = name
        assert getattr(zulip_auth, name).__bases__[0].__name__ == found[depth - 1]
    errors = {name for name in zulip_auth.__all__ if name.endswith("Error")}
    assert {name for _, name in rows} == errors - {"ZulipAuthError"}


def test_what_it_points_to_is_there() -> None:
    for path in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (ROOT / path).is_file(), path
