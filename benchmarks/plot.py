"""Draw the plot of the fleet page: lines over logarithmic axes, as plain SVG.

A plotting library would be ten more packages to pin for one picture, and what it
writes changes with its version; this is the same for the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import log10

LEFT, TOP, WIDTH, HEIGHT = 60, 40, 440, 300
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#999999")  # told apart by colour-blind eyes too
Lines = Mapping[str, Mapping[int, float]]


def draw(lines: Lines) -> str:
    """Return an SVG of milliseconds for a login over how many there are at once.

    Args:
        lines: For each way to log in, the milliseconds by the number at once.
    """
    across = sorted({at_once for line in lines.values() for at_once in line})
    times = [ms for line in lines.values() for ms in line.values()]
    steps = [digit * 10.0**power for power in range(-4, 5) for digit in (1, 2, 5)]
    lowest = max(step for step in steps if step <= min(times))
    highest = min(step for step in steps if step >= max(times))
    steps = [step for step in steps if lowest <= step <= highest]

    def x(at_once: float) -> float:
        return LEFT + WIDTH * log10(at_once / across[0]) / log10(across[-1] / across[0])

    def y(ms: float) -> float:
        return TOP + HEIGHT * log10(highest / ms) / log10(highest / lowest)

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 210} '
        f'{TOP + HEIGHT + 60}" font-family="sans-serif" font-size="12">',
        f"<title>{escape('Milliseconds for a login, by how many there are at once')}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        text(LEFT, TOP - 18, "milliseconds for a login (both axes are logarithmic)"),
        text(LEFT + WIDTH / 2, TOP + HEIGHT + 45, "logins at once", "middle"),
    ]
    for step in steps:
        drawn.append(line([(LEFT, y(step)), (LEFT + WIDTH, y(step))], "#dddddd", 1))
        drawn.append(text(LEFT - 8, y(step) + 4, f"{step:g}", "end"))
    drawn += [text(x(each), TOP + HEIGHT + 20, f"{each:,}", "middle") for each in across]
    for (name, values), colour in zip(lines.items(), COLOURS, strict=True):
        points = [(x(at_once), y(ms)) for at_once, ms in sorted(values.items())]
        drawn.append(line(points, colour, 2.5))
        drawn.append(text(points[-1][0] + 8, points[-1][1] + 4, name, colour=colour))
    return "\n".join([*drawn, "</svg>", ""])


def line(points: list[tuple[float, float]], colour: str, width: float) -> str:
    placed = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{placed}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def text(x: float, y: float, words: str, anchor: str = "start", colour: str = "#333333") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">'
        f"{escape(words)}</text>"
    )
