"""Log in with the installed command and the library, against the stand-in server (`make demo`)."""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

import zulip_auth
from zulip_auth.testing import FakeZulip

COMMAND = Path(sys.executable).parent / "zulip-auth"
USERNAME, PASSWORD = "iago@zulip.com", "correct horse & battery=+%é"

LOG_IN = """\
credentials = await zulip_auth.login(site, "iago@zulip.com", password)
print(credentials)
"""
USE_KEY = """\
async with httpx.AsyncClient(auth=credentials.basic_auth) as http:
    response = await http.get(f"{credentials.site}/api/v1/users/me")
print(response.json()["full_name"])
"""
GUESSES = """\
for number in range(6):
    try:
        await zulip_auth.login(site, "iago@zulip.com", f"guess {number}")
    except zulip_auth.ZulipAuthError as error:
        print(f"{type(error).__name__}: {error}")
"""
NEXT = """\
Try next:
  {bin}/zulip-auth fake-server    a server like this one, with commands to try
  {bin}/python -m asyncio         for the samples of docs/first-steps.md
  examples/                             a bot, its tests, and programs for other frameworks
"""


def run(*arguments: str, password: str = "", exit_code: int = 0, expect: str = "") -> None:
    """Run `zulip-auth`, print its output, and check that and its exit code."""
    print("$ zulip-auth", *arguments, flush=True)
    result = subprocess.run(
        [COMMAND, *arguments], input=password, capture_output=True, encoding="utf-8", check=False
    )
    output = result.stdout + result.stderr
    print(output, flush=True)
    if result.returncode != exit_code or expect not in output:
        sys.exit(f"expected exit code {exit_code} and {expect!r}; got {result.returncode}")


def execute(runner: asyncio.Runner, code: str, names: dict[str, Any]) -> None:
    """Print the statements of a sample, and execute them."""
    tree = ast.parse(code)
    for statement in tree.body:
        source = ast.get_source_segment(code, statement) or ""
        print(">>>", source.replace("\n", "\n... "), flush=True)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    coroutine = eval(compile(tree, "<sample>", "exec", flags), names)  # noqa: S307
    runner.run(coroutine)
    print()


def main() -> None:
    with (
        FakeZulip() as server,
        TemporaryDirectory() as directory,
        asyncio.Runner() as runner,
    ):
        server.add_user(USERNAME, PASSWORD, full_name="Iago")
        server.add_bot(USERNAME, "Reminder Bot")
        # Do not touch the zuliprc of the user.
        os.environ["ZULIP_CONFIG"] = str(Path(directory, "zuliprc"))
        login = ("login", server.site, USERNAME, "--password-stdin")

        print("Log in, and save the API key:")
        run(*login, password=PASSWORD, expect=f"as {USERNAME}")
        run("whoami", expect="The API key is valid.")

        print("The same in Python:")
        names: dict[str, Any] = {"zulip_auth": zulip_auth, "httpx": httpx}
        names |= {"site": server.site, "password": PASSWORD}
        execute(runner, LOG_IN, names)
        execute(runner, USE_KEY, names)
        if names["response"].json()["full_name"] != "Iago":
            sys.exit("expected the profile of Iago")

        print("Save the key of a bot:")
        run(*login, "--bot", "Reminder Bot", "--no-save", password=PASSWORD, expect="reminder-bot@")

        print("With a wrong password, the server locks the account after five attempts:")
        execute(runner, GUESSES, names)
        run(*login, password=PASSWORD, exit_code=75, expect="Try again in 30 minutes")

        print("Half an hour later:")
        server.advance(1800)
        run(*login, "--json", password=PASSWORD, expect='"user_id": 10')
        print(NEXT.format(bin=os.path.relpath(COMMAND.parent)), end="")


if __name__ == "__main__":
    main()
