"""Shell completion scripts, generated from the tables of the parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable

from .parser import COMMANDS, OPTIONS, SHELLS

# Each script, and the case of one command in it. What is not in a list may be a path.
_BASH = """\
_zulip_auth() {
  local list='@COMMANDS@'
  (( COMP_CWORD > 1 )) && case ${COMP_WORDS[1]} in
@CASES@
  esac
  COMPREPLY=($(compgen -W "$list" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _zulip_auth zulip-auth
"""
_FISH = """\
complete -c zulip-auth -n __fish_use_subcommand -f -a '@COMMANDS@'
@CASES@
"""
_ZSH = """\
#compdef zulip-auth
_zulip_auth() {
  local -a list=(@COMMANDS@)
  (( CURRENT > 2 )) && case $words[2] in
@CASES@
  esac
  _describe zulip-auth list || _files
}
# Complete if autoloaded from $fpath; register if sourced.
if [ "$funcstack[1]" = _zulip_auth ]; then _zulip_auth; else compdef _zulip_auth zulip-auth; fi
"""
_SCRIPTS = {
    "bash": (_BASH, "    {}) list='{}' ;;"),
    "fish": (_FISH, "complete -c zulip-auth -n '__fish_seen_subcommand_from {}' -a '{}'"),
    "zsh": (_ZSH, "    {}) list=({}) ;;"),
}


def run(options: argparse.Namespace) -> str:
    """Return the completion script for a shell."""
    script, case = _SCRIPTS[options.shell]
    texts = {name: text for name, (_, text) in COMMANDS.items()}
    for group in OPTIONS.values():
        texts |= {option.split()[0]: text for option, text in group.items()}

    def listed(names: Iterable[str]) -> str:
        if options.shell != "zsh":
            return " ".join(names)
        # As `_describe` of zsh expects them.
        described = [f"{name}:{texts[name]}" if name in texts else name for name in names]
        return " ".join("'{}'".format(each.replace("'", "'\\''")) for each in described)

    cases = {name: re.findall(r"--\S+", accepted) for name, (accepted, _) in COMMANDS.items()}
    cases["completion"] = [*SHELLS]
    lines = [case.format(name, listed(names)) for name, names in cases.items()]
    script = script.replace("@COMMANDS@", listed(COMMANDS))
    return script.replace("@CASES@", "\n".join(lines)).rstrip()
