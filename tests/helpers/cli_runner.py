"""Run the command line as a user or a program would."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Self
from unittest.mock import patch

from attrs import frozen
from keyring.backend import KeyringBackend

from helpers.constants import PASSWORD
from helpers.secret_scanner import SecretScanner
from zulip_auth._cli import main

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
        for name in ("COLUMNS", "LINES"):  # which pytest-xdist sets
            inherited.pop(name, None)
        return {**inherited, "HOME": str(self.path), **more}

    def main(
        self, *arguments: str, stdin: str | bytes = b"", **environment: str
    ) -> tuple[int, str, str]:
        """Run the command in this process, and return its exit code and what it wrote."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        with (
            patch.dict(os.environ, self.environment(**environment), clear=True),
            patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(data))),
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
        ):
            code = main(arguments)
        return code, out.getvalue(), err.getvalue()

    def succeed(self, *arguments: str, stdin: str | bytes = b"", **environment: str) -> str:
        """Run a command that succeeds without messages, and return its output."""
        code, out, err = self.main(*arguments, stdin=stdin, **environment)
        assert (code, err) == (0, "")
        return out.removesuffix("\n")

    def fail(
        self, exit_code: int, *arguments: str, stdin: str | bytes = b"", **environment: str
    ) -> str:
        """Run a command that fails, and return its message, which is one line."""
        code, out, err = self.main(*arguments, stdin=stdin, **environment)
        assert (code, out) == (exit_code, "")
        assert err.startswith("zulip-auth: ")
        assert err.count("\n") == 1
        SecretScanner(PASSWORD).check(err, "the message")
        return err.removeprefix("zulip-auth: ").removesuffix("\n")

    def session(self, *arguments: str, columns: int = 80, **environment: str) -> TerminalSession:
        """Start it with a terminal."""
        return TerminalSession([COMMAND, *arguments], self.environment(**environment), columns)


class TerminalSession:
    """A command on a terminal of its own."""

    _TIMEOUT = 20.0  # seconds

    def __init__(
        self, command: Sequence[str | Path], environment: Mapping[str, str], columns: int
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        start = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, *command], stdin=slave, env=environment
        )
        os.close(slave)
        self._shown = b""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._master)  # which hangs up on a command that still runs
        self.process.wait(self._TIMEOUT)

    @property
    def screen(self) -> str:
        """All that was shown so far."""
        return self._shown.decode().replace("\r\n", "\n")

    @property
    def is_echoing(self) -> bool:
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def expect(self, text: str) -> str:
        """Wait until a text is shown after the last expected one; return what precedes it."""
        wanted = text.replace("\n", "\r\n").encode()
        while (found := self._shown.find(wanted, self._seen)) < 0:
            assert self._read(), f"{text!r} is not shown, but:\n{self.screen}"
        before = self._shown[self._seen : found].decode()
        self._seen = found + len(wanted)
        return before

    def send(self, text: str) -> None:
        os.write(self._master, text.encode())

    def send_line(self, text: str) -> None:
        self.send(f"{text}\n")

    def wait(self) -> int:
        """Wait until the command ends, and return its exit code."""
        while self._read():
            pass
        return self.process.wait(self._TIMEOUT)

    def _read(self) -> bytes:
        assert select.select([self._master], [], [], self._TIMEOUT)[0], self.screen
        try:
            data = os.read(self._master, 4096)
        except OSError:  # on Linux, the other side is closed
            data = b""
        self._shown += data
        return data


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
