"""Run the command line as a user or a program would."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen
from keyring.backend import KeyringBackend

COMMAND = Path(sys.executable).parent / "zulip-auth"


@frozen
class CLIRunner:
    """A home directory of its own, with a zuliprc or without one."""

    path: Path

    @property
    def zuliprc(self) -> Path:
        return self.path / ".zuliprc"

    def environment(self, **more: str) -> Mapping[str, str]:
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("ZULIP_")}
        return {**inherited, "HOME": str(self.path), **more}

    def run(
        self, *arguments: str, stdin: str | bytes = b"", **environment: str
    ) -> tuple[int, str, str]:
        """Run the installed command, and return its exit code and what it wrote."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [COMMAND, *arguments],
            input=data,
            capture_output=True,
            start_new_session=True,
            env=self.environment(**environment),
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def run_in_pty(
        self,
        *arguments: str,
        inputs: Mapping[str, str | Callable[[str], str]] | None = None,
        **environment: str,
    ) -> tuple[int, str]:
        """Run the command in a terminal, and return its exit code and output.

        *inputs* maps a prompt to the input, or to a function of the output so far.
        """
        master, slave = pty.openpty()
        start = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
        command = [sys.executable, "-c", start, str(COMMAND), *arguments]
        process = subprocess.Popen(command, stdin=slave, env=self.environment(**environment))
        os.close(slave)
        shown, waiting = b"", dict(inputs or {})
        while select.select([master], [], [], 20)[0]:
            try:
                data = os.read(master, 1024)
            except OSError:  # Linux raises at the end of the output
                break
            if not data:
                break
            shown += data
            for prompt in [prompt for prompt in waiting if prompt.encode() in shown]:
                type_input = waiting.pop(prompt)
                text = type_input if isinstance(type_input, str) else type_input(shown.decode())
                os.write(master, text.encode() + b"\n")
        os.close(master)
        return process.wait(10), shown.decode().replace("\r\n", "\n")


class FakeTTY(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


class InMemoryKeyring(KeyringBackend):
    """A keyring whose entries last as long as the object."""

    priority = 1  # pyright: ignore[reportAssignmentType]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]
