"""The stand-in server as a program."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import zulip_auth
from zulip_auth.testing.program import main

ROOT = Path(__file__).parent.parent
Capture = pytest.CaptureFixture[str]


class Run:
    """A run of the program in this process, with a client in a thread."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture, self.output = capture, ""

    def __call__(self, client: Callable[[str], None], *arguments: str) -> int:
        """Run the program; when the client has ended, interrupt it. Return the exit code."""
        errors: list[BaseException] = []

        def run_client() -> None:
            try:
                while not self.output.endswith("stop.\n"):
                    time.sleep(0.01)
                    self.output += self.capture.readouterr().out
                client(self.output.split(maxsplit=5)[4])
            except BaseException as error:  # noqa: BLE001 - raised in the main thread
                errors.append(error)
            finally:
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=run_client)
        thread.start()
        exit_code = main(["--port", "0", *arguments])
        thread.join()
        if errors:
            raise errors[0]
        return exit_code


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


def test_default_accounts(run: Run, capsys: Capture) -> None:
    def client(site: str) -> None:
        assert run.output.startswith(f"FakeZulip is running at {site}\n")
        assert "  user  iago@zulip.com: password secret\n" in run.output
        assert f"\n  zulip-auth login {site} iago@zulip.com\n" in run.output
        [key] = re.findall(
            r"^  bot   echo-bot@zulipdev\.com: API key (\w{32})$", run.output, re.MULTILINE
        )
        commands = re.findall(r"^  (curl .*)$", run.output, re.MULTILINE)
        assert len(commands) == 3
        for command in commands:
            shell = subprocess.run(command, shell=True, capture_output=True, check=True)
            assert b'"error"' not in shell.stdout, shell.stdout
        response = httpx.get(f"{site}/api/v1/users/me")
        assert response.status_code == 502  # the last command
        auth, url = ("echo-bot@zulipdev.com", key), f"{site}/api/v1/realm/domains"
        assert httpx.get(url, auth=auth).status_code == 404
        expected = "FakeZulip does not serve GET /api/v1/realm/domains.\n"
        while capsys.readouterr().err != expected:
            time.sleep(0.01)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert run(client) == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_organizations_and_zuliprcs(run: Run, tmp_path: Path) -> None:
    directory = tmp_path / "new" / "directory"
    options = ["--realm", "localhost", "--user", "a@example.com:x:y", "--bot", "a@example.com:One"]
    options += ["--realm", "Chat.example.com", "--user", "a@example.com:z", "--any-host"]

    def client(site: str) -> None:
        port = site.rpartition(":")[2]
        names = {path.name for path in directory.iterdir()}
        assert names == {
            "a@example.com.zuliprc",
            "one-bot@zulipdev.com.zuliprc",
            "chat.example.com-a@example.com.zuliprc",
        }
        path = directory / "one-bot@zulipdev.com.zuliprc"
        assert path.stat().st_mode & 0o777 == 0o600
        credentials = zulip_auth.Credentials.load(path)
        assert credentials.site == site == f"http://localhost:{port}"
        response = httpx.get(f"{site}/api/v1/users/me", auth=credentials.basic_auth)
        assert response.json()["full_name"] == "One"
        # Another host name leads to the first organization, and occurs in its URLs.
        name = {"Host": f"fake-zulip:{port}"}
        body = httpx.get(f"{site}/api/v1/server_settings", headers=name).json()
        assert body["realm_url"] == f"http://fake-zulip:{port}"
        login = {"username": "a@example.com", "password": "x:y"}
        url = f"{site}/api/v1/fetch_api_key"
        assert httpx.post(url, data=login, headers=name).status_code == 200
        login["password"] = "z"
        assert httpx.post(url, data=login, headers={"Host": "chat.example.com"}).is_success

        assert f"  user  a@example.com at http://chat.example.com:{port}: passw" in run.output

    assert run(client, "--write", str(directory), *options) == 130


