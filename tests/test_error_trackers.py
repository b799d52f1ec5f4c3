"""Error trackers record local variables, and evaluate expressions, of each frame."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from helpers import failures
from helpers.secret_scanner import SecretScanner

EXPECTED = {
    "wrong password": "AuthenticationFailedError",
    "echoed password": "AuthenticationFailedError",
    "lost connection": "APIConnectionError",
    "malformed response": "InvalidResponseError",
    "unreachable": "APIConnectionError",
    "cancelled": "TimeoutError",
    "invalid password": "InvalidInputError",
    "misspelled option": "TypeError",
    "bug": "RuntimeError",
    "KeyboardInterrupt": "KeyboardInterrupt",
    "rejected token": "AuthenticationFailedError",
    "rejected key": "InvalidApiKeyError",
    "key instead of credentials": "InvalidInputError",
    "lost new key": "APIConnectionError",
    "source, wrong password": "AuthenticationFailedError",
    "source, refresh": "AuthenticationFailedError",
    "source, invalid password": "InvalidInputError",
    "httpx auth, wrong password": "AuthenticationFailedError",
    "httpx auth with a tuple": "InvalidInputError",
    "save": "ZuliprcError",
}


@pytest.mark.slow
def test_error_trackers_record_no_secret() -> None:
    process = subprocess.run(
        [sys.executable, failures.__file__], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    scanner = SecretScanner(failures.password(), failures.api_key())
    found: dict[str, dict[str, str]] = {tracker: {} for tracker in failures.RECORDERS}
    for line in process.stdout.splitlines():
        tracker, name, error, report = json.loads(line)
        if name == "leak":
            with pytest.raises(AssertionError):  # the tracker would show a secret
                scanner.check(report, "leak")
            continue
        assert error in report
        scanner.check(report, f"{tracker}: {name}")
        found[tracker][name] = error
    assert found == dict.fromkeys(failures.RECORDERS, EXPECTED)
