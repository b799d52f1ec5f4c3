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


def run(*arguments: str, password: str = "", exit_code: int = 0) -> str:
    """Run `zulip-auth`, print its output and check its exit code."""
    print("$ zulip-auth", *arguments, flush=True)
    result = subprocess.run(
        [COMMAND, *arguments], input=password, capture_output=True, encoding="utf-8", check=False
    )
    output = result.stdout + result.stderr
    print(output, f"(exit code {result.returncode})\n", sep="", flush=True)
    if result.returncode != exit_code:
        sys.exit(f"expected exit code {exit_code}")
    return output


def expect_output(output: str, text: str) -> None:
    """Exit with an error unless *text* is in the output."""
    if text not in output:
        sys.exit(f"expected the output to contain {text!r}")


def main() -> None:
    with FakeZulip(users={USERNAME: PASSWORD}) as server, TemporaryDirectory() as tmp:
        # Do not touch the zuliprc of the user.
        os.environ["ZULIP_CONFIG"] = str(Path(tmp, "zuliprc"))
        login = ["login", server.site, USERNAME]
        print("FakeZulip is running at", server.site, "\n")

        print("Log in with a password that forms must escape:")
        output = run(*login, "--password-stdin", password=PASSWORD)
        expect_output(output, f"as {USERNAME}")

        print("Check the saved key:")
        expect_output(run("whoami"), "The API key is valid.")

        print("Log in, with JSON output:")
        run(*login, "--password-stdin", "--json", password=PASSWORD)

        print("Log in to a development server without a password:")
        run(*login, "--dev")

        print("Log out:")
        run("logout")

        print("Log in with a wrong password:")
        output = run(*login, "--password-stdin", password="a guess", exit_code=77)
        expect_output(output, "4 attempts remaining")

        print("After five attempts, the server rejects even the correct password:")
        for number in range(2, 6):
            run(*login, "--password-stdin", password=f"guess {number}", exit_code=77)
        output = run(*login, "--password-stdin", password=PASSWORD, exit_code=75)
        expect_output(output, "Try again in 30 minutes")

        print("Log in half an hour later:")
        server.advance(1800)
        run(*login, "--password-stdin", password=PASSWORD)


if __name__ == "__main__":
    main()
