"""Shell completion scripts, generated from the tables of the parser."""

from __future__ import annotations

import argparse
import re

from .parser import COMMANDS, OPTIONS, SHELLS

_BASH = """\
_zulip_auth() {
  local list='@COMMANDS@'
  COMPREPLY=()
  case ${COMP_WORDS[COMP_CWORD-1]} in
    @PATHS@) compopt -o default 2>/dev/null; return ;;
  esac
  (( COMP_CWORD > 1 )) && case ${COMP_WORDS[1]} in
@CASES@
  esac
  COMPREPLY=($(compgen -W "$list" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _zulip_auth zulip-auth
"""
_FISH = """\
complete -c zulip-auth -f
complete -c zulip-auth -n __fish_use_subcommand -a '@COMMANDS@'
complete -c zulip-auth -n '__fish_prev_arg_in @PATHS@' -F
@CASES@
"""
_ZSH = """\
#compdef zulip-auth
_zulip_auth() {
  local list='@COMMANDS@'
  case $words[CURRENT-1] in
    @PATHS@) _files; return ;;
  esac
  (( CURRENT > 2 )) && case $words[2] in
@CASES@
  esac
  compadd -- ${=list}
}
# Complete if autoloaded from $fpath; register if sourced.
if [ "$funcstack[1]" = _zulip_auth ]; then _zulip_auth; else compdef _zulip_auth zulip-auth; fi
"""
_SCRIPTS = {"bash": _BASH, "fish": _FISH, "zsh": _ZSH}
_CASES = {
    "fish": "complete -c zulip-auth -n '__fish_seen_subcommand_from {}' -a '{}'",
    **dict.fromkeys(("bash", "zsh"), "    {}) list='{}' ;;"),
}


def run(options: argparse.Namespace) -> str:
    """Return the completion script for a shell."""
    commands = {name: re.findall(r"--\S+", names) for name, (names, _) in COMMANDS.items()}
    commands["completion"] = [*SHELLS]
    cases = "\n".join(_CASES[options.shell].format(c, " ".join(w)) for c, w in commands.items())
    names = [option for group in OPTIONS.values() for option in group]
    paths = [name.split()[0] for name in names if name.endswith(" PATH")]
    script = _SCRIPTS[options.shell].rstrip().replace("@CASES@", cases)
    script = script.replace("@COMMANDS@", " ".join(commands))
    return script.replace("@PATHS@", (" " if options.shell == "fish" else "|").join(paths))
