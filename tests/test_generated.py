"""The generated client: what it shows, and how it is made."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zulip_auth_client import AuthenticatedClient, Client
from zulip_auth_client.models import ApiKeyResponse, FetchApiKeyBody
from zulip_auth_client.types import Response

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "generated" / "zulip_auth_client"
SECRET = "hunter2"


def body() -> FetchApiKeyBody:
    made = FetchApiKeyBody("iago@zulip.com", SECRET)
    made["another"] = SECRET
    return made


def success() -> ApiKeyResponse:
    return ApiKeyResponse.from_dict(
        {"result": "success", "msg": "", "api_key": SECRET, "email": "a@b.c", "token": SECRET}
    )


SHOWN = {
    "body": body(),
    "success": success(),
    "response": Response(200, SECRET.encode(), {"set-cookie": SECRET}, success()),  # type: ignore[arg-type]
    "client": Client(
        base_url="https://chat.example.com",
        headers={"Authorization": SECRET},
        cookies={"sessionid": SECRET},
        httpx_args={"auth": ("a@b.c", SECRET)},
    ),
    "authenticated client": AuthenticatedClient(
        base_url="https://chat.example.com", token=SECRET, headers={"X-Key": SECRET}
    ),
}


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
def test_repr_hides_secrets(shown: object) -> None:
    for text in (repr(shown), str(shown), f"{shown}"):
        assert text.startswith(type(shown).__name__)
        assert SECRET not in text


def test_hidden_values_are_stored() -> None:
    assert body().to_dict() == {"username": "iago@zulip.com", "password": SECRET, "another": SECRET}
    assert success().api_key == success()["token"] == SECRET


def test_generated_header() -> None:
    modules = list(PACKAGE.rglob("*.py"))
    assert len(modules) >= 10
    for module in modules:
        assert module.read_text(encoding="utf-8").startswith("# Written by `make generate`")


def test_generated_files() -> None:
    # git knows what is committed; caches of a test run are none of its business.
    done = subprocess.run(
        ["git", "ls-files", "generated"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    files = [Path(name) for name in done.stdout.split()]
    assert {file.suffix for file in files} == {".py", ".typed"}
    assert {file.parts[:2] for file in files} == {("generated", "zulip_auth_client")}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of what generating needs, outside of the project."""
    for name in ("openapi", "scripts", "generated"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    return tmp_path


def run(root: Path, script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", str(root / "scripts" / script)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_changed_description(copy: Path) -> None:
    description = copy / "openapi" / "zulip-auth.yaml"
    before = contents(copy)
    text = description.read_text(encoding="utf-8")
    assert text.count("summary: Log in with a password") == 1
    description.write_text(text.replace("Log in with a password", "Log in with a secret"))
    assert run(copy, "check_generated.py").returncode == 1
    assert run(copy, "generate.py").returncode == 0
    after = contents(copy)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed == {
        "openapi/zulip-auth.yaml",
        "generated/zulip_auth_client/api/authentication/fetch_api_key.py",
    }
    assert run(copy, "check_generated.py").returncode == 0


@pytest.mark.parametrize("how", ["edited", "added", "removed"])
def test_edited_client_fails_check(copy: Path, how: str) -> None:
    errors = copy / "generated" / "zulip_auth_client" / "errors.py"
    if how == "edited":
        errors.write_bytes(errors.read_bytes() + b"\n")
    elif how == "added":
        (errors.parent / "more.py").touch()
    else:
        errors.unlink()
    done = run(copy, "check_generated.py")
    assert done.returncode == 1
    assert ("more.py" if how == "added" else "errors.py") in done.stderr


def test_generator_warning_fails(copy: Path) -> None:
    description = copy / "openapi" / "zulip-auth.yaml"
    before = contents(copy / "generated")
    text = description.read_text(encoding="utf-8")
    description.write_text(text.replace("application/json", "application/x-unknown"))
    done = run(copy, "generate.py")
    assert done.returncode == 1
    assert "the generator failed" in done.stderr
    assert contents(copy / "generated") == before  # nothing half-written
