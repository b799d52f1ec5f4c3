"""The stand-in server's package: its optional dependencies."""

from __future__ import annotations

import subprocess
import sys

import pytest


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
