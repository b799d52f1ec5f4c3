"""The table of the messages that tests expect."""

from __future__ import annotations

from pathlib import Path

PATH = Path(__file__).parent.parent / "data" / "messages.md"


def messages(title: str) -> dict[str, list[str]]:
    """Return a section's cases, each with its exception, whether it is transient, and its text."""
    section = PATH.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if " | " in line]
    return {case: expected for case, *expected in rows[2:]}
