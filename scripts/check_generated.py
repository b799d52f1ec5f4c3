"""Fail if the committed client is not, byte for byte, what `make generate` writes."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from generate import PACKAGE, ROOT, generate


def files(package: Path) -> dict[str, bytes]:
    """Return every file of a package, but for what running it leaves behind."""
    return {
        path.relative_to(package).as_posix(): path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def main() -> None:
    committed = files(ROOT / "generated" / PACKAGE)
    with tempfile.TemporaryDirectory() as elsewhere:
        generate(Path(elsewhere))
        fresh = files(Path(elsewhere) / PACKAGE)
    differing = [
        name for name in sorted({*committed, *fresh}) if committed.get(name) != fresh.get(name)
    ]
    if differing:
        sys.exit(
            "generated/ is not what openapi/ gives; run `make generate`. Differing:\n  "
            + "\n  ".join(differing)
        )
    print(f"generated/ is what openapi/ gives: {len(fresh)} files.")


if __name__ == "__main__":
    main()
