"""Write what docs/ shows of the code: the reference, help texts and screenshots (`make pages`).

With `--check`, report what is out of date instead.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import reference
from screenshots import SCENES, screenshot

ROOT = Path(__file__).resolve().parent.parent
COMMAND = Path(sys.executable).parent / "zulip-auth"
NOTICE = "<!-- Written by `make pages` from the docstrings. -->\n\n"
_REGION_RE = re.compile(
    r"(<!-- begin: (?P<name>[\w ]+), written by `make pages` -->\n).*?(<!-- end -->)", re.DOTALL
)


def expected_files() -> dict[Path, str]:
    """Return every file that is written, with its content."""
    docs = ROOT / "docs"
    files = {
        docs / "reference" / f"{name}.md": NOTICE + reference.render_page(name)
        for name in reference.PAGES
    }
    for path in [ROOT / "README.md", *docs.glob("*.md")]:
        if path.name == "command-line.md" and sys.version_info >= (3, 13):
            continue  # argparse aligns help texts in another way
        text = path.read_text(encoding="utf-8")
        if _REGION_RE.search(text):
            files[path] = fill_regions(text)
    for name in SCENES:
        files[docs / "images" / f"cli-{name}.svg"] = screenshot(name)
    return files


def fill_regions(text: str) -> str:
    """Replace the content of each region that names a section of this script."""
    sections: dict[str, Callable[[], str]] = {
        "help": help_texts,
        "exit codes": exit_codes,
        "states": states,
    }
    return _REGION_RE.sub(
        lambda match: f"{match[1]}\n{sections[match['name']]()}\n\n{match[3]}", text
    )


def help_texts() -> str:
    """Return the output of `--help`, for the command and each of its subcommands."""
    return "\n\n".join(f"### `{name}`\n\n```text\n{text}```" for name, text in _helps().items())


def exit_codes() -> str:
    """Return the exit codes in the output of `--help`, as a table."""
    text = "\n\n".join([*_helps().values(), ""])
    found = re.search(r"exit codes:.*?\n\n", text, re.IGNORECASE | re.DOTALL)
    # One on each line, or all on one line.
    rows = re.findall(r"(\d+) +(.+?)(?=, \d|\.?\n)", found[0] if found else "")
    if not rows:
        raise ValueError("The output of `zulip-auth --help` has no exit codes.")
    return "\n".join(["| code | meaning |", "|---|---|", *(f"| {c} | {m} |" for c, m in rows)])


def states() -> str:
    """Return the exit codes and messages in each state, as a table."""
    return _run(sys.executable, ROOT / "scripts" / "cli_states.py").strip()


def _helps() -> dict[str, str]:
    general = _help()
    listed = general.partition("\ncommands:\n")[2]
    commands = re.findall(r"^    ([a-z][a-z-]*)\b", listed, re.MULTILINE)
    if not commands:
        raise ValueError("The output of `zulip-auth --help` has no commands.")
    return {"zulip-auth": general, **{f"zulip-auth {name}": _help(name) for name in commands}}


def _help(*command: str) -> str:
    return _run(COMMAND, *command, "--help")


def _run(*argv: str | Path) -> str:
    """Run a process that has no terminal to prompt on, and return its output."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    result = subprocess.run(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        start_new_session=True,
    )
    return result.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="report files that are out of date")
    check = parser.parse_args().check
    stale = []
    for path, content in expected_files().items():
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(content, encoding="utf-8")
    for name in stale:
        print(f"{name}: out of date, run `make pages`" if check else f"{name}: written")
    if check and stale:
        sys.exit(1)


if __name__ == "__main__":
    main()
