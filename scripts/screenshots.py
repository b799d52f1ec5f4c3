"""Screenshots of the command line: real runs on a terminal, drawn as SVG by the docs build.

The server is the stand-in one. Its address is shown as that of an organization, and the
home directory, which is one for the occasion, as `~`; all else is what the command wrote.
"""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from zulip_auth.testing import FakeZulip

SITE, USERNAME, PASSWORD = "https://chat.example.com", "iago@zulip.com", "secret"
COLUMNS = 64  # wider ones cannot be read on a telephone
SECONDS = 30

_BIN = Path(sys.executable).parent
_ON_THE_TERMINAL = "import os, sys; os.login_tty(0); os.execv('/bin/sh', ['sh', '-c', sys.argv[1]])"
_NAMES = re.compile(r"(https?://)?(chat\.example\.com|localhost:9991)")


@dataclass(frozen=True)
class Scene:
    """One screenshot.

    Attributes:
        title: What stands above it.
        commands: What is run, one after the other.
        shows: What must be seen of the last, so that nobody looks at something else.
        live: Whether to draw what is seen in the moment when that comes.
        typed: What is typed after each prompt, by the word that it begins with.
    """

    title: str
    commands: tuple[str, ...]
    shows: str
    live: bool = False
    typed: Mapping[str, str] = field(default_factory=dict)


SCENES = {
    "login": Scene(
        "Logging in",
        (f"zulip-auth login chat.example.com {USERNAME}",),
        shows=f"Logged in to {SITE} as {USERNAME}",
        typed={"Password": PASSWORD},
    ),
    "wrong-password": Scene(
        "A wrong password",
        (f"zulip-auth login chat.example.com {USERNAME}",),
        shows="4 attempts remaining",
        typed={"Password": "a guess"},
    ),
    "program": Scene(
        "For a program",
        (
            f'printf %s "$ZULIP_PASSWORD" | zulip-auth login chat.example.com {USERNAME} '
            "--password-stdin --json",
        ),
        shows='"user_id": 10',
    ),
    "kept-key": Scene(
        "The key, from a login to a logout",
        (
            f"zulip-auth login chat.example.com {USERNAME}",
            "zulip-auth whoami",
            "zulip-auth logout",
        ),
        shows="Deleted the API key",
        typed={"Password": PASSWORD},
    ),
    "retries": Scene(
        "No server there",
        (f"zulip-auth login localhost:1 {USERNAME} --dev",),
        shows="attempt 3 of 5",
        live=True,
    ),
}


def run_on_a_terminal(
    command: str, typed: Mapping[str, str], *, site: str, home: Path
) -> tuple[int, str]:
    """Run a shell command on a terminal of its own, and return its exit code and what it showed.

    Args:
        command: The command, in which chat.example.com and localhost:9991 stand for `site`.
        typed: What to type after each prompt, by the word that the prompt begins with.
        site: Which server to use.
        home: The home directory, which is the working directory, too.
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_THE_TERMINAL, _NAMES.sub(site, command)],
        stdin=slave,
        cwd=home,
        env={
            "COLUMNS": str(COLUMNS),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": f"{_BIN}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "ZULIP_PASSWORD": PASSWORD,
        },
    )
    os.close(slave)
    shown, answered = b"", 0
    try:
        while data := _read(master):
            shown += data
            for prompt, answer in typed.items():
                if re.search(rb"%b[^\n]*: $" % prompt.encode(), shown[answered:]):
                    answered = len(shown)
                    os.write(master, answer.encode() + b"\n")
    finally:
        os.close(master)  # with which whoever still waits for an answer is hung up on
        code = process.wait()
    text = shown.decode().replace("\r\n", "\n")
    return code, text.replace(site, SITE).replace(str(home), "~")


def _read(terminal: int) -> bytes:
    if not select.select([terminal], [], [], SECONDS)[0]:
        raise TimeoutError("The command waits for something that nobody types.")
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that the other side is gone
        return b""


def screenshot(name: str) -> str:
    """Play a scene against a server of its own, and return its SVG.

    Raises:
        ValueError: It does not show what it has to.
    """
    scene = SCENES[name]
    console = Console(
        file=io.StringIO(), record=True, width=COLUMNS, force_terminal=True, highlight=False
    )
    shown = ""
    with FakeZulip(users={USERNAME: PASSWORD}) as server, tempfile.TemporaryDirectory() as home:
        for command in scene.commands:
            _, shown = run_on_a_terminal(command, scene.typed, site=server.site, home=Path(home))
            if scene.live:
                before, words, _ = shown.partition(scene.shows)
                # The delay is random; the same picture is drawn each time.
                shown = re.sub(r"in \d+\.\d s", "in 0.5 s", before + words)
            console.print(Text(f"$ {command}", style="bold"))
            console.print(Text.from_ansi(shown.strip("\n")))
    if scene.shows not in shown:
        raise ValueError(f"The screenshot {name!r} does not show {scene.shows!r}, but:\n{shown}")
    svg = console.export_svg(title=scene.title, unique_id=f"shot-{name}")
    # The typeface is loaded from elsewhere; the reader's own does as well.
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
