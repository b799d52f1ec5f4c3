"""The command as one file, as packagers build it: no import and no file may be missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipapp
from importlib.util import find_spec
from pathlib import Path

import pytest

from helpers.cli_runner import CLIRunner
from helpers.constants import USERNAME
from zulip_auth import __version__

OURS = ("zulip_auth", "zulip_auth_client")
REQUIRED = ("anyio", "attr", "attrs", "certifi", "h11", "httpcore", "httpx", "idna")
TESTING = ("click", "jwt", "starlette", "uvicorn")
MAIN = "import sys\nfrom zulip_auth.__main__ import main\nsys.exit(main())\n"


def create_archive(archive: Path) -> None:
    directory = archive.with_suffix(".packages")
    directory.mkdir()
    for name in (*OURS, *REQUIRED, *TESTING, "typing_extensions"):
        spec = find_spec(name)
        assert spec is not None and spec.origin is not None
        source = Path(spec.origin)
        if source.name == "__init__.py":
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source.parent, directory / name, ignore=ignore)
        else:
            shutil.copy(source, directory)
    (directory / "__main__.py").write_text(MAIN)
    zipapp.create_archive(directory, archive)
    shutil.rmtree(directory)


@pytest.mark.slow
def test_zipapp(tmp_path: Path, home: CLIRunner) -> None:
    """The command from an archive logs in to the stand-in server from the archive."""
    archive = tmp_path / "zulip-auth.pyz"
    create_archive(archive)
    # -I and -S: nothing of this environment.
    command = [sys.executable, "-I", "-S", "-W", "error", str(archive)]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments],
            input="secret\n",
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            env=home.environment(),
        )
        return done.stdout

    assert run("--version") == f"zulip-auth {__version__}\n"
    assert "-F _zulip_auth zulip-auth" in run("completion", "bash")
    with subprocess.Popen(
        [*command, "fake-server", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            site = server.stdout.readline().split()[-1]
            run("login", site, USERNAME, "--password-stdin")
            assert f"at {site}.\nThe API key is valid." in run("whoami")
        finally:
            server.terminate()
