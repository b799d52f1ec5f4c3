"""Shell completion scripts, generated from the tables of the parser."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from .parser import COMMANDS, OPTIONS, SHELLS

_CASES = {
    "bash": "    {}) list='{}' ;;",
    "fish": "complete -c zulip-auth -n '__fish_seen_subcommand_from {}' -a '{}'",
    "zsh": "    {}) list=({}) ;;",
}


def run(options: argparse.Namespace) -> str:
    """Return the completion script for a shell."""
    path = Path(__file__).with_name("data") / f"completion.{options.shell}"
    texts = {name: text for name, (_, text) in COMMANDS.items()}
    helps = {option: text for group in OPTIONS.values() for option, text in group.items()}
    paths = [option.split()[0] for option in helps if option.endswith(" PATH")]
    helps = {option.split()[0]: text for option, text in helps.items()}
    words = {name: re.findall(r"--\S+", names) for name, (names, _) in COMMANDS.items()}
    words["completion"] = [*SHELLS]
    describe = _describe if options.shell == "zsh" else lambda word, _: word
    cases = "\n".join(
        _CASES[options.shell].format(name, " ".join(describe(w, helps.get(w, "")) for w in listed))
        for name, listed in words.items()
    )
    commands = " ".join(describe(name, text) for name, text in texts.items())
    script = path.read_text(encoding="utf-8").rstrip().replace("@CASES@", cases)
    script = script.replace("@COMMANDS@", commands)
    return script.replace("@PATHS@", (" " if options.shell == "fish" else "|").join(paths))


def _describe(word: str, text: str) -> str:
    """Return a word and its description, as `_describe` of zsh expects them."""
    return "'{}'".format(f"{word}:{text}".removesuffix(":").replace("'", "'\\''"))
