"""Fail unless the stand-in server conforms to the OpenAPI description (`make check`)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from zulip_auth.testing import ExternalMethod, FakeZulip

DESCRIPTION = Path(__file__).resolve().parent.parent / "openapi" / "zulip-auth.yaml"
# Zulip, and so the stand-in, lists users by POST too. The description does not need it.
CONFIG = """
[auth]
basic = {{ username = "{email}", password = "{key}" }}
[checks]
enabled = false
not_a_server_error.enabled = true
status_code_conformance.enabled = true
content_type_conformance.enabled = true
response_headers_conformance.enabled = true
response_schema_conformance.enabled = true
unsupported_method.enabled = true
[[operations]]
include-path = "/dev_list_users"
checks.unsupported_method.enabled = false
"""


def main(description: Path) -> None:
    email = "iago@zulip.com"
    with FakeZulip(users={email: "secret"}) as server, tempfile.TemporaryDirectory() as tmp:
        server.realm.external_methods.append(ExternalMethod("google", "Google"))
        config = CONFIG.format(email=email, key=server.account(email).api_key)
        (Path(tmp) / "schemathesis.toml").write_text(config, encoding="utf-8")
        command = [str(Path(sys.executable).parent / "schemathesis"), "run", str(description)]
        command += ["--url", f"{server.site}/api/v1", "--max-examples", "8", "--seed", "1"]
        command += ["--phases", "examples,coverage,fuzzing", "--no-color"]
        sys.exit(subprocess.run(command, cwd=tmp).returncode)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if sys.argv[1:] else DESCRIPTION)
