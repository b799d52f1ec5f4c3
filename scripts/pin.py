"""Pin what the requirements/*.in files ask for, with all it needs (`make pins`)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
HEADER = "# Written by `make pins` from {}.\n"


def resolve(*files: Path, constraints: Path | None = None) -> dict[str, str]:
    """Ask pip which versions it would install, by name, without the project itself."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-"]
    command += ["--ignore-installed"]
    for file in files:
        command += ["--requirement", str(file)]
    if constraints is not None:
        command += ["--constraint", str(constraints)]
    report = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    found = [item["metadata"] for item in json.loads(report)["install"]]
    pins = {normalise(item["name"]): item["version"] for item in found}
    pins.pop("zulip-auth", None)
    return dict(sorted(pins.items()))


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lines(pins: dict[str, str]) -> str:
    return "".join(f"{name}=={version}\n" for name, version in pins.items())


def main() -> None:
    files = sorted(REQUIREMENTS.glob("*.in"))
    with tempfile.TemporaryDirectory() as scratch:
        # Together first, so that no two files name two versions of one package.
        everything = Path(scratch) / "constraints.txt"
        everything.write_text(lines(resolve(*files)), encoding="utf-8")
        for file in files:
            text = HEADER.format(file.name) + lines(resolve(file, constraints=everything))
            file.with_suffix(".txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
