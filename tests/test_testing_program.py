"""The stand-in server as a program."""

from __future__ import annotations

import configparser
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import zipapp
from collections.abc import Callable
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

    def __call__(
        self, client: Callable[[str], None], *arguments: str, signum: int = signal.SIGINT
    ) -> int:
        """Run the program; when the client has ended, send a signal. Return the exit code."""
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
                os.kill(os.getpid(), signum)

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


@pytest.mark.parametrize(("signum", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_default_accounts(signum: int, exit_code: int, run: Run) -> None:
    def client(site: str) -> None:
        login = {"username": "iago@zulip.com", "password": "secret"}
        response = httpx.post(f"{site}/api/v1/fetch_api_key", data=login)
        assert response.json()["email"] == "iago@zulip.com"
        assert run.output.startswith(f"FakeZulip is running at {site}\n")
        assert "  user  iago@zulip.com: password secret\n" in run.output
        assert re.search(
            r"^  bot   echo-bot@zulipdev\.com: API key \w{32}$", run.output, re.MULTILINE
        )
        assert f"\n  zulip-auth login {site} iago@zulip.com\n" in run.output

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert run(client, signum=signum) == exit_code
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_commands_that_it_prints(run: Run, capsys: Capture) -> None:
    def client(site: str) -> None:
        commands = re.findall(r"^  (curl .*)$", run.output, re.MULTILINE)
        assert len(commands) == 3
        for command in commands:
            shell = subprocess.run(command, shell=True, capture_output=True, check=True)
            assert b'"error"' not in shell.stdout, shell.stdout
        response = httpx.get(f"{site}/api/v1/users/me")
        assert response.status_code == 502  # the last command
        [auth, *_] = re.findall(r"-u (\S+):(\w+)", run.output)
        url = f"{site}/api/v1/realm/domains"
        assert httpx.get(url, auth=auth).status_code == 404
        expected = "FakeZulip does not serve GET /api/v1/realm/domains.\n"
        while capsys.readouterr().err != expected:
            time.sleep(0.01)

    assert run(client) == 130


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
        config = configparser.ConfigParser()
        config.read(tmp_path / "echo-bot@zulipdev.com.zuliprc")
        account = config["api"]
        assert account["cert_bundle"] == str(tmp_path / "ca.pem")
        context = ssl.create_default_context(cafile=account["cert_bundle"])
        auth = account["email"], account["key"]
        url = f"{site}/api/v1/users/me"
        assert httpx.get(url, verify=context, auth=auth).json()["full_name"] == "Echo"
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            httpx.get(url)

        assert f"  CA    {tmp_path}/ca.pem\n" in run.output

    assert run(client, "--tls", "--write", str(tmp_path)) == 130


def test_tls_with_temporary_ca(run: Run) -> None:
    def client(site: str) -> None:
        assert httpx.get(f"{site}/api/v1/server_settings", verify=False).status_code == 200

    assert run(client, "--tls", signum=signal.SIGTERM) == 143
    path = re.search(r"^  CA    (\S+)$", run.output, re.MULTILINE)
    assert path and not Path(path[1]).exists()


def test_tls_without_trustme(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    assert main(["--tls", "--port", "0"]) == 69
    assert "--tls requires an extra: pip install 'zulip-auth[testing]'" in capsys.readouterr().err


def test_taken_port(capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 69
    output = capsys.readouterr()
    expected = f"Could not listen on 127.0.0.1:{port}: Address already in use. Pass another --port"
    assert expected in output.err
    assert output.out == ""


def test_unknown_address(capsys: Capture) -> None:
    assert main(["--host", "192.0.2.1", "--port", "0"]) == 69
    assert "Could not listen on 192.0.2.1:0: " in capsys.readouterr().err


def test_unwritable_directory(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--port", "0", "--write", str(tmp_path / "file" / "x")]) == 73
    assert f"Could not write {tmp_path}/file/x: Not a directory\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("--port 99999", "argument --port: expected a number from 0 to 65535"),
        ("--port x", "argument --port: expected a number"),
        ("--hots x", "unrecognized arguments: --hots x"),
        ("--user a@example.com", "argument --user: expected EMAIL:PASSWORD"),
        ("--user a/b:x", "argument --user: expected EMAIL:PASSWORD"),
        ("--user a@b.c:x --user A@b.c:y", "argument --user: A@b.c occurs twice"),
        ("--bot a@example.com:One", "argument --bot: no --user a@example.com before it"),
        ("--user a@b.c:x --bot a@b.c:One --bot a@b.c:One", "argument --bot: one-bot@"),
    ],
)
def test_invalid_arguments(arguments: str, error: str, capsys: Capture) -> None:
    try:
        assert main(arguments.split()) == 64
    except SystemExit as exit_:
        assert exit_.code == 64
    assert error in capsys.readouterr().err


def first_line(*command: str | Path, directory: Path) -> tuple[str, int]:
    """Run a program until it has printed a line; return the line and the exit code."""
    environment = {**os.environ, "PYTHONPATH": ""}
    process = subprocess.Popen(
        [sys.executable, *command, "--port", "0"],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        line = process.stdout.readline()
        site = line.rsplit(maxsplit=1)[-1]
        assert httpx.get(f"{site}/api/v1/server_settings").json()["realm_name"] == "Zulip Dev"
        process.terminate()
        return line, process.wait(10)


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
@pytest.mark.parametrize(
    "command", [["-m", "zulip_auth.testing"], ["-m", "zulip_auth", "fake-server"]]
)
def test_command(command: list[str], tmp_path: Path) -> None:
    line, exit_code = first_line("-W", "error", *command, directory=tmp_path)
    assert (line[:31], exit_code) == ("FakeZulip is running at http://", 143)


@pytest.mark.slow
def test_zip_archive(tmp_path: Path) -> None:
    """The server reads no file by its path. The same is so in a frozen program."""
    package = Path(zulip_auth.__file__).parent
    sources = [path for path in package.rglob("*") if path.suffix in (".py", ".json")]
    for path in sources:
        copy = tmp_path / "source" / "zulip_auth" / path.relative_to(package)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    archive = tmp_path / "server.pyz"
    (tmp_path / "source" / "__main__.py").write_text(
        "import sys, zulip_auth.testing.program as program\n"
        "assert 'server.pyz' in program.__file__\n"
        "sys.exit(program.main())\n"
    )
    zipapp.create_archive(tmp_path / "source", archive)
    line, exit_code = first_line(archive, directory=tmp_path)
    assert (line[:31], exit_code) == ("FakeZulip is running at http://", 143)
