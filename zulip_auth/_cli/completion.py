"""Shell completion scripts, generated from the tables of the parser."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from .parser import COMMANDS, OPTIONS, SHELLS

_CASES = {
    "fish": "complete -c zulip-auth -n '__fish_seen_subcommand_from {}' -a '{}'",
    **dict.fromkeys(("bash", "zsh"), "    {}) list='{}' ;;"),
}


def run(options: argparse.Namespace) -> str:
    """Return the completion script for a shell."""
    path = Path(__file__).with_name("data") / f"completion.{options.shell}"
    commands = {name: re.findall(r"--\S+", names) for name, (names, _) in COMMANDS.items()}
    commands["completion"] = [*SHELLS]
    cases = "\n".join(_CASES[options.shell].format(c, " ".join(w)) for c, w in commands.items())
    names = [option for group in OPTIONS.values() for option in group]
    paths = [name.split()[0] for name in names if name.endswith(" PATH")]
    script = path.read_text(encoding="utf-8").rstrip().replace("@CASES@", cases)
    script = script.replace("@COMMANDS@", " ".join(commands))
    return script.replace("@PATHS@", (" " if options.shell == "fish" else "|").join(paths))
