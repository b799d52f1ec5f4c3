"""FakeZulip conforms to the OpenAPI description, checked by schemathesis."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zulip_auth.testing import ExternalMethod, FakeZulip

DESCRIPTION = Path(__file__).parent.parent / "openapi" / "zulip-auth.yaml"
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
]


# Zulip, and so FakeZulip, lists users by POST too. The description does not need it.
UNDECLARED = """
[[operations]]
include-path = "/dev_list_users"
checks.unsupported_method.enabled = false
"""


@pytest.fixture
def server() -> Iterator[FakeZulip]:
    with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        server.realm.external_methods.append(ExternalMethod("google", "Google"))
        yield server


def config(tmp: Path) -> str:
    return (tmp / "schemathesis.toml").read_text(encoding="utf-8")


def schemathesis(
    description: Path, server: FakeZulip, tmp: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    key = server.account("iago@zulip.com").api_key
    auth = f'[auth]\nbasic = {{ username = "iago@zulip.com", password = "{key}" }}\n'
    checks = "[checks]\nenabled = false\n" + "".join(f"{name}.enabled = true\n" for name in CHECKS)
    (tmp / "schemathesis.toml").write_text(auth + checks + UNDECLARED, encoding="utf-8")
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", str(description)]
    command += ["--url", f"{server.site}/api/v1", "--no-color"]
    command += ["--max-examples", "8", "--seed", "1", *options]
    return subprocess.run(command, cwd=tmp, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_fake_server_conforms(server: FakeZulip, tmp_path: Path) -> None:
    result = schemathesis(DESCRIPTION, server, tmp_path, "--phases", "examples,coverage,fuzzing")
    assert result.returncode == 0, result.stdout
    assert len(server.requests) > 10
    # A regeneration replaced the key, after requests that used it.
    assert f'"{server.account("iago@zulip.com").api_key}"' not in config(tmp_path)


@pytest.mark.slow
def test_wrong_description_fails(server: FakeZulip, tmp_path: Path) -> None:
    text = DESCRIPTION.read_text(encoding="utf-8")
    before = '        "401":\n          $ref: "#/components/responses/AuthenticationFailed"\n'
    assert before in text
    mutated = tmp_path / "mutated.yaml"
    mutated.write_text(text.replace(before, ""), encoding="utf-8")
    result = schemathesis(mutated, server, tmp_path, "--phases", "examples")
    assert result.returncode == 1, result.stdout
    assert "FAILURES" in result.stdout
