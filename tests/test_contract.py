"""The stand-in server answers as the description says, and schemathesis would notice if not."""

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


@pytest.fixture
def server() -> Iterator[FakeZulip]:
    with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        server.realm.external_methods.append(ExternalMethod("google", "Google"))
        yield server


def config(scratch: Path) -> str:
    return (scratch / "schemathesis.toml").read_text(encoding="utf-8")


def schemathesis(
    description: Path, server: FakeZulip, scratch: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    key = server.account("iago@zulip.com").api_key
    auth = f'[auth]\nbasic = {{ username = "iago@zulip.com", password = "{key}" }}\n'
    (scratch / "schemathesis.toml").write_text(auth, encoding="utf-8")
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", str(description)]
    command += ["--url", f"{server.site}/api/v1", "--checks", ",".join(CHECKS), "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--seed", "1"]
    command += more
    return subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("dev_login", ["on", "production"])
def test_fake_server_conforms(dev_login: str, server: FakeZulip, tmp_path: Path) -> None:
    server.dev_login = dev_login  # type: ignore[assignment]
    server.realm.email_usernames = dev_login == "on"
    done = schemathesis(DESCRIPTION, server, tmp_path)
    assert done.returncode == 0, done.stdout
    assert len(server.requests) > 10
    # One 200 was the end of the key, so that others had been looked at before.
    assert f'"{server.account("iago@zulip.com").api_key}"' not in config(tmp_path)


MUTATIONS = {
    "an answer left out": (
        '        "401":\n          $ref: "#/components/responses/Refused"\n',
        "",
    ),
    "a field that is never there": ("required: [result, msg]", "required: [result, msg, colour]"),
}


@pytest.mark.parametrize(("before", "after"), MUTATIONS.values(), ids=MUTATIONS)
def test_wrong_description_fails(
    before: str, after: str, server: FakeZulip, tmp_path: Path
) -> None:
    text = DESCRIPTION.read_text(encoding="utf-8")
    assert before in text
    mutated = tmp_path / "mutated.yaml"
    mutated.write_text(text.replace(before, after), encoding="utf-8")
    done = schemathesis(mutated, server, tmp_path, "--include-path", "/fetch_api_key")
    assert done.returncode == 1, done.stdout
    assert "FAILURES" in done.stdout
