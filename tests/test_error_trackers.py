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
    "save": "ZuliprcError",
}


@pytest.mark.slow
@pytest.mark.parametrize("tracker", failures.RECORDERS)
def test_error_tracker_records_no_secret(tracker: str) -> None:
    process = subprocess.run(
        [sys.executable, failures.__file__, tracker], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    reports = {name: (error, report) for name, error, report in lines}
    with pytest.raises(AssertionError):  # the tracker would show a secret
        scanner().check(reports.pop("leak")[1], "leak")
    assert {name: error for name, (error, _) in reports.items()} == EXPECTED
    for name, (error, report) in reports.items():
        assert error in report
        scanner().check(report, name)


def scanner() -> SecretScanner:
    return SecretScanner(failures.password(), failures.api_key())
