"""Fail unless the tag of a release is `v` and the version of the package (`make check-tag`)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

VERSION = Path(__file__).resolve().parent.parent / "zulip_auth" / "_version.py"


def check(tag: str, source: str) -> None:
    """Exit with a message unless *tag* is that of the version in *source*, a release."""
    [version] = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    if ".dev" in version:
        sys.exit(f"{version} is a development version. Set the version of the release first.")
    if tag != f"v{version}":
        sys.exit(f"The tag {tag} is not v{version}, the version in zulip_auth/_version.py.")


if __name__ == "__main__":
    check(sys.argv[1], VERSION.read_text(encoding="utf-8"))
