"""Measure whole processes: what a script, a command or a test run costs from a cold start.

Each pair of processes runs alternately, so that both meet the same load of the machine.
CPU seconds are those of the kernel (`RUSAGE_CHILDREN`), user and system together.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import certifi
from attrs import frozen
from clients import PASSWORD, PATH, USERNAME, Target

# As in an installation of httpx without its command line, and without trio, which selenium needs.
PRELUDE = "import sys; sys.modules |= dict.fromkeys(('click', 'trio'))\n"
LOGIN = """
import asyncio, zulip_auth
asyncio.run(zulip_auth.login(SITE, USERNAME, PASSWORD))
"""
RAW_HTTPX = """
import asyncio, httpx
async def login():
    async with httpx.AsyncClient(verify=VERIFY) as http:
        response = await http.post(URL, data={"username": USERNAME, "password": PASSWORD})
        response.raise_for_status().json()["api_key"]
asyncio.run(login())
"""
OFFICIAL = """
import zulip
assert zulip.Client(config_file=ZULIPRC).get_profile()["result"] == "success"
"""
COMMAND = """
from zulip_auth.__main__ import main
sys.argv[:] = ["zulip-auth", *ARGUMENTS]
sys.exit(main())
"""
TEST = "def test_nothing() -> None:\n    pass\n"


@frozen
class Pair:
    """Two processes to compare.

    Attributes:
        ours: Arguments of Python.
        other: Arguments of Python to compare with.
        limits: The targets, by the name of the measure.
    """

    ours: list[str]
    other: list[str]
    limits: Mapping[str, float]


def script(code: str, **names: object) -> list[str]:
    lines = [f"{name} = {value!r}\n" for name, value in names.items()]
    return ["-c", PRELUDE + "".join(lines) + code]


@contextmanager
def create_pairs(http: Target, https: Target) -> Iterator[dict[str, Pair]]:
    """Yield the pairs by name."""
    names = {"USERNAME": USERNAME, "PASSWORD": PASSWORD}

    def raw(target: Target, verify: bool) -> list[str]:
        return script(RAW_HTTPX, URL=target.site + PATH, VERIFY=verify, **names)

    login = script(LOGIN, SITE=http.site, **names)
    with tempfile.TemporaryDirectory() as tmp:
        zuliprc = Path(tmp) / "zuliprc"
        zuliprc.touch(0o600)
        zuliprc.write_text(f"[api]\nemail={USERNAME}\nkey={'k' * 32}\nsite={http.site}\n")
        (Path(tmp) / "test_nothing.py").write_text(TEST)
        pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", tmp]
        yield {
            "login() over http / httpx.AsyncClient(verify=False)": Pair(
                login, raw(http, verify=False), {"CPU ratio": 1.10}
            ),
            "login() over http / httpx.AsyncClient()": Pair(
                login, raw(http, verify=True), {"CPU ratio": 0.95}
            ),
            "login() over https / httpx.AsyncClient()": Pair(
                script(LOGIN, SITE=https.site, **names),
                raw(https, verify=True),
                {"CPU ratio": 1.05},
            ),
            "zulip-auth whoami / official zulip get_profile()": Pair(
                script(COMMAND, ARGUMENTS=["whoami", "--config", str(zuliprc)]),
                script(OFFICIAL, ZULIPRC=str(zuliprc)),
                {"CPU ratio": 1.0, "wall-clock ratio": 0.9},
            ),
            "zulip-auth --version / python -c pass": Pair(
                script(COMMAND, ARGUMENTS=["--version"]), ["-c", "pass"], {"CPU ratio": 4.0}
            ),
            "pytest with the plugin / without": Pair(
                [*pytest, "-p", "zulip_auth._pytest_plugin"], pytest, {"CPU seconds more": 0.02}
            ),
        }


def measure(command: list[str], env: Mapping[str, str]) -> tuple[float, float]:
    """Run a process and return its CPU and wall-clock seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *command], env=env, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def measure_processes(http: Target, https: Target, rounds: int) -> dict[str, dict[str, Any]]:
    """Return the medians in milliseconds of each pair, and what its targets are for."""
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as tmp:
        # The default CA certificates and that of the server, in one file.
        bundle = Path(tmp) / "bundle.pem"
        bundle.write_text(Path(certifi.where()).read_text() + Path(https.ca).read_text())
        env = {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "SSL_CERT_FILE": str(bundle),
        }
        with create_pairs(http, https) as pairs:
            for name, pair in pairs.items():
                results[name] = _measure_pair(pair, env, rounds)
    return results


def _measure_pair(pair: Pair, env: Mapping[str, str], rounds: int) -> dict[str, Any]:
    runs: dict[str, list[tuple[float, float]]] = {"ours": [], "other": []}
    for index in range(1 + rounds):
        commands = [("ours", pair.ours), ("other", pair.other)]
        for side, command in commands if index % 2 else reversed(commands):
            seconds = measure(command, env)
            if index:  # the first round writes the compiled files
                runs[side].append(seconds)
    medians = {
        side: {
            "cpu": statistics.median(cpu for cpu, _ in times) * 1000,
            "wall": statistics.median(wall for _, wall in times) * 1000,
        }
        for side, times in runs.items()
    }
    ours, other = medians["ours"], medians["other"]
    return {
        **medians,
        "CPU ratio": ours["cpu"] / other["cpu"],
        "wall-clock ratio": ours["wall"] / other["wall"],
        "CPU seconds more": (ours["cpu"] - other["cpu"]) / 1000,
        "limits": pair.limits,
    }
