"""Draw the plot of docs/fleets.md as plain SVG: lines over logarithmic axes.

A plotting library would add ten packages to pin, and its output changes with its version.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import log10

LEFT, TOP, WIDTH, HEIGHT = 44, 40, 310, 260
LEGEND = 22
# Distinguishable when color-blind, on a light and on a dark background.
COLORS = ("#d55e00", "#1f83c4", "#009e73", "#8a8a8a")
STYLE = """<style>
  svg { background: #fff; font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; }
  text { fill: #1f2328; }
  .grid { fill: none; stroke: #d1d9e0; }
  .line { fill: none; stroke-width: 2.5; }
  @media (prefers-color-scheme: dark) {
    svg { background: #151b23; }
    text { fill: #f0f6fc; }
    .grid { stroke: #3d444d; }
  }
</style>"""
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

    bottom = TOP + HEIGHT
    elements = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 18} '
        f'{bottom + 60 + LEGEND * len(lines)}" role="img">',
        "<title>CPU milliseconds per login, by the number of concurrent logins</title>",
        STYLE,
        _text(10, TOP - 20, "CPU milliseconds per login (both axes are logarithmic)"),
        _text(LEFT + WIDTH / 2, bottom + 42, "concurrent logins", "middle"),
    ]
    for step in steps:
        elements.append(_polyline([(LEFT, y(step)), (LEFT + WIDTH, y(step))], 'class="grid"'))
        elements.append(_text(LEFT - 6, y(step) + 4, f"{step:g}", "end"))
    elements += [_text(x(tick), bottom + 20, f"{tick:,}", "middle") for tick in ticks]
    for row, ((name, values), color) in enumerate(zip(lines.items(), COLORS, strict=True)):
        line = f'class="line" stroke="{color}"'
        points = [(x(concurrency), y(ms)) for concurrency, ms in sorted(values.items())]
        legend = bottom + 64 + LEGEND * row
        elements.append(_polyline(points, line))
        elements.append(_polyline([(LEFT, legend), (LEFT + 24, legend)], line))
        elements.append(_text(LEFT + 32, legend + 4, name))
    return "\n".join([*elements, "</svg>", ""])


def _polyline(points: list[tuple[float, float]], attributes: str) -> str:
    pairs = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{pairs}" {attributes}/>'


def _text(x: float, y: float, content: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'
