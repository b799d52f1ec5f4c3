"""Compare zulip-auth with other clients in one run (`make bench`).

Times depend on the machine and wall-clock times on its load, so the results are ratios of CPU
times: in each round every client runs once, in random order. A ratio is the median of those of
the rounds, in which both clients met about the same load.
`--publish` updates docs/fleets.md.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clients import (
    CLIENT,
    CLIENT_AIOHTTP,
    CLIENTS,
    HTTPX_AIOHTTP,
    HTTPX_AIOHTTP_PER_LOGIN,
    HTTPX_PER_LOGIN,
    HTTPX_POOLED,
    LOGIN,
    OFFICIAL,
    Login,
    Target,
)
from processes import measure_memory, measure_processes

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "fleets.md"
BEGIN, END = "<!-- begin: written by `make bench ARGS=--publish` -->\n", "<!-- end -->"
ROUNDS = 21
LOGINS = {1: 40, 50: 200}  # in a round, by concurrency
PACKAGES = ("httpx", "httpcore", "httpx-aiohttp", "aiohttp", "zulip")

Times = dict[str, dict[str, list[float]]]
"""CPU milliseconds per login in each round, by "scheme, concurrency" and client."""

Goals = list[tuple[str, float, float | None]]
"""A comparison, the measured value, and the maximum if there is one."""


@contextmanager
def run_server() -> Iterator[dict[str, Any]]:
    """Run the server in its own process; yield its ports and CA path."""
    process = subprocess.Popen(
        [sys.executable, HERE / "serve.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


async def run_logins(login: Login, logins: int, concurrency: int) -> None:
    remaining = iter(range(logins))

    async def worker() -> None:
        for _ in remaining:
            await login()

    await asyncio.gather(*(worker() for _ in range(concurrency)))


async def compare(target: Target, concurrency: int, rounds: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds per login of each client, by round."""
    names = [name for name in CLIENTS if concurrency == 1 or name != OFFICIAL]
    times: dict[str, list[float]] = {name: [] for name in names}
    async with AsyncExitStack() as stack:
        logins = {name: await stack.enter_async_context(CLIENTS[name](target)) for name in names}
        for index in range(1 + rounds):
            for name in random.sample(names, len(names)):
                gc.collect()  # the garbage of the previous client
                start = time.process_time()
                await run_logins(logins[name], LOGINS[concurrency], concurrency)
                if index:  # the first round warms up
                    seconds = time.process_time() - start
                    times[name].append(seconds * 1000 / LOGINS[concurrency])
    return times


def ratio(times: dict[str, list[float]], ours: str, other: str) -> float:
    return statistics.median(a / b for a, b in zip(times[ours], times[other], strict=True))


def run(rounds: int) -> tuple[Times, Goals]:
    """Run all benchmarks."""
    times: Times = {}
    with run_server() as server:
        http = Target(f"http://127.0.0.1:{server['http']}", server["ca"])
        https = Target(f"https://127.0.0.1:{server['https']}", server["ca"])
        for scheme, target in (("http", http), ("https", https)):
            for concurrency in LOGINS:
                column = f"{scheme}, {concurrency}"
                times[column] = asyncio.run(compare(target, concurrency, rounds))
                print(f"{column} concurrent: done", file=sys.stderr)
        cpu, stop = measure_processes(http, https, rounds)
        growth = max(measure_memory(http, name) for name in (CLIENT, CLIENT_AIOHTTP))
    bare = statistics.median(cpu["python"])
    imports = {name: [ms - bare for ms in values] for name, values in cpu.items()}
    goals: Goals = [
        (f"{ours} / {other}, {column}", ratio(times[column], ours, other), maximum)
        for ours, other, column, maximum in (
            (LOGIN, HTTPX_PER_LOGIN, "http, 1", 1.1),
            (LOGIN, HTTPX_PER_LOGIN, "https, 1", 1.1),
            (CLIENT, HTTPX_POOLED, "http, 50", 0.8),
            (CLIENT, HTTPX_POOLED, "https, 50", 1.1),
            (CLIENT_AIOHTTP, HTTPX_AIOHTTP_PER_LOGIN, "http, 50", None),
            (CLIENT_AIOHTTP, HTTPX_AIOHTTP, "http, 50", 1.15),
            (CLIENT_AIOHTTP, HTTPX_POOLED, "http, 50", 0.2),
        )
    ]
    for scheme in ("http", "https"):
        name = f"process with one login over {scheme} / the same with httpx"
        goals.append((name, ratio(cpu, f"login(), {scheme}", f"httpx, {scheme}"), 1.25))
    return times, [
        *goals,
        (
            "`zulip-auth whoami` / zulip's `get_profile()`",
            ratio(cpu, "whoami", "get_profile"),
            None,
        ),
        ("`zulip-auth --version` / `python -c pass`", ratio(cpu, "--version", "python"), 4.0),
        *(
            (f"`{name}` / `import httpx`", ratio(imports, name, "import httpx"), maximum)
            for name, maximum in (
                ("import zulip_auth", 0.4),
                ("from zulip_auth import AuthClient", None),
            )
        ),
        ("MiB that 10,000 logins take more than 1,000", growth, 10.0),
        ("ms for which the first login over https stops the event loop", stop * 1000, 50.0),
    ]


def render(times: Times, goals: Goals, rounds: int) -> str:
    """Return the results as Markdown."""
    model = re.search(r"model name\s+: (.*)", Path("/proc/cpuinfo").read_text())
    machine = f"{os.cpu_count()} CPUs, {model[1] if model else platform.machine()}"
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        f"CPU milliseconds per login, with 1 or 50 concurrent ones, medians of {rounds} rounds "
        f"({machine}, Python {platform.python_version()}, {versions}):",
        "",
        f"| | {' | '.join(times)} |",
        "|---|" + "---:|" * len(times),
    ]
    for name in CLIENTS:
        cells = [
            f"{statistics.median(row[name]):.2f}" if name in row else "" for row in times.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "Ratios of CPU times, and the goals:",
        "",
        "| | measured | goal |",
        "|---|---:|---|",
    ]
    for name, value, maximum in goals:
        goal = "" if maximum is None else f"at most {maximum:g}"
        missed = maximum is not None and value > maximum
        lines.append(f"| {name} | {value:.2f} | {goal}{', missed' if missed else ''} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--publish", action="store_true", help="update docs/fleets.md")
    options = parser.parse_args()
    text = render(*run(options.rounds), options.rounds)
    print(text)
    if options.publish:
        head, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, end, tail = rest.partition(END)
        PAGE.write_text(f"{head}{begin}\n{text}\n\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
