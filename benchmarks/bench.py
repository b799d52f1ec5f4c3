"""Compare the ways to log in, side by side in one run, and print ratios (`make bench`).

Times of one run say little, and of two runs nothing: every contender takes its
turn in every round, and what counts is the ratio of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import resource
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

from contenders import CONTENDERS, SYNCHRONOUS, Once, Target

HERE = Path(__file__).parent
ROUNDS = 7
AT_ONCE = (1, 10, 50, 200, 1000)
# Enough to measure, few enough for the slowest: how many logins in one turn.
LOGINS = {1: 60, 10: 100, 50: 200, 200: 200, 1000: 1000}
# Only these take part where they would take minutes.
SCALES = {"zulip_auth.login, one-shot", "AuthClient", "AuthClient over httpx-aiohttp"}
PACKAGES = ("httpx", "httpcore", "httpx-aiohttp", "aiohttp", "zulip", "requests", "attrs")

Results = dict[str, dict[str, Any]]


@contextmanager
def serving() -> Iterator[dict[str, Any]]:
    """Run the server in a process of its own."""
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


async def log_in(once: Once, logins: int, at_once: int) -> None:
    """Log in so many times, so many at once."""
    left = iter(range(logins))

    async def worker() -> None:
        for _ in left:
            await once()

    await asyncio.gather(*(worker() for _ in range(min(at_once, logins))))


async def turn(once: Once, logins: int, at_once: int) -> tuple[float, float]:
    """Return the wall-clock and the CPU seconds for one login."""
    wall, cpu = time.perf_counter(), time.process_time()
    await log_in(once, logins, at_once)
    return (time.perf_counter() - wall) / logins, (time.process_time() - cpu) / logins


async def compare(target: Target, at_once: int, names: list[str], rounds: int) -> Results:
    """Give each contender its turn in each round, and return the medians in milliseconds."""
    walls: dict[str, list[float]] = {name: [] for name in names}
    cpus: dict[str, list[float]] = {name: [] for name in names}
    makers = {name: CONTENDERS[name](target) for name in names}
    ready = {name: await maker.__aenter__() for name, maker in makers.items()}
    for name in names:
        await log_in(ready[name], min(at_once, LOGINS[at_once]), at_once)
    for number in range(rounds):
        for name in names if number % 2 else reversed(names):
            wall, cpu = await turn(ready[name], LOGINS[at_once], at_once)
            walls[name].append(wall)
            cpus[name].append(cpu)
    for maker in makers.values():
        await maker.__aexit__(None, None, None)
    return {
        name: {
            "ms": statistics.median(walls[name]) * 1000,
            "cpu_ms": statistics.median(cpus[name]) * 1000,
            "rounds_ms": [wall * 1000 for wall in walls[name]],
        }
        for name in names
    }


async def scale(target: Target, rounds: int) -> Results:
    """Return the milliseconds for a login among 100, 1,000 and 10,000, 50 at once."""
    found: dict[str, dict[int, list[float]]] = {}
    for name in ("AuthClient", "AuthClient over httpx-aiohttp"):
        async with CONTENDERS[name](target) as once:
            await log_in(once, 100, 50)
            times = found[name] = {100: [], 1000: [], 10_000: []}
            for _ in range(rounds):
                # The short ones often, so that all have about as long a look.
                for logins, often in ((100, 8), (1000, 2), (10_000, 1)):
                    for _ in range(often):
                        times[logins].append((await turn(once, logins, 50))[0])
    return {
        name: {str(logins): statistics.median(times) * 1000 for logins, times in each.items()}
        for name, each in found.items()
    }


def in_fresh_process(target: Target, name: str, at_once: int, logins: int) -> dict[str, float]:
    """Return the peak memory and the connections of some logins, in a process of their own."""
    command = [sys.executable, __file__, "--measure", name, target.site, target.ca]
    said = subprocess.run(
        [*command, str(at_once), str(logins)], capture_output=True, check=True, text=True
    ).stdout
    found: dict[str, float] = json.loads(said)
    return found


async def measure(name: str, target: Target, at_once: int, logins: int) -> None:
    async with CONTENDERS[name](target) as once:
        await once()
        connections(target)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await log_in(once, logins, at_once)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"kib": peak, "kib_more": peak - before, "connections": connections(target)}))


def connections(target: Target) -> int:
    """Return how many connections the server has seen since it was last asked."""
    with urlopen(f"{target.site}/connections") as answer:
        return int(json.load(answer))


def import_times(rounds: int) -> dict[str, float]:
    """Return the milliseconds that importing takes, each time in a fresh process."""
    names = ("zulip_auth", "httpx", "zulip", "aiohttp")
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            done = subprocess.run(
                [sys.executable, "-X", "importtime", "-c", f"import {name}"],
                capture_output=True,
                check=True,
                text=True,
            )
            [line] = [
                line for line in done.stderr.splitlines() if line.rpartition("|")[2] == f" {name}"
            ]
            times[name].append(int(line.split("|")[1]) / 1000)
    return {name: statistics.median(each) for name, each in times.items()}


def run(rounds: int) -> dict[str, Any]:
    """Run it all."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "rounds": rounds,
    }
    with serving() as places:
        http = Target(f"http://127.0.0.1:{places['http']}", places["ca"])
        https = Target(f"https://127.0.0.1:{places['https']}", places["ca"])
        for scheme, target, crowds in (("http", http, AT_ONCE), ("https", https, (1, 50))):
            found[scheme] = {}
            for at_once in crowds:
                names = [name for name in CONTENDERS if takes_part(name, at_once)]
                if target.secure:  # which the official client trusts no authority of ours for
                    names = [name for name in names if name not in SYNCHRONOUS]
                found[scheme][at_once] = asyncio.run(compare(target, at_once, names, rounds))
                print(f"{scheme}, {at_once} at once: done", file=sys.stderr)
        found["scale"] = asyncio.run(scale(http, rounds=3))
        found["processes"] = {
            name: {
                str(at_once): in_fresh_process(http, name, at_once, max(at_once, 200))
                for at_once in (1, 100, 1000)
                if takes_part(name, at_once)
            }
            for name in CONTENDERS
        }
    found["import"] = import_times(rounds)
    found["ratios"] = ratios(found)
    return found