def test_tls(run: Run, tmp_path: Path) -> None:
    def client(site: str) -> None:
        credentials = zulip_auth.Credentials.load(tmp_path / "echo-bot@zulipdev.com.zuliprc")
        assert credentials.cert_bundle == str(tmp_path / "ca.pem")
        context, auth = credentials.ssl_context(), credentials.basic_auth
        assert isinstance(context, ssl.SSLContext)
        body = httpx.get(f"{site}/api/v1/users/me", verify=context, auth=auth).json()
        assert body["full_name"] == "Echo"
        assert f"  CA    {tmp_path}/ca.pem\n" in run.output

    assert run(client, "--tls", "--write", str(tmp_path)) == 130


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "error"),
    [
        ("--port 99999", 64, "argument --port: expected a number from 0 to 65535"),
        ("--port x", 64, "argument --port: expected a number"),
        ("--hots x", 64, "unrecognized arguments: --hots x"),
        ("--user a@example.com", 64, "argument --user: expected EMAIL:PASSWORD"),
        ("--user a/b:x", 64, "argument --user: expected EMAIL:PASSWORD"),
        ("--user a@b.c:x --user A@b.c:y", 64, "argument --user: A@b.c occurs twice"),
        ("--bot a@example.com:One", 64, "argument --bot: no --user a@example.com before it"),
        ("--user a@b.c:x --bot a@b.c:One --bot a@b.c:One", 64, "argument --bot: one-bot@"),
        ("--tls --port 0", 69, "--tls requires an extra: pip install 'zulip-auth[testing]'"),
        ("--host 192.0.2.1 --port 0", 69, "Could not listen on 192.0.2.1:0: "),
        ("--port TAKEN", 69, "Could not listen on 127.0.0.1:TAKEN: Address already in use. Pass "),
        ("--port 0 --write /dev/null/x", 73, "Could not write /dev/null/x: Not a directory\n"),
    ],
)
def test_errors(
    arguments: str,
    exit_code: int,
    error: str,
    taken_port: int,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    try:
        actual = main(arguments.replace("TAKEN", str(taken_port)).split())
    except SystemExit as exit_:
        actual = int(exit_.code or 0)
    output = capsys.readouterr()
    assert (actual, output.out) == (exit_code, "")
    assert error.replace("TAKEN", str(taken_port)) in output.err


BLOCK_RE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND_RE = re.compile(r"^\$ (.*)\n((?:[^$].*\n)*)", re.MULTILINE)


def test_documented_commands(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    blocks = "".join(match[1] for match in BLOCK_RE.finditer(page))
    [(start, greeting), *commands] = COMMAND_RE.findall(blocks)
    assert start == "zulip-auth fake-server --write accounts"
    monkeypatch.chdir(tmp_path)

    def check(output: str, expected: str, site: str) -> None:
        pattern = re.escape(expected.strip().replace("http://127.0.0.1:9991", site))
        assert re.match(pattern.replace("…", ".*"), output.strip()), output

    def client(site: str) -> None:
        check(run.output, greeting, site)
        script = "".join(f"{command}\nprintf '\\n@@@\\n'\n" for command, _ in commands)
        shell = subprocess.run(
            ["sh", "-c", script.replace("http://127.0.0.1:9991", site)],
            capture_output=True,
            text=True,
            check=True,
        )
        outputs = shell.stdout.split("\n@@@\n")[:-1]
        for output, (_, expected) in zip(outputs, commands, strict=True):
            check(output, expected, site)

    assert run(client, "--write", "accounts") == 130


@pytest.mark.slow
@pytest.mark.usefixtures("measured_subprocesses")
def test_command(tmp_path: Path) -> None:
    """Run it as a process, with a temporary CA. tests/test_zipapp.py runs `fake-server`."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "zulip_auth.testing", "--port", "0", "--tls"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        lines = list(iter(process.stdout.readline, "Press Ctrl-C to stop.\n"))
        site = lines[0].removeprefix("FakeZulip is running at ").strip()
        [ca] = [line.split()[1] for line in lines if line.startswith("  CA ")]
        context = ssl.create_default_context(cafile=ca)
        body = httpx.get(f"{site}/api/v1/server_settings", verify=context).json()
        assert body["realm_name"] == "Zulip Dev"
        process.terminate()
        assert process.wait(10) == 143
    assert not Path(ca).exists()
