"""What the documentation takes from the code while mkdocs builds it (see mkdocs.yml)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from screenshots import SCENES, screenshot

COMMAND = Path(sys.executable).parent / "zulip-auth"
_ELSEWHERE = re.compile(r'<(?!a )[a-z]+ [^>]*(?:src|href)="?(?:https?:)?//', re.IGNORECASE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the screenshots, as images/cli-NAME.svg."""
    for name in SCENES:
        files.append(File.generated(config, f"images/cli-{name}.svg", content=_drawn(name)))
    return files


_drawn = cache(screenshot)  # once, however often `mkdocs serve` builds


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put what the code says in the place of the marks that stand for it."""
    for mark, write in {"<!-- help -->": help_texts, "<!-- exit codes -->": exit_codes}.items():
        if mark in markdown:
            markdown = markdown.replace(mark, write())
    return markdown


def on_post_build(config: MkDocsConfig) -> None:
    """Fail where a page would load anything from elsewhere."""
    for page in Path(config.site_dir).rglob("*.html"):
        if found := _ELSEWHERE.search(page.read_text(encoding="utf-8")):
            raise PluginError(f"{page} loads something from elsewhere: {found[0]}")


def help_texts() -> str:
    """Return what `--help` says, of the command and of each command that it names there."""
    return "\n\n".join(f"### `{name}`\n\n```text\n{text}```" for name, text in _helps().items())


def exit_codes() -> str:
    """Return the exit codes that `--help` names, as a table."""
    said = "\n\n".join([*_helps().values(), ""])
    found = re.search(r"exit codes:.*?\n\n", said, re.IGNORECASE | re.DOTALL)
    # One on each line, or all on one line.
    rows = re.findall(r"(\d+) +(.+?)(?=, \d|\.?\n)", found[0] if found else "")
    if not rows:
        raise PluginError("`zulip-auth --help` names no exit codes.")
    return "\n".join(["| code | meaning |", "|---|---|", *(f"| {c} | {m} |" for c, m in rows)])


@cache
def _helps() -> dict[str, str]:
    general = _help()
    listed = general.partition("\ncommands:\n")[2]
    commands = re.findall(r"^    ([a-z][a-z-]*)\b", listed, re.MULTILINE)
    if not commands:
        raise PluginError("`zulip-auth --help` lists no commands.")
    return {"zulip-auth": general, **{f"zulip-auth {name}": _help(name) for name in commands}}


def _help(*command: str) -> str:
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    done = subprocess.run(
        [COMMAND, *command, "--help"], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout
