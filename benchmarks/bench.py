"""Compare the ways to log in, side by side in one run, and print ratios (`make bench`).

Times of one run say little, and of two runs nothing: every contender takes its
turn in every round, and what counts is the ratio of the medians.

What is measured, and where it would take too long, left out:

- time and CPU seconds for a login, at 1, 10, 50, 200 and 1,000 at once over plain
  http and at 1 and 50 over TLS; at 1,000 without those that need seconds for it.
  What is not asynchronous takes part one at a time, and over plain http; what loads
  certificates for each call, one at a time, since more at once change nothing;
- the same among 100, 1,000 and 10,000 logins, 50 at once, for `AuthClient` over
  both transports: whether a long run gets slower;
- peak memory and sockets opened, with 1, 100 and 1,000 at once, each in a process
  of its own;
- the time that importing takes, each in a process of its own, with compiled files
  as an installation has them and without httpx's command line, which a test
  environment may have.

It needs Linux, whose kernel tells the peak of a process's memory. With `--publish`,
the page about fleets gets the numbers, and the plot.
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

from clients import CONTENDERS, SYNCHRONOUS, Once, Target
from plot import draw

HERE = Path(__file__).parent
ROUNDS = 7
AT_ONCE = (1, 10, 50, 200, 1000)
# Enough to measure, few enough for the slowest: how many logins in one turn.
LOGINS = {1: 60, 10: 100, 50: 200, 200: 200, 1000: 1000}
# With a thousand at once the others would take minutes.
OURS = ("zulip_auth.login, one-shot", "AuthClient", "AuthClient over httpx-aiohttp")
SCALES = {*OURS, "httpx, pooled", "httpx over httpx-aiohttp", "aiohttp, pooled"}
IMPORTS = ("zulip_auth", "zulip_auth._client", "httpx", "zulip", "aiohttp")
PLOTTED = ("httpx, pooled", "AuthClient", "AuthClient over httpx-aiohttp", "aiohttp, pooled")
DOCS = HERE.parent / "docs"
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
    gc.collect()  # what the one before has left behind
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
                # The shortest more often: one of it is over in a blink.
                for logins, often in ((100, 4), (1000, 1), (10_000, 1)):
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
        await once()  # loads what is loaded once
        connections(target)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak until here
        before = kib("VmRSS")
        await log_in(once, logins, at_once)
        more = kib("VmHWM") - before
    found = {"kib": kib("VmHWM"), "kib_more": more, "connections": connections(target)}
    print(json.dumps(found))


def kib(what: str) -> int:
    """Return what the kernel says of this process's memory."""
    [found] = re.findall(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found)


def connections(target: Target) -> int:
    """Return how many connections the server has seen since it was last asked."""
    with urlopen(f"{target.site}/connections") as answer:
        return int(json.load(answer))


def import_times(rounds: int) -> dict[str, float]:
    """Return the milliseconds that importing takes, each time in a fresh process."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    for number in range(1 + rounds):
        for name in IMPORTS:
            # As where httpx is installed without the extra for its command line.
            script = f"import sys; sys.modules['click'] = None; import {name}"
            done = subprocess.run(
                [sys.executable, "-X", "importtime", "-c", script],
                capture_output=True,
                check=True,
                env=environment,
                text=True,
            )
            rows = (line.split("|") for line in done.stderr.splitlines() if "|" in line)
            # A package comes before what is inside of it, and beside it.
            wanted = {f" {name}", f" {name.partition('.')[0]}"}
            lasted = sum(int(total) for _, total, module in rows if module in wanted)
            if number:  # the first writes the compiled files
                times[name].append(lasted / 1000)
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
        found["scale"] = asyncio.run(scale(http, rounds))
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
    if name in SYNCHRONOUS or name == "httpx, one-shot":
        return at_once == 1
    return at_once < 1000 or name in SCALES


def ratios(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the project promises of its speed, and what was measured."""

    def of(scheme: str, at_once: int, ours: str, theirs: str) -> float:
        crowd = found[scheme][at_once]
        return float(crowd[ours]["ms"] / crowd[theirs]["ms"])

    aio, login = "AuthClient over httpx-aiohttp", "zulip_auth.login, one-shot"
    memory = [found["processes"][name] for name in OURS]
    more = max((each["1000"]["kib_more"] - each["100"]["kib_more"]) / 900 for each in memory)
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
            "a login among 10,000 / among 100, 50 at once, the worse of both transports",
            1.1,
            max(each["10000"] / each["100"] for each in found["scale"].values()),
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
        ("KiB for each login in flight beyond 100, the worst of ours", 64, more),
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
    lines.append("\nhttp, with 1, 100, 1000 at once: peak MiB; MiB beyond idle; sockets opened")
    for name, crowds in found["processes"].items():
        each = crowds.values()
        peak, more, opened = (
            " ".join(f"{shown:>6}" for shown in column)
            for column in (
                [f"{one['kib'] / 1024:.1f}" for one in each],
                [f"{one['kib_more'] / 1024:.1f}" for one in each],
                [one["connections"] for one in each],
            )
        )
        lines.append(f"{name:34}{peak:24}{more:24}{opened}")
    lines.append("\nhttp, 50 at once: ms for a login among 100, 1000, 10000")
    for name, sizes in found["scale"].items():
        lines.append(f"{name:34}" + "".join(f"{ms:8.3f}" for ms in sizes.values()))
    lines.append("\nms to import, in a fresh process")
    lines += [f"{name:34}{ms:8.1f}" for name, ms in found["import"].items()]
    lines.append("\nat most  measured")
    for each in found["ratios"]:
        kept = "   " if each["measured"] <= each["at_most"] else " ! "
        lines.append(f"{each['at_most']:7.2f}{each['measured']:10.2f}{kept}{each['what']}")
    return "\n".join(lines)


def plotted(found: dict[str, Any]) -> dict[str, dict[int, float]]:
    """Return what the plot shows: milliseconds, by the way and by how many at once."""
    return {
        name: {at_once: crowd[name]["ms"] for at_once, crowd in found["http"].items()}
        for name in PLOTTED
    }


def with_figures(page: str, found: dict[str, Any]) -> str:
    """Return the page about fleets with other numbers in it."""
    head, begin, rest = page.partition("from here … -->\n")
    _, end, tail = rest.partition("<!-- … to here")
    ways = plotted(found)
    versions = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    lines = [
        "",
        "![Milliseconds for a login, by how many there are at once](images/fleets.svg)",
        "",
        f"Milliseconds for a login, on one core, medians of {found['rounds']} rounds, over plain "
        "http to a server on the same machine that answers at once "
        f"(Python {found['python']}, {versions}):",
        "",
        "| at once | " + " | ".join(f"{at_once:,}" for at_once in AT_ONCE) + " | a second, at 50 |",
        "|---|" + "---:|" * (len(AT_ONCE) + 1),
    ]
    for name, values in ways.items():
        shown = " | ".join(f"{values[at_once]:.2f}" for at_once in AT_ONCE)
        lines.append(f"| {name} | {shown} | {round(1000 / values[50], -2):,.0f} |")
    lines += [
        "",
        "With 1,000 at once, each process by itself:",
        "",
        "| | peak memory, MiB | KiB for each login beyond 100 | sockets opened |",
        "|---|---:|---:|---:|",
    ]
    for name in OURS[1:]:
        crowds = found["processes"][name]
        each = (crowds["1000"]["kib_more"] - crowds["100"]["kib_more"]) / 900
        peak, opened = crowds["1000"]["kib"] / 1024, crowds["1000"]["connections"]
        lines.append(f"| {name} | {peak:.0f} | {each:.0f} | {opened} |")
    return head + begin + "\n".join([*lines, "", ""]) + end + tail


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--publish", action="store_true", help="write the numbers into docs/")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, site, ca, at_once, logins = options.measure
        asyncio.run(measure(name, Target(site, ca), int(at_once), int(logins)))
        return
    start = time.monotonic()
    found = run(options.rounds)
    (HERE / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    plot = draw(plotted(found))
    (HERE / "results.svg").write_text(plot, encoding="utf-8")
    if options.publish:
        (DOCS / "images" / "fleets.svg").write_text(plot, encoding="utf-8")
        page = (DOCS / "fleets.md").read_text(encoding="utf-8")
        (DOCS / "fleets.md").write_text(with_figures(page, found), encoding="utf-8")
    print(table(found))
    print(f"\nmeasured in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
