"""Write the generated client from the OpenAPI description (`make generate`)."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPENAPI = ROOT / "openapi"
PACKAGE = "zulip_auth_client"
HEADER = "# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.\n\n"


def generate(parent: Path) -> None:
    """Write the package into `parent`, replacing what is there only when all went well."""
    with tempfile.TemporaryDirectory(dir=parent, prefix=".generate-") as scratch:
        fresh = Path(scratch) / PACKAGE
        run_generator(output=fresh, templates=lay_out_templates(Path(scratch)))
        finish(fresh)
        final = parent / PACKAGE
        shutil.rmtree(final, ignore_errors=True)
        fresh.rename(final)


def lay_out_templates(scratch: Path) -> Path:
    """Put the generator's own templates under `stock/` beside ours, which include them."""
    templates = scratch / "templates"
    shutil.copytree(OPENAPI / "templates", templates)
    spec = find_spec("openapi_python_client")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    stock = Path(spec.submodule_search_locations[0]) / "templates"
    shutil.copytree(stock, templates / "stock")
    return templates


def run_generator(*, output: Path, templates: Path) -> None:
    """Run openapi-python-client, which runs the ruff that is installed beside it."""
    command = [
        *(sys.executable, "-m", "openapi_python_client", "generate"),
        *("--meta", "none", "--fail-on-warning"),
        *("--path", str(OPENAPI / "zulip-auth.yaml")),
        *("--config", str(OPENAPI / "generator.yaml")),
        *("--custom-template-path", str(templates)),
        *("--output-path", str(output)),
    ]
    beside = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": beside + os.pathsep + os.environ.get("PATH", "")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the generator failed:\n{done.stdout}{done.stderr}")


def finish(package: Path) -> None:
    """Add what the generator leaves out: a header in every file, and `py.typed`."""
    for module in sorted(package.rglob("*.py")):
        module.write_text(HEADER + module.read_text(encoding="utf-8"), encoding="utf-8")
    (package / "py.typed").touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "generated", metavar="DIRECTORY")
    generate(parser.parse_args().output)


if __name__ == "__main__":
    main()
