"""Install the built wheel into an empty environment and log in from it (`make build`)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = {"zulip_auth", "zulip_auth_client"}
LOG_IN = """
import asyncio, importlib.util
import zulip_auth, zulip_auth_client
from zulip_auth.testing import FakeZulip

for name in ("generated", "tests", "scripts", "openapi", "benchmarks"):
    assert importlib.util.find_spec(name) is None, name

async def main():
    async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        print(await zulip_auth.login(server.site, "IAGO@zulip.com", "secret"))

asyncio.run(main())
"""


def main() -> None:
    [wheel] = (ROOT / "dist").glob("*.whl")
    [_sdist] = (ROOT / "dist").glob("*.tar.gz")
    names = ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    if top != EXPECTED:
        sys.exit(f"{wheel.name} contains {sorted(top)}, not {sorted(EXPECTED)}")
    for package in EXPECTED:
        if f"{package}/py.typed" not in names:
            sys.exit(f"{wheel.name} contains no {package}/py.typed")
    with tempfile.TemporaryDirectory() as tmp:
        venv.create(tmp, with_pip=True)
        python = f"{tmp}/bin/python"
        install = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        pins = str(ROOT / "requirements" / "run.txt")
        subprocess.run([*install, "--constraint", pins, f"{wheel}[testing]"], check=True)
        # -I and another directory: nothing of this checkout may be importable.
        subprocess.run([python, "-I", "-W", "error", "-c", LOG_IN], cwd=tmp, check=True)
        subprocess.run([f"{tmp}/bin/zulip-auth", "--version"], cwd=tmp, check=True)
    print(f"{wheel.name} can be installed and imported, and logs in.")


if __name__ == "__main__":
    main()
