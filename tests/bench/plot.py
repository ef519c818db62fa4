# SPDX-License-Identifier: LGPL-2.1-or-later
"""A log-log plot as SVG, and the power law that fits its points best."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 880, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 300, 46, 50
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17807e", "#8c564b")
LABEL = 16  # pixels between the names of two lines


@dataclass(frozen=True)
class Law:
    """y = factor * x ** exponent."""

    factor: float
    exponent: float


def fit(points: Mapping[int, float]) -> Law:
    """By least squares of the logarithms."""
    logs = [(math.log(x), math.log(y)) for x, y in points.items() if x > 0 and y > 0]
    mean_x, mean_y = (sum(column) / len(logs) for column in zip(*logs, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in logs)
    exponent = sum((x - mean_x) * (y - mean_y) for x, y in logs) / spread
    return Law(math.exp(mean_y - exponent * mean_x), exponent)


def plot(title: str, y_name: str, lines: Mapping[str, Mapping[int, float]]) -> str:
    """All lines with their points, each named at its right end."""
    return "\n".join(_svg(title, y_name, lines)) + "\n"


class _Axes:
    """Where a point is on the paper."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        self.x_range = math.log10(min(xs)), math.log10(max(xs))
        self.y_range = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))

    def x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _svg(title: str, y_name: str, lines: Mapping[str, Mapping[int, float]]) -> Iterator[str]:
    xs = sorted({x for line in lines.values() for x in line})
    axes = _Axes(xs, [y for line in lines.values() for y in line.values()])
    box = f"0 0 {WIDTH} {HEIGHT}"
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif" font-size="13">'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    yield _text(LEFT, 24, title, size=15)
    yield from _grid(axes, xs, y_name)
    ends = _apart({name: axes.y(line[max(line)]) for name, line in lines.items()})
    for colour, (name, line) in zip(COLOURS, lines.items(), strict=False):
        places = [(axes.x(x), axes.y(y)) for x, y in sorted(line.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in places)
        x, y = places[-1]
        there = WIDTH - RIGHT + 22
        yield f'<path d="M{x + 5:.1f} {y:.1f}L{there - 4} {ends[name]:.1f}" stroke="{colour}" stroke-width="0.7"/>'
        exponent = f"{fit(line).exponent:.2f}"
        yield _text(there, ends[name] + 4, f"{name}, N^{exponent}", colour=colour)
    yield "</svg>"


def _grid(axes: _Axes, xs: Sequence[int], y_name: str) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for power in range(axes.y_range[0], axes.y_range[1] + 1):
        y = axes.y(10.0**power)
        yield f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#dddddd"/>'
        yield _text(LEFT - 8, y + 4, f"{10.0**power:g}", anchor="end")
    for value in xs:
        x = axes.x(value)
        yield f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="#eeeeee"/>'
        yield _text(x, bottom + 18, f"{value:,}", anchor="middle")
    yield _text((LEFT + right) / 2, HEIGHT - 12, "sessions", anchor="middle")
    name = _text(0, 0, y_name, anchor="middle")
    yield f'<g transform="translate(18 {(TOP + bottom) / 2:.1f}) rotate(-90)">{name}</g>'


def _apart(places: Mapping[str, float]) -> dict[str, float]:
    """The same heights, moved so that no name covers another."""
    moved: dict[str, float] = {}
    last = -math.inf
    for name, y in sorted(places.items(), key=lambda item: item[1]):
        last = moved[name] = max(y, last + LABEL)
    return moved


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, colour: str = "#333333") -> str:
    safe = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{safe}</text>'
