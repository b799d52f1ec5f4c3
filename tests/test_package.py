"""Test the public names, the imports between modules, and the metadata."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import zulip_auth

ROOT = Path(__file__).parent.parent


def test_public_names() -> None:
    assert sorted(zulip_auth.__all__) == dir(zulip_auth)
    assert all(hasattr(zulip_auth, name) for name in zulip_auth.__all__)
    names = filter(str.isidentifier, vars(zulip_auth))  # pytest adds some that are not
    public = {name for name in names if not name.startswith("_")} - {"TYPE_CHECKING"}
    modules = {"aiohttp_auth", "httpx2_auth", "httpx_auth", "testing"}  # set by an import
    assert public - modules == set(zulip_auth.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="module 'zulip_auth' has no attribute 'log_in'"):
        _ = zulip_auth.log_in  # type: ignore[attr-defined]


IMPORTS = """
import sys
import zulip_auth
print(*sys.modules)
import pytest
before = {*sys.modules}
import zulip_auth._pytest_plugin
print(*sys.modules.keys() - before)
zulip_auth.login
zulip_auth.AuthClient('x.org')
print(*sys.modules)
"""


def test_imports_are_lazy() -> None:
    result = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
    )
    package, plugin, client = (set(line.split()) for line in result.stdout.splitlines())
    heavy = {"asyncio", "attrs", "httpx", "zulip_auth._client", "zulip_auth_client"}
    assert not heavy & (package | plugin)
    assert "zulip_auth._client" in client
    # The first request imports them in a thread.
    assert not client & {"httpx", "anyio", "httpcore", "zulip_auth_client"}
    others = ("starlette", "uvicorn", "getpass", "zulip_auth._cli", "zulip_auth.testing")
    assert not client & {*others}


def imports_of(path: Path) -> set[str]:
    """Return the modules of `zulip_auth` that a module imports, by their full names."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found & MODULES.keys()


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in (ROOT / "zulip_auth").rglob("*.py")
}


def test_imports_run_one_way() -> None:
    imports = {name: imports_of(path) for name, path in MODULES.items()}
    list(TopologicalSorter(imports).static_order())  # a cycle raises CycleError
    for name, imported in imports.items():
        part = name.split(".")[1]
        parts = {module.split(".")[1] for module in imported}
        if part == "testing":
            assert parts <= {"testing"}, name
        elif part not in ("_cli", "__main__"):
            assert "_cli" not in parts, name


def test_generated_client_is_independent() -> None:
    for path in (ROOT / "generated").rglob("*.py"):
        assert not re.search(r"\bzulip_auth\b", path.read_text(encoding="utf-8"))


def test_http_libraries_are_imported_in_one_place() -> None:
    naming = {
        path.relative_to(ROOT / "zulip_auth").as_posix()
        for path in (ROOT / "zulip_auth").rglob("*.py")
        if re.search(r"\b(import|from) (httpx2?|aiohttp)\b", path.read_text(encoding="utf-8"))
    }
    # In _client.py for its types
    auth = {"httpx_auth.py", "httpx2_auth.py", "aiohttp_auth.py"}
    assert naming == {"_client.py", "_http.py", *auth}


def test_version_is_in_changelog_and_citation() -> None:
    """Between releases, the version is that of the next one with `.dev0`."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([\d.]+)\] - (\S+)$", changelog, re.MULTILINE)
    current, date = versions[0]
    suffix = ".dev0" if date == "unreleased" else ""
    assert zulip_auth.__version__ == current + suffix
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    released = [item for item in versions if item[1] not in ("unreleased", "unpublished")]
    cited = re.findall(r'^version: (.+)\ndate-released: "(.+)"$', citation, re.MULTILINE)
    assert cited == released[:1]  # none before the first release


def test_workflows_run_make_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        commands = re.findall(r"\brun: (.*)", text)
        assert commands
        for command in commands:
            target = re.match(r"make ([a-z-]+)( [A-Z]+=\S+)?$", command)
            assert target, command
            assert f"\n{target[1]}:" in makefile, command
        # A tag can be moved to other code; a commit cannot.
        for action in re.findall(r"\buses: (\S+)", text):
            assert re.search(r"@[0-9a-f]{40}$|^\./", action), action
        assert re.search(r"^permissions:\n  contents: read\n\n", text, re.MULTILINE)
