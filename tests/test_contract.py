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
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--seed", "1"]
    command += options
    return subprocess.run(command, cwd=tmp, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("dev_login", ["on", "production"])
def test_fake_server_conforms(dev_login: str, server: FakeZulip, tmp_path: Path) -> None:
    server.dev_login = dev_login  # type: ignore[assignment]
    server.realm.email_usernames = dev_login == "on"
    result = schemathesis(DESCRIPTION, server, tmp_path)
    assert result.returncode == 0, result.stdout
    assert len(server.requests) > 10
    # A regeneration replaced the key, after requests that used it.
    assert f'"{server.account("iago@zulip.com").api_key}"' not in config(tmp_path)


MUTATIONS = {
    "missing response": (
        '        "401":\n          $ref: "#/components/responses/AuthenticationFailed"\n',
        "",
    ),
    "required field that is never sent": (
        "required: [result, msg]",
        "required: [result, msg, color]",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), MUTATIONS.values(), ids=MUTATIONS)
def test_wrong_description_fails(
    before: str, after: str, server: FakeZulip, tmp_path: Path
) -> None:
    text = DESCRIPTION.read_text(encoding="utf-8")
    assert before in text
    mutated = tmp_path / "mutated.yaml"
    mutated.write_text(text.replace(before, after), encoding="utf-8")
    result = schemathesis(mutated, server, tmp_path, "--include-path", "/fetch_api_key")
    assert result.returncode == 1, result.stdout
    assert "FAILURES" in result.stdout
