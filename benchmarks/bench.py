"""Compare zulip-auth with other clients in one run and print ratios (`make bench`).

Absolute times depend on the machine, and wall-clock times on its load. Every client
therefore runs once in each round, and the results are ratios of medians of CPU time.

Measured, unless it would take too long:

- wall-clock and CPU seconds per login with 1, 10, 50, 200 and 1,000 concurrent logins
  over http, and with 1 and 50 over https. Slow clients are left out at 1,000;
  synchronous clients, and clients that load certificates for each login, run only one
  login at a time;
- the same for 100, 1,000 and 10,000 logins, 50 at a time, for `AuthClient` over both
  transports: whether long runs get slower;
- peak memory and opened sockets with 1, 100 and 1,000 concurrent logins, each in its
  own process;
- CPU and wall-clock time of whole processes, in alternating pairs (processes.py);
- import times, each in a fresh process with compiled files, as in an installation, and
  without the command line of httpx, which a test environment may contain.

Requires Linux for the peak memory in /proc. `--publish` updates docs/fleets.md and its
plot.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import report
from clients import CLIENTS, SYNCHRONOUS, Login, Target
from processes import PRELUDE, measure_processes

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
ROUNDS = 7
PROCESS_ROUNDS = 9
CONCURRENCY = (1, 10, 50, 200, 1000)
# Logins per round: enough to measure, few enough for the slowest client.
LOGINS = {1: 60, 10: 100, 50: 200, 200: 200, 1000: 1000}
# At 1,000 concurrent logins, the other clients would take minutes.
FAST = {*report.OURS, "httpx, pooled", "httpx over httpx-aiohttp", "aiohttp, pooled"}
IMPORTS = ("zulip_auth", "zulip_auth._client", "httpx", "zulip", "aiohttp")
PACKAGES = ("httpx", "httpcore", "httpx2", "httpx-aiohttp", "aiohttp", "zulip", "requests", "attrs")


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

    await asyncio.gather(*(worker() for _ in range(min(concurrency, logins))))


async def measure_round(login: Login, logins: int, concurrency: int) -> tuple[float, float]:
    """Return the wall-clock and the CPU seconds per login."""
    gc.collect()  # the garbage of the previous client
    wall, cpu = time.perf_counter(), time.process_time()
    await run_logins(login, logins, concurrency)
    return (time.perf_counter() - wall) / logins, (time.process_time() - cpu) / logins


async def compare(target: Target, concurrency: int, names: list[str], rounds: int) -> report.Rows:
    """Measure each client once in each round; return the medians in milliseconds."""
    wall_times: dict[str, list[float]] = {name: [] for name in names}
    cpu_times: dict[str, list[float]] = {name: [] for name in names}
    contexts = {name: CLIENTS[name](target) for name in names}
    logins = {name: await context.__aenter__() for name, context in contexts.items()}
    for name in names:  # warm up
        await run_logins(logins[name], min(concurrency, LOGINS[concurrency]), concurrency)
    for index in range(rounds):
        for name in names if index % 2 else reversed(names):
            wall, cpu = await measure_round(logins[name], LOGINS[concurrency], concurrency)
            wall_times[name].append(wall)
            cpu_times[name].append(cpu)
    for context in contexts.values():
        await context.__aexit__(None, None, None)
    return {
        name: {
            "ms": statistics.median(wall_times[name]) * 1000,
            "cpu_ms": statistics.median(cpu_times[name]) * 1000,
            "rounds_ms": [wall * 1000 for wall in wall_times[name]],
        }
        for name in names
    }


async def measure_scale(target: Target, rounds: int) -> report.Rows:
    """Return the milliseconds per login for 100, 1,000 and 10,000 logins, 50 at a time."""
    results: dict[str, dict[int, list[float]]] = {}
    for name in ("AuthClient", "AuthClient over httpx-aiohttp"):
        async with CLIENTS[name](target) as login:
            await run_logins(login, 100, 50)
            times = results[name] = {100: [], 1000: [], 10_000: []}
            for _ in range(rounds):
                # Repeat the shortest run, which is over within milliseconds.
                for logins, repeats in ((100, 4), (1000, 1), (10_000, 1)):
                    for _ in range(repeats):
                        times[logins].append((await measure_round(login, logins, 50))[0])
    return {
        name: {str(logins): statistics.median(seconds) * 1000 for logins, seconds in times.items()}
        for name, times in results.items()
    }


def measure_memory(target: Target, name: str, concurrency: int, logins: int) -> dict[str, float]:
    """Return the peak memory and the connections of logins in a fresh process."""
    command = [sys.executable, __file__, "--measure", name, target.site, target.ca]
    output = subprocess.run(
        [*command, str(concurrency), str(logins)], capture_output=True, check=True, text=True
    ).stdout
    result: dict[str, float] = json.loads(output)
    return result


async def print_memory(name: str, target: Target, concurrency: int, logins: int) -> None:
    """Measure memory and connections in this process and print them as JSON."""
    async with CLIENTS[name](target) as login:
        await login()  # loads everything that is loaded lazily
        count_connections(target)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = read_memory("VmRSS")
        await run_logins(login, logins, concurrency)
        added = read_memory("VmHWM") - before
    result = {"kib": read_memory("VmHWM"), "added_kib": added}
    print(json.dumps({**result, "connections": count_connections(target)}))


def read_memory(field: str) -> int:
    """Return a memory field of this process in KiB."""
    [kib] = re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kib)


def count_connections(target: Target) -> int:
    """Return the number of connections to the server since the previous call."""
    with urlopen(f"{target.site}/connections") as response:
        return int(json.load(response))


def measure_imports(rounds: int) -> dict[str, float]:
    """Return the import times in milliseconds, each in a fresh process."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    for index in range(1 + rounds):
        for name in IMPORTS:
            script = PRELUDE + f"import {name}"
            result = subprocess.run(
                [sys.executable, "-X", "importtime", "-c", script],
                capture_output=True,
                check=True,
                env=env,
                text=True,
            )
            rows = (line.split("|") for line in result.stderr.splitlines() if "|" in line)
            # The time of a package does not include that of its submodules.
            modules = {f" {name}", f" {name.partition('.')[0]}"}
            microseconds = sum(int(total) for _, total, module in rows if module in modules)
            if index:  # the first round writes the compiled files
                times[name].append(microseconds / 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def run(rounds: int) -> dict[str, Any]:
    """Run all benchmarks."""
    results: dict[str, Any] = {
        "machine": f"{os.cpu_count()} CPUs, {cpu_model()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "rounds": rounds,
    }
    with run_server() as server:
        http = Target(f"http://127.0.0.1:{server['http']}", server["ca"])
        https = Target(f"https://127.0.0.1:{server['https']}", server["ca"])
        for scheme, target, levels in (("http", http, CONCURRENCY), ("https", https, (1, 50))):
            results[scheme] = {}
            for concurrency in levels:
                names = [name for name in CLIENTS if supports(name, concurrency)]
                if target.is_https:  # the official client has no option for a CA of our own
                    names = [name for name in names if name not in SYNCHRONOUS]
                rows = asyncio.run(compare(target, concurrency, names, rounds))
                results[scheme][concurrency] = rows
                print(f"{scheme}, {concurrency} concurrent: done", file=sys.stderr)
        results["scale"] = asyncio.run(measure_scale(http, rounds))
        results["processes"] = {
            name: {
                str(concurrency): measure_memory(http, name, concurrency, max(concurrency, 200))
                for concurrency in (1, 100, 1000)
                if supports(name, concurrency)
            }
            for name in CLIENTS
        }
        results["whole_processes"] = measure_processes(http, https, max(rounds, PROCESS_ROUNDS))
    results["import"] = measure_imports(rounds)
    results["ratios"] = report.compute_ratios(results)
    return results


def cpu_model() -> str:
    models = re.findall(r"model name\s+: (.*)", Path("/proc/cpuinfo").read_text())
    return str(models[0]) if models else platform.machine()


def supports(name: str, concurrency: int) -> bool:
    """Return whether a client is measured with so many concurrent logins."""
    if name in SYNCHRONOUS or name == "httpx, one-shot":
        return concurrency == 1
    return concurrency < 1000 or name in FAST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--publish", action="store_true", help="update docs/fleets.md")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, site, ca, concurrency, logins = options.measure
        asyncio.run(print_memory(name, Target(site, ca), int(concurrency), int(logins)))
        return
    start = time.monotonic()
    results = run(options.rounds)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    plot = report.render_plot(results)
    (HERE / "results.svg").write_text(plot, encoding="utf-8")
    if options.publish:
        (DOCS / "images" / "fleets.svg").write_text(plot, encoding="utf-8")
        page = (DOCS / "fleets.md").read_text(encoding="utf-8")
        (DOCS / "fleets.md").write_text(report.update_page(page, results), encoding="utf-8")
    print(report.render_text(results))
    print(f"\nfinished in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
