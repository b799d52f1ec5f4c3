"""Log in with the installed command, over HTTP, against the stand-in server (`make demo`)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from zulip_auth.testing import FakeZulip

COMMAND = Path(sys.executable).parent / "zulip-auth"
USERNAME, PASSWORD = "iago@zulip.com", "correct horse & battery=+%é"


def run(*arguments: str, password: str = "", expect: int) -> str:
    """Run `zulip-auth` as a person would, show it, and check its exit code."""
    print("$ zulip-auth", *arguments, flush=True)
    done = subprocess.run(
        [COMMAND, *arguments], input=password, capture_output=True, encoding="utf-8", check=False
    )
    print(done.stdout + done.stderr, f"(exit code {done.returncode})\n", sep="", flush=True)
    if done.returncode != expect:
        sys.exit(f"the demo expected exit code {expect}")
    return done.stdout + done.stderr


def must_say(said: str, words: str) -> None:
    if words not in said:
        sys.exit(f"the demo expected the words {words!r}")


def main() -> None:
    with FakeZulip(users={USERNAME: PASSWORD}) as server, TemporaryDirectory() as scratch:
        # Not the zuliprc of whoever runs this.
        os.environ["ZULIP_CONFIG"] = str(Path(scratch, "zuliprc"))
        login = ["login", server.site, USERNAME]
        print("A stand-in Zulip server is running at", server.site, "\n")

        print("The right password, with characters that forms have to escape:")
        said = run(*login, "--password-stdin", password=PASSWORD, expect=0)
        must_say(said, f"as {USERNAME}")

        print("The key is kept, and works:")
        must_say(run("whoami", expect=0), "The API key is good.")

        print("The same for a program:")
        run(*login, "--password-stdin", "--json", password=PASSWORD, expect=0)

        print("A development server lets anyone in:")
        run(*login, "--dev", expect=0)

        print("Logging out:")
        run("logout", expect=0)

        print("A wrong password, and how many attempts are left:")
        said = run(*login, "--password-stdin", password="a guess", expect=77)
        must_say(said, "4 attempts are left")

        print("Four more, and the account is locked, even for the right password:")
        for number in range(2, 6):
            run(*login, "--password-stdin", password=f"guess {number}", expect=77)
        said = run(*login, "--password-stdin", password=PASSWORD, expect=75)
        must_say(said, "Wait 30 minutes")

        print("Half an hour later:")
        server.advance(1800)
        run(*login, "--password-stdin", password=PASSWORD, expect=0)


if __name__ == "__main__":
    main()
