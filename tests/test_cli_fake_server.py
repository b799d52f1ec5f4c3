"""The command `fake-server`. tests/test_testing_program.py runs the server."""

from __future__ import annotations

import sys

import pytest

from zulip_auth._cli import main


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fake-server", "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: zulip-auth fake-server [-h] [--host HOST]")


def test_without_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "zulip_auth.testing.program", None)
    assert main(["fake-server"]) == 78
    # With the extra missing, the message names it: see tests/test_testing.py.
    assert capsys.readouterr().err.startswith("zulip-auth: import of zulip_auth.testing.program")
