"""Render screenshots of the command line as SVG: real runs in a terminal (`make pages`).

The server is FakeZulip. Its URL is output as that of an organization, and the temporary home
directory as `~`; everything else is the output of the command.
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

from zulip_auth.testing import ExternalMethod, FakeZulip

SITE, USERNAME, PASSWORD = "https://chat.example.com", "iago@zulip.com", "secret"
COLUMNS = 68  # wider ones are not readable on a phone
TIMEOUT = 30.0  # seconds

_BIN = Path(sys.executable).parent
_PTY_WRAPPER = "import os, sys; os.login_tty(0); os.execv('/bin/sh', ['sh', '-c', sys.argv[1]])"
_SITE_RE = re.compile(r"(https?://)?(chat\.example\.com|localhost:9991)")


@dataclass(frozen=True)
class Scene:
    """One screenshot.

    Attributes:
        title: The title of the window.
        commands: The commands, which are run in this order.
        must_contain: Text that the output of the last one contains.
        partial: Whether to stop at that text.
        inputs: The line to type for each prompt, by the start of the prompt.
    """

    title: str
    commands: tuple[str, ...]
    must_contain: str
    partial: bool = False
    inputs: Mapping[str, str] = field(default_factory=dict)


SCENES = {
    "login": Scene(
        "Logging in",
        (f"zulip-auth login chat.example.com {USERNAME}",),
        must_contain=f"Logged in to {SITE} as {USERNAME}",
        inputs={"Password": PASSWORD},
    ),
    "wrong-password": Scene(
        "A wrong password",
        (f"zulip-auth login chat.example.com {USERNAME}",),
        must_contain="4 attempts remaining",
        inputs={"Password": "a guess"},
    ),
    "program": Scene(
        "For a program",
        (
            f'printf %s "$ZULIP_PASSWORD" | zulip-auth login chat.example.com {USERNAME} '
            "--password-stdin --json",
        ),
        must_contain='"user_id": 10',
    ),
    "kept-key": Scene(
        "The key, from a login to a logout",
        (
            f"zulip-auth login chat.example.com {USERNAME}",
            "zulip-auth whoami",
            "zulip-auth logout",
        ),
        must_contain="Deleted the API key",
        inputs={"Password": PASSWORD},
    ),
    "menu": Scene(
        "Choosing a login method",
        ("zulip-auth login chat.example.com",),
        must_contain=f"Logged in to {SITE} as {USERNAME}",
        inputs={"Choose": "1", "Username": USERNAME, "Password": PASSWORD},
    ),
    "retries": Scene(
        "No server",
        (f"zulip-auth login localhost:1 {USERNAME} --dev",),
        must_contain=" of 5)",
        partial=True,
    ),
}


def run_in_pty(
    command: str, inputs: Mapping[str, str], *, site: str, home: Path
) -> tuple[int, str]:
    """Run a shell command in a terminal, and return its exit code and output.

    Args:
        command: The command, in which chat.example.com and localhost:9991 are replaced by *site*.
        inputs: The line to type for each prompt, by the start of the prompt.
        site: The URL of the server.
        home: The home directory and working directory.
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", _PTY_WRAPPER, _SITE_RE.sub(site, command)],
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
    output, end = b"", 0
    try:
        while data := _read(master):
            output += data
            for prompt, line in inputs.items():
                if re.search(rb"%b[^\n]*: $" % prompt.encode(), output[end:]):
                    end = len(output)
                    os.write(master, line.encode() + b"\n")
    finally:
        os.close(master)  # which hangs up on a command that waits for input
        code = process.wait()
    text = output.decode().replace("\r\n", "\n")
    return code, text.replace(site, SITE).replace(str(home), "~")


def _read(terminal: int) -> bytes:
    if not select.select([terminal], [], [], TIMEOUT)[0]:
        raise TimeoutError("The command waits for input.")
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux raises at the end of the output
        return b""


def screenshot(name: str) -> str:
    """Run a scene and return its SVG.

    Raises:
        ValueError: If it does not show the expected text.
    """
    scene = SCENES[name]
    console = Console(
        file=io.StringIO(), record=True, width=COLUMNS, force_terminal=True, highlight=False
    )
    output = ""
    with (
        FakeZulip(users={USERNAME: PASSWORD}, dev_login="off") as server,
        tempfile.TemporaryDirectory() as home,
    ):
        server.realm.external_methods.append(ExternalMethod("google", "Google"))
        for command in scene.commands:
            _, output = run_in_pty(command, scene.inputs, site=server.site, home=Path(home))
            if scene.partial:
                before, text, _ = output.partition(scene.must_contain)
                # A delay is random, and one of a few milliseconds is not shown; the same
                # picture is drawn each time.
                retry = r"in \d+\.\d s \(attempt \d"
                output = re.sub(retry, "in 0.5 s (attempt 3", before + text)
            console.print(Text(f"$ {command}", style="bold"))
            console.print(Text.from_ansi(output.strip("\n")))
    if scene.must_contain not in output:
        raise ValueError(f"Screenshot {name!r} does not show {scene.must_contain!r}:\n{output}")
    svg = console.export_svg(title=scene.title, unique_id=f"shot-{name}")
    # rich cuts off the descenders of the last line.
    svg = re.sub(
        r"(<clipPath id=\"[\w-]+-clip-terminal\">.*?height=\")([\d.]+)",
        lambda match: f"{match[1]}{float(match[2]) + 6:.1f}",
        svg,
        flags=re.DOTALL,
    )
    # rich loads the font from another site; the reader has one.
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
