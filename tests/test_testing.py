"""The stand-in server's package: what it imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import zulip_auth.testing

PACKAGE = Path(zulip_auth.testing.__file__).parent
# Modules below `endpoints`, lowest first. A module imports those above it in this list only.
LAYERS = [
    "accounts",
    "errors",
    "messages",
    "narrow",
    "parameters",
    "queues",
    "rate_limits",
    "state",
    "http",
    "endpoints",
    "app",
    "control",
    "server_thread",
    "server",
    "program",
    "__main__",
    "__init__",
]


def imported_modules(path: Path) -> set[str]:
    """Return the modules of zulip-auth that a module imports, relative to the package."""
    inside = ["zulip_auth", "testing", *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            whole = module in ("zulip_auth", "zulip_auth.testing")
            names = [f"{module}.{a.name}" for a in node.names] if whole else [module]
        found |= {name for name in names if name.partition(".")[0].startswith("zulip_auth")}
    return found


def test_imports_nothing_else_of_zulip_auth() -> None:
    """It can become a distribution of its own."""
    for path in PACKAGE.rglob("*.py"):
        for name in imported_modules(path):
            assert name.startswith("zulip_auth.testing."), path


def test_import_layers() -> None:
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for name in imported_modules(path):
            other = name.removeprefix("zulip_auth.testing.").partition(".")[0]
            within = own == other == "endpoints"
            assert within or LAYERS.index(other) < LAYERS.index(own), (path, other)


@pytest.mark.usefixtures("measured_subprocesses")
@pytest.mark.parametrize("missing", ["jwt", "starlette", "uvicorn"])
def test_missing_extra(missing: str) -> None:
    script = f"import sys; sys.modules['{missing}'] = None; import zulip_auth.testing"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "pip install 'zulip-auth[testing]'" in result.stderr


@pytest.mark.usefixtures("measured_subprocesses")
def test_unrelated_missing_module() -> None:
    script = "import sys; sys.modules['click'] = None; import zulip_auth.testing"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "click" in result.stderr.splitlines()[-1]
    assert "zulip-auth[testing]" not in result.stderr
