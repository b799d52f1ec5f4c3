"""The check of a release's tag."""

from __future__ import annotations

import re

import check_tag
import pytest


def source(version: str) -> str:
    text = check_tag.VERSION.read_text(encoding="utf-8")
    changed, count = re.subn(r'(?m)^(__version__ = ")[^"]+', rf"\g<1>{version}", text)
    assert count == 1
    return changed


def test_tag_of_the_version() -> None:
    check_tag.check("v1.2.3", source("1.2.3"))


@pytest.mark.parametrize(
    ("tag", "version", "message"),
    [
        ("v1.2.4", "1.2.3", "The tag v1.2.4 is not v1.2.3"),
        ("1.2.3", "1.2.3", "The tag 1.2.3 is not v1.2.3"),
        ("v1.2.3.dev0", "1.2.3.dev0", "1.2.3.dev0 is a development version"),
        ("v1.2.3", "1.2.3.dev0", "1.2.3.dev0 is a development version"),
    ],
)
def test_other_tag_fails(tag: str, version: str, message: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(message)):
        check_tag.check(tag, source(version))
