"""Print the table of states and exit codes of the command line: real runs (`make pages`).

Run it without a controlling terminal, where the command would prompt for a password.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from screenshots import PASSWORD, SITE, USERNAME

from zulip_auth import _cli
from zulip_auth.testing import FakeZulip

_MAX_LENGTH = 80
_LOGIN = f"login chat.example.com {USERNAME} --password-stdin"


class _Session:
    """A home directory and a server."""

    def __init__(self, server: FakeZulip, home: str) -> None:
        self.server = server
        self._home = home

    def run(self, command: str, *, password: str = PASSWORD) -> tuple[int, str]:
        """Run a command, and return its exit code and its output, shortened."""
        environment = {n: v for n, v in os.environ.items() if not n.startswith("ZULIP_")}
        environment["HOME"] = self._home
        stdin = io.TextIOWrapper(io.BytesIO(password.encode()))
        argv = command.replace("chat.example.com", self.server.site).split()
        with (
            patch.dict(os.environ, environment, clear=True),
            patch.object(sys, "stdin", stdin),
            redirect_stdout(io.StringIO()) as stdout,
            redirect_stderr(io.StringIO()) as stderr,
        ):
            try:
                code = _cli.main(argv)
            except SystemExit as exit_:
                code = int(exit_.code or 0)
        output = stdout.getvalue() or stderr.getvalue().splitlines()[-1]
        line = output.removeprefix("zulip-auth: ").splitlines()[0]
        line = line.replace(self.server.site, SITE).replace(self._home, "~")
        return code, line if len(line) <= _MAX_LENGTH else re.split(r"(?<=\.) ", line)[0]


def _change_account(session: _Session) -> None:
    session.server.add_user("hamlet@zulip.com", PASSWORD)


def _fail_five_times(session: _Session) -> None:
    for number in range(5):
        session.run(_LOGIN, password=f"guess {number}")


# State, what leads to it after the one before, and the commands to run in it.
STATES: tuple[tuple[str, Callable[[_Session], object], tuple[str, ...]], ...] = (
    ("not logged in", lambda _: None, ("whoami", "bots", "api-key", "logout")),
    ("wrong password", lambda _: None, (_LOGIN,)),
    ("correct password", lambda _: None, (_LOGIN,)),
    ("logged in", lambda _: None, ("whoami", "bots")),
    (
        "another account is saved",
        _change_account,
        ("login chat.example.com hamlet@zulip.com --password-stdin",),
    ),
    (
        "the key was replaced on the server",
        lambda s: s.server.account(USERNAME).regenerate_api_key(),
        ("whoami",),
    ),
    ("server unreachable", lambda s: s.server.stop(), ("whoami --timeout 10",)),
    ("server back", lambda s: s.server.start(), ("logout", "logout")),
    ("five wrong passwords", _fail_five_times, (_LOGIN,)),
    ("no terminal", lambda _: None, (f"login chat.example.com {USERNAME}",)),
    ("invalid option", lambda _: None, ("whoami --verbose",)),
)


def states_table() -> str:
    """Return the exit code and the message of commands in each state, as a table."""
    lines = ["| state | command | code | output |", "|---|---|---:|---|"]
    lines += [
        f"| {state} | `{command.split()[0]}` | {code} | {_escape(output)} |"
        for state, command, code, output in _runs()
    ]
    return "\n".join(lines)


def _runs() -> Iterator[tuple[str, str, int, str]]:
    with FakeZulip(users={USERNAME: PASSWORD}) as server, tempfile.TemporaryDirectory() as home:
        session = _Session(server, home)
        for state, prepare, commands in STATES:
            prepare(session)
            for command in commands:
                password = "a guess" if state == "wrong password" else PASSWORD
                yield state, command, *session.run(command, password=password)


def _escape(text: str) -> str:
    return re.sub(r"([|<>*_`])", r"\\\1", text)


if __name__ == "__main__":
    print(states_table())
