"""The check of a release's tag."""

from __future__ import annotations

import re

import check_tag
import pytest


def test_check_tag() -> None:
    def check(tag: str, version: str) -> None:
        text = check_tag.VERSION.read_text(encoding="utf-8")
        check_tag.check(tag, re.sub('"[^"]+"$', f'"{version}"', text, flags=re.MULTILINE))

    check("v1.2.3", "1.2.3")
    for tag in ("v1.2.4", "1.2.3"):
        with pytest.raises(SystemExit, match=rf"The tag {tag} is not v1\.2\.3"):
            check(tag, "1.2.3")
    for tag in ("v1.2.3.dev0", "v1.2.3"):
        with pytest.raises(SystemExit, match=r"1\.2\.3\.dev0 is a development version"):
            check(tag, "1.2.3.dev0")
