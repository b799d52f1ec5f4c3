from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from helpers.cli_runner import COMMAND, CLIRunner

SHELLS = {
    "bash": """
source <(zulip-auth completion bash)
complete -p zulip-auth | grep -q -- '-o default' || exit 1  # completes paths if nothing else
try() {
  COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
  _zulip_auth
  echo "${COMPREPLY[@]}"
}""",
    "zsh": """
autoload -Uz compinit; compinit -u -D
source <(zulip-auth completion zsh)
_describe() {
  local -a found=("${${(@P)2}[@]%%:*}")
  found=(${(M)found:#$words[-1]*})
  echo $found; (( $#found ))
}
_files() { echo FILES; }
[ "$_comps[zulip-auth]" = _zulip_auth ] || exit 1
try() { words=("$@"); CURRENT=$#words; _zulip_auth | tr '\\n' ' '; echo }""",
    "fish": """
zulip-auth completion fish | source
function try; echo (complete -C "$argv"); end""",
}
COMPLETIONS = {
    "who": "whoami",
    "login --pass": "--password-command --password-stdin",
    "login --no-save --ke": "--keyring",
    "logout --pass": "",
    "logout --rev": "--revoke",
    "completion fi": "fish",
    "whoami --config zuliprc-": "",  # a path, which bash and zsh complete if nothing else
}


@pytest.mark.parametrize("shell", SHELLS)
def test_completion(shell: str, home: CLIRunner) -> None:
    assert home.succeed("completion", shell)
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    (home.path / "zuliprc-of-bot").touch()
    done = subprocess.run(
        [shell, *(["-f"] if shell == "zsh" else [])],
        input="\n".join([SHELLS[shell], *(f"try zulip-auth {line}" for line in COMPLETIONS)]),
        capture_output=True,
        text=True,
        cwd=home.path,
        env=home.environment(PATH=f"{COMMAND.parent}:{os.environ['PATH']}"),
    )
    assert done.stderr == ""
    for shown, (line, expected) in zip(done.stdout.splitlines(), COMPLETIONS.items(), strict=True):
        path = {"zsh": "FILES", "fish": "zuliprc-of-bot" if "zul" in line else ""}
        assert sorted(shown.split()) == (expected or path.get(shell, "")).split()