def takes_part(name: str, at_once: int) -> bool:
    if name in SYNCHRONOUS:
        return at_once == 1
    return at_once < 1000 or name in SCALES


def ratios(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the project promises of its speed, and what was measured."""

    def of(scheme: str, at_once: int, ours: str, theirs: str) -> float:
        crowd = found[scheme][at_once]
        return float(crowd[ours]["ms"] / crowd[theirs]["ms"])

    aio, login = "AuthClient over httpx-aiohttp", "zulip_auth.login, one-shot"
    memory = found["processes"][login]
    more = (memory["1000"]["kib"] - memory["100"]["kib"]) / 900
    rows = [
        (
            "login() over https / httpx.AsyncClient() made for the call",
            0.25,
            of("https", 1, login, "httpx, one-shot"),
        ),
        (
            "login() / httpx one-shot with a shared context",
            1.15,
            of("http", 1, login, "httpx, one-shot, shared context"),
        ),
        (
            "AuthClient, one at a time / httpx pooled",
            1.15,
            of("http", 1, "AuthClient", "httpx, pooled"),
        ),
        (
            "AuthClient over httpx-aiohttp, 50 at once / httpx over httpx-aiohttp",
            1.15,
            of("http", 50, aio, "httpx over httpx-aiohttp"),
        ),
        (
            "AuthClient over httpx-aiohttp, 50 at once / httpx pooled",
            0.15,
            of("http", 50, aio, "httpx, pooled"),
        ),
        (
            "AuthClient, 50 at once / httpx pooled",
            0.5,
            of("http", 50, "AuthClient", "httpx, pooled"),
        ),
        (
            "a login among 10,000 / among 100, 50 at once",
            1.1,
            found["scale"]["AuthClient"]["10000"] / found["scale"]["AuthClient"]["100"],
        ),
        (
            "AuthClient over httpx-aiohttp, one at a time / official zulip, warm",
            0.9,
            of("http", 1, aio, "official zulip, warm"),
        ),
        (
            "import zulip_auth / import httpx",
            1.25,
            found["import"]["zulip_auth"] / found["import"]["httpx"],
        ),
        ("KiB for each login in flight beyond 100", 64, more),
    ]
    return [{"what": what, "at_most": at_most, "measured": value} for what, at_most, value in rows]


def table(found: dict[str, Any]) -> str:
    """Return the results for people."""
    lines = []
    for scheme in ("http", "https"):
        crowds = found[scheme]
        lines.append(f"\n{scheme}: ms for a login, and its ratio to httpx, pooled")
        header = "".join(f"{crowd:>8} at once" for crowd in crowds)
        lines.append(f"{'':34}{header}")
        for name in CONTENDERS:
            row = f"{name:34}"
            for crowd in crowds.values():
                own, base = crowd.get(name), crowd.get("httpx, pooled")
                ratio = f" {own['ms'] / base['ms']:5.2f}" if own and base else " " * 6
                row += f"{own['ms']:10.2f}{ratio}" if own else " " * 16
            lines.append(row.rstrip())
    lines.append("\nat most  measured")
    for each in found["ratios"]:
        kept = "   " if each["measured"] <= each["at_most"] else " ! "
        lines.append(f"{each['at_most']:7.2f}{each['measured']:10.2f}{kept}{each['what']}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, site, ca, at_once, logins = options.measure
        asyncio.run(measure(name, Target(site, ca), int(at_once), int(logins)))
        return
    start = time.monotonic()
    found = run(options.rounds)
    (HERE / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    print(f"\nmeasured in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
