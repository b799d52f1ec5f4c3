"""Fail if the committed client differs from the output of `make generate`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from generate import PACKAGE, ROOT, generate


def files(package: Path) -> dict[str, bytes]:
    """Return the content of every file of a package, without bytecode caches."""
    return {
        path.relative_to(package).as_posix(): path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def main() -> None:
    committed = files(ROOT / "generated" / PACKAGE)
    with tempfile.TemporaryDirectory() as tmp:
        generate(Path(tmp))
        output = files(Path(tmp) / PACKAGE)
    differing = [
        name for name in sorted({*committed, *output}) if committed.get(name) != output.get(name)
    ]
    if differing:
        sys.exit(
            "generated/ does not match openapi/. Run `make generate`. Differing files:\n  "
            + "\n  ".join(differing)
        )
    print(f"generated/ matches openapi/: {len(output)} files.")


if __name__ == "__main__":
    main()
