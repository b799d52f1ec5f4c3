"""Render the results of the benchmarks: ratios, tables and the figures in docs/fleets.md."""

from __future__ import annotations

from typing import Any

from clients import CLIENTS
from plot import draw

OURS = ("zulip_auth.login, one-shot", "AuthClient", "AuthClient over httpx-aiohttp")
PLOTTED = ("httpx, pooled", "AuthClient", "AuthClient over httpx-aiohttp", "aiohttp, pooled")
SIDES = ("ours", "other")
BEGIN, END = "<!-- begin: written by `make bench ARGS=--publish` -->\n", "<!-- end -->"

Rows = dict[str, dict[str, Any]]


def compute_ratios(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the measured ratio of CPU time for each target of the project."""

    def ratio(scheme: str, concurrency: int, ours: str, other: str) -> float:
        rows = results[scheme][concurrency]
        return float(rows[ours]["cpu_ms"] / rows[other]["cpu_ms"])

    aio, login = "AuthClient over httpx-aiohttp", "zulip_auth.login, one-shot"
    memory = [results["processes"][name] for name in OURS]
    kib = max((rows["1000"]["added_kib"] - rows["100"]["added_kib"]) / 900 for rows in memory)
    peak = results["processes"]["AuthClient"]["1000"]["kib"] / 1024
    targets = [
        (
            "login() over https / httpx.AsyncClient() for each login",
            0.25,
            ratio("https", 1, login, "httpx, one-shot"),
        ),
        (
            "login() / httpx one-shot with a shared context",
            1.15,
            ratio("http", 1, login, "httpx, one-shot, shared context"),
        ),
        (
            "AuthClient, one at a time / httpx pooled",
            1.15,
            ratio("http", 1, "AuthClient", "httpx, pooled"),
        ),
        (
            "AuthClient over httpx-aiohttp, 50 concurrent / httpx over httpx-aiohttp",
            1.15,
            ratio("http", 50, aio, "httpx over httpx-aiohttp"),
        ),
        (
            "AuthClient over httpx-aiohttp, 50 concurrent / httpx pooled",
            0.15,
            ratio("http", 50, aio, "httpx, pooled"),
        ),
        (
            "AuthClient, 50 concurrent / httpx pooled",
            0.5,
            ratio("http", 50, "AuthClient", "httpx, pooled"),
        ),
        (
            "10,000 logins / 100 logins, 50 concurrent, the slower transport",
            1.1,
            max(row["10000"] / row["100"] for row in results["scale"].values()),
        ),
        (
            "AuthClient over httpx-aiohttp, one at a time / official zulip, warm",
            0.9,
            ratio("http", 1, aio, "official zulip, warm"),
        ),
        (
            "import zulip_auth / import httpx",
            1.25,
            results["import"]["zulip_auth"] / results["import"]["httpx"],
        ),
        (
            "AuthClient over httpx-aiohttp, 50 concurrent / aiohttp",
            1.5,
            ratio("http", 50, aio, "aiohttp, pooled"),
        ),
        (
            "AuthClient, 50 concurrent / httpx2 pooled",
            0.8,
            ratio("http", 50, "AuthClient", "httpx2, pooled"),
        ),
        (
            "AuthClient over the caller's httpx, 50 concurrent / httpx pooled",
            1.0,
            ratio("http", 50, "AuthClient over the caller's httpx", "httpx, pooled"),
        ),
        ("KiB per concurrent login beyond 100, the largest of ours", 64, kib),
        ("MiB at the peak, 1,000 concurrent, AuthClient", 60, peak),
        *(
            (f"{name}, {measure}", limit, row[measure])
            for name, row in results["whole_processes"].items()
            for measure, limit in row["limits"].items()
        ),
    ]
    return [{"name": name, "max": limit, "value": value} for name, limit, value in targets]


def render_text(results: dict[str, Any]) -> str:
    """Return the results as text tables."""
    lines = []
    for scheme in ("http", "https"):
        levels = results[scheme]
        lines.append(f"\n{scheme}: CPU ms per login, and the ratio to httpx, pooled")
        header = "".join(f"{level:>5} concurrent" for level in levels)
        lines.append(f"{'':34}{header}")
        for name in CLIENTS:
            line = f"{name:34}"
            for rows in levels.values():
                own, base = rows.get(name), rows.get("httpx, pooled")
                ratio = f" {own['cpu_ms'] / base['cpu_ms']:5.2f}" if own and base else " " * 6
                line += f"{own['cpu_ms']:10.2f}{ratio}" if own else " " * 16
            lines.append(line.rstrip())
    lines.append("\nhttp, with 1, 100, 1000 concurrent: peak MiB; MiB above idle; sockets opened")
    for name, levels in results["processes"].items():
        rows = levels.values()
        peak = " ".join(f"{row['kib'] / 1024:6.1f}" for row in rows)
        added = " ".join(f"{row['added_kib'] / 1024:6.1f}" for row in rows)
        connections = " ".join(f"{row['connections']:6}" for row in rows)
        lines.append(f"{name:34}{peak:24}{added:24}{connections}")
    lines.append("\nhttp, 50 concurrent: ms per login of 100, 1000, 10000")
    for name, sizes in results["scale"].items():
        lines.append(f"{name:34}" + "".join(f"{ms:8.3f}" for ms in sizes.values()))
    lines.append("\nms to import, in a fresh process")
    lines += [f"{name:34}{ms:8.1f}" for name, ms in results["import"].items()]
    lines.append("\nwhole processes: CPU ms, wall-clock ms")
    for name, row in results["whole_processes"].items():
        cells = [f"{row[side][kind]:8.0f}" for kind in ("cpu", "wall") for side in SIDES]
        lines.append(f"{name:60}" + "".join(cells))
    lines.append("\n    max  measured")
    for row in results["ratios"]:
        mark = "   " if row["value"] <= row["max"] else " ! "
        lines.append(f"{row['max']:7.2f}{row['value']:10.2f}{mark}{row['name']}")
    return "\n".join(lines)


def render_plot(results: dict[str, Any]) -> str:
    """Return the plot as SVG."""
    return draw(_plotted(results))


def _plotted(results: dict[str, Any]) -> dict[str, dict[int, float]]:
    return {
        name: {level: rows[name]["cpu_ms"] for level, rows in results["http"].items()}
        for name in PLOTTED
    }


def update_page(page: str, results: dict[str, Any]) -> str:
    """Return docs/fleets.md with the figures replaced."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    levels = list(results["http"])
    versions = ", ".join(f"{name} {number}" for name, number in results["packages"].items())
    lines = [
        "",
        "![CPU milliseconds per login, by the number of concurrent logins](images/fleets.svg)",
        "",
        f"CPU milliseconds per login, medians of {results['rounds']} rounds, over http "
        "to a server on the same machine that responds immediately "
        f"({results['machine']}, Python {results['python']}, {versions}):",
        "",
        "| concurrent logins | "
        + " | ".join(f"{level:,}" for level in levels)
        + " | logins per CPU second, at 50 |",
        "|---|" + "---:|" * (len(levels) + 1),
    ]
    for name, values in _plotted(results).items():
        cells = " | ".join(f"{values[level]:.2f}" for level in levels)
        lines.append(f"| {name} | {cells} | {round(1000 / values[50], -2):,.0f} |")
    lines += [
        "",
        "With 1,000 concurrent logins, each client in its own process:",
        "",
        "| | peak memory, MiB | KiB per login beyond 100 | sockets opened |",
        "|---|---:|---:|---:|",
    ]
    for name in OURS[1:]:
        rows = results["processes"][name]
        kib = (rows["1000"]["added_kib"] - rows["100"]["added_kib"]) / 900
        peak, connections = rows["1000"]["kib"] / 1024, rows["1000"]["connections"]
        lines.append(f"| {name} | {peak:.0f} | {kib:.0f} | {connections} |")
    lines += [
        "",
        "Whole processes from a cold start, CPU milliseconds of both, and the ratio:",
        "",
        "| | zulip-auth | the other | ratio |",
        "|---|---:|---:|---:|",
    ]
    for name, row in results["whole_processes"].items():
        ours, other = row["ours"]["cpu"], row["other"]["cpu"]
        lines.append(f"| {name} | {ours:.0f} | {other:.0f} | {ours / other:.2f} |")
    return head + begin + "\n".join([*lines, "", ""]) + end + tail
