"""Draw the plot of docs/fleets.md as plain SVG: lines over logarithmic axes.

A plotting library would add ten packages to pin, and its output changes with its version.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import log10

LEFT, TOP, WIDTH, HEIGHT = 60, 40, 440, 300
COLORS = ("#d55e00", "#0072b2", "#009e73", "#999999")  # distinguishable when color-blind
Lines = Mapping[str, Mapping[int, float]]


def draw(lines: Lines) -> str:
    """Return an SVG of the milliseconds per login by the number of concurrent logins.

    Args:
        lines: For each client, the milliseconds by the number of concurrent logins.
    """
    ticks = sorted({concurrency for line in lines.values() for concurrency in line})
    times = [ms for line in lines.values() for ms in line.values()]
    steps = [digit * 10.0**power for power in range(-4, 5) for digit in (1, 2, 5)]
    lowest = max(step for step in steps if step <= min(times))
    highest = min(step for step in steps if step >= max(times))
    steps = [step for step in steps if lowest <= step <= highest]

    def x(concurrency: float) -> float:
        return LEFT + WIDTH * log10(concurrency / ticks[0]) / log10(ticks[-1] / ticks[0])

    def y(ms: float) -> float:
        return TOP + HEIGHT * log10(highest / ms) / log10(highest / lowest)

    elements = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 210} '
        f'{TOP + HEIGHT + 60}" font-family="sans-serif" font-size="12">',
        f"<title>{escape('Milliseconds per login, by the number of concurrent logins')}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        _text(LEFT, TOP - 18, "milliseconds per login (both axes are logarithmic)"),
        _text(LEFT + WIDTH / 2, TOP + HEIGHT + 45, "concurrent logins", "middle"),
    ]
    for step in steps:
        elements.append(_polyline([(LEFT, y(step)), (LEFT + WIDTH, y(step))], "#dddddd", 1))
        elements.append(_text(LEFT - 8, y(step) + 4, f"{step:g}", "end"))
    elements += [_text(x(tick), TOP + HEIGHT + 20, f"{tick:,}", "middle") for tick in ticks]
    for (name, values), color in zip(lines.items(), COLORS, strict=True):
        points = [(x(concurrency), y(ms)) for concurrency, ms in sorted(values.items())]
        elements.append(_polyline(points, color, 2.5))
        elements.append(_text(points[-1][0] + 8, points[-1][1] + 4, name, color=color))
    return "\n".join([*elements, "</svg>", ""])


def _polyline(points: list[tuple[float, float]], color: str, width: float) -> str:
    pairs = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{pairs}" fill="none" stroke="{color}" stroke-width="{width}"/>'


def _text(x: float, y: float, content: str, anchor: str = "start", color: str = "#333333") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">'
        f"{escape(content)}</text>"
    )
