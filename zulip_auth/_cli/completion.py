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
  local -a list=(@COMMANDS@)
  case $words[CURRENT-1] in
    @PATHS@) _files; return ;;
  esac
  (( CURRENT > 2 )) && case $words[2] in
@CASES@
  esac
  _describe zulip-auth list
}
# Complete if autoloaded from $fpath; register if sourced.
if [ "$funcstack[1]" = _zulip_auth ]; then _zulip_auth; else compdef _zulip_auth zulip-auth; fi
"""
_SCRIPTS = {"bash": _BASH, "fish": _FISH, "zsh": _ZSH}
_CASES = {
    "bash": "    {}) list='{}' ;;",
    "fish": "complete -c zulip-auth -n '__fish_seen_subcommand_from {}' -a '{}'",
    "zsh": "    {}) list=({}) ;;",
}


def run(options: argparse.Namespace) -> str:
    """Return the completion script for a shell."""
    texts = {name: text for name, (_, text) in COMMANDS.items()}
    helps = {option: text for group in OPTIONS.values() for option, text in group.items()}
    paths = [option.split()[0] for option in helps if option.endswith(" PATH")]
    helps = {option.split()[0]: text for option, text in helps.items()}
    options_of = {name: re.findall(r"--\S+", names) for name, (names, _) in COMMANDS.items()}
    options_of["completion"] = [*SHELLS]
    describe = _describe if options.shell == "zsh" else lambda word, _: word
    cases = "\n".join(
        _CASES[options.shell].format(name, " ".join(describe(w, helps.get(w, "")) for w in listed))
        for name, listed in options_of.items()
    )
    commands = " ".join(describe(name, text) for name, text in texts.items())
    script = _SCRIPTS[options.shell].rstrip().replace("@CASES@", cases)
    script = script.replace("@COMMANDS@", commands)
    return script.replace("@PATHS@", (" " if options.shell == "fish" else "|").join(paths))


def _describe(word: str, text: str) -> str:
    """Return a word and its description, as `_describe` of zsh expects them."""
    return "'{}'".format(f"{word}:{text}".removesuffix(":").replace("'", "'\\''"))
