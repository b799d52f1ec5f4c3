"""Measure whole processes from a cold start, in CPU time, and the memory of many logins."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import certifi
from clients import PASSWORD, PATH, Target

USERNAME = "iago@zulip.com"
FIRST_LOGIN = Path(__file__).with_name("first_login.py")
# As in an installation of httpx without its command line, and without trio, which selenium needs.
PRELUDE = "import sys; sys.modules |= dict.fromkeys(('click', 'trio'))\n"
RAW = """
import asyncio, httpx
async def login():
    async with httpx.AsyncClient(verify={verify}) as http:
        data = {{"username": {username!r}, "password": {password!r}}}
        (await http.post({url!r}, data=data)).raise_for_status().json()["api_key"]
asyncio.run(login())
"""
LOGIN = """
import asyncio, zulip_auth
asyncio.run(zulip_auth.login({site!r}, {username!r}, {password!r}))
"""
COMMAND = "from zulip_auth.__main__ import main; sys.argv[1:] = {arguments}; sys.exit(main())"
PROFILE = """
import zulip
assert zulip.Client(config_file={zuliprc!r}).get_profile()["result"] == "success"
"""
MEMORY = r"""
import asyncio, re
from pathlib import Path
from bench import run_logins
from clients import CLIENTS, Target
async def main():
    peaks = []
    async with CLIENTS[{name!r}](Target({site!r}, {ca!r})) as login:
        for logins in (1000, 9000):
            await run_logins(login, logins, 50)
            # Linux counts the parent's memory in ru_maxrss.
            status = Path("/proc/self/status").read_text()
            peaks.append(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]))
    print((peaks[1] - peaks[0]) / 1024)
asyncio.run(main())
"""


def measure_processes(
    http: Target, https: Target, rounds: int
) -> tuple[dict[str, list[float]], float]:
    """Return the CPU milliseconds of each process by round, and the longest stop of a loop."""
    with tempfile.TemporaryDirectory() as tmp:
        zuliprc, bundle = Path(tmp) / "zuliprc", Path(tmp) / "bundle.pem"
        zuliprc.touch(0o600)
        zuliprc.write_text(f"[api]\nemail={USERNAME}\nkey={'k' * 32}\nsite={http.site}\n")
        # The default CA certificates and that of the server.
        bundle.write_text(Path(certifi.where()).read_text() + Path(https.ca).read_text())
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "SSL_CERT_FILE": str(bundle)}
        account = {"username": USERNAME, "password": PASSWORD}
        scripts = {
            "python": "pass",
            "import httpx": "import httpx",
            "import zulip_auth": "import zulip_auth",
            "from zulip_auth import AuthClient": "from zulip_auth import AuthClient",
            "--version": COMMAND.format(arguments=["--version"]),
            "whoami": COMMAND.format(arguments=["whoami", "--config", str(zuliprc)]),
            "get_profile": PROFILE.format(zuliprc=str(zuliprc)),
        }
        for scheme, target, verify in (("http", http, False), ("https", https, True)):
            raw = RAW.format(url=target.site + PATH, verify=verify, **account)
            scripts[f"httpx, {scheme}"] = raw
            scripts[f"login(), {scheme}"] = LOGIN.format(site=target.site, **account)
        times: dict[str, list[float]] = {name: [] for name in scripts}
        stops: list[float] = []
        for index in range(1 + rounds):
            for name in random.sample(list(scripts), len(scripts)):
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                run("-c", PRELUDE + scripts[name], env=env)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                if index:  # the first round writes the compiled files
                    times[name].append(seconds * 1000)
            stops.append(float(run(str(FIRST_LOGIN), https.site, *account.values(), env=env)))
    return times, max(stops[1:])


def measure_memory(target: Target, name: str) -> float:
    """Return by how many MiB the peak of 10,000 logins exceeds that of the first 1,000."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return float(run("-c", MEMORY.format(name=name, site=target.site, ca=target.ca), env=env))


def run(*arguments: str, env: dict[str, str]) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout
