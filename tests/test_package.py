"""Test the public names, the imports between modules, and the metadata."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import entry_points
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


def modules_loaded_by(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_import_loads_no_server_and_no_cli() -> None:
    loaded = modules_loaded_by("from zulip_auth import AuthClient")
    assert "zulip_auth._client" in loaded
    for name in ("starlette", "uvicorn", "pytest", "zulip_auth._cli", "getpass"):
        assert name not in loaded
    assert not {name for name in loaded if name.startswith("zulip_auth.testing")}


@pytest.mark.slow
def test_imports_are_lazy() -> None:
    heavy = {"asyncio", "attrs", "httpx", "zulip_auth._client", "zulip_auth_client"}
    assert not heavy & modules_loaded_by("import zulip_auth")
    plugin = modules_loaded_by("import zulip_auth._pytest_plugin")
    assert not heavy & (plugin - modules_loaded_by("import pytest"))
    # The first request imports them in a thread.
    loaded = modules_loaded_by(
        "import zulip_auth; zulip_auth.login; zulip_auth.AuthClient('x.org')"
    )
    assert not loaded & {"httpx", "anyio", "httpcore", "zulip_auth_client"}


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
    assert naming == {
        "_client.py",  # for its types
        "_http.py",
        "httpx_auth.py",
        "httpx2_auth.py",
        "aiohttp_auth.py",
    }


def test_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[<>=~]", need)[0] for need in project["dependencies"]}
    assert names == {"anyio", "attrs", "httpx", "idna"}


def test_entry_points() -> None:
    [plugin] = [entry for entry in entry_points(group="pytest11") if entry.name == "zulip_auth"]
    assert plugin.value == "zulip_auth._pytest_plugin"
    [script] = [
        entry for entry in entry_points(group="console_scripts") if entry.name == "zulip-auth"
    ]
    assert script.value == "zulip_auth.__main__:main"


@pytest.mark.parametrize("package", ["zulip_auth", "generated/zulip_auth_client"])
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


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
