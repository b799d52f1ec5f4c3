"""Shell completion scripts, generated from the tables of the parser."""

from __future__ import annotations

from pathlib import Path

from .parser import COMMANDS, OPTIONS, SHELLS

_CASES = {
    "fish": "complete -c zulip-auth -n '__fish_seen_subcommand_from {}' -a '{}'",
    **dict.fromkeys(("bash", "zsh"), "    {}) list='{}' ;;"),
}


def render_completion(shell: str) -> str:
    """Return the completion script for a shell."""
    path = Path(__file__).with_name("data") / f"completion.{shell}"
    commands = {name: options or " ".join(SHELLS) for name, (_, options, _) in COMMANDS.items()}
    cases = "\n".join(_CASES[shell].format(*items) for items in commands.items())
    names = [option for group in OPTIONS.values() for option in group]
    paths = [name.split()[0] for name in names if name.endswith(" PATH")]
    script = path.read_text(encoding="utf-8").rstrip().replace("@CASES@", cases)
    script = script.replace("@COMMANDS@", " ".join(commands))
    return script.replace("@PATHS@", (" " if shell == "fish" else "|").join(paths))
