"""Axes and marks of a chart, as SVG; the frame around them is drawn by ``macros.html``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Points = Iterable[tuple[float, float]]

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 58, WIDTH - 26, 28, HEIGHT - 46


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a chart; with `log`, equal factors are equally far apart."""

    title: str
    low: float
    high: float
    ticks: tuple[float, ...]
    write: Callable[[float], str]
    log: bool = False

    def place(self, value: float) -> float:
        """Return how far along the axis a value is, 0 to 1."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        return min(max((value - low) / (high - low), 0.0), 1.0)


def linear(
    title: str, low: float, high: float, write: Callable[[float], str], *, widen: bool = True
) -> Axis:
    """Make an axis with round ticks, widened to the next ones unless told otherwise."""
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = _round_step((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    if widen:
        low, high = ticks[0], ticks[-1]
    slack = (high - low) * 1e-9
    shown = tuple(tick for tick in ticks if low - slack <= tick <= high + slack)
    return Axis(title, low, high, shown, write)


def logarithmic(title: str, low: float, high: float, write: Callable[[float], str]) -> Axis:
    """Make an axis of factors, from a round number to a round number; both above 0."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    below = max(step for step in steps if step <= low * (1 + 1e-9))
    above = min((step for step in steps if step >= high * (1 - 1e-9)), default=steps[-1])
    if above <= below:
        above = steps[steps.index(below) + 1]
    shown = [step for step in steps if below <= step <= above]
    if len(shown) > 10:
        shown = [step for step in shown if f"{step:e}".startswith("1")]
    return Axis(title, below, above, tuple(shown), write, log=True)


@dataclass(frozen=True, slots=True)
class Mark:
    """One SVG element of a picture; `title` is what it says when pointed at."""

    element: str
    attributes: Mapping[str, Any]
    text: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A pair of axes, and what makes marks between them."""

    x: Axis
    y: Axis

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a value lies in the picture, in its units."""
        across, up = self.x.place(x) * (RIGHT - LEFT), self.y.place(y) * (BOTTOM - TOP)
        return round(LEFT + across, 1), round(BOTTOM - up, 1)

    def line(self, points: Points, kind: str) -> Mark:
        """Draw a line through points."""
        return _path(self._along(points), f"curve {kind}")

    def band(self, low: Points, high: Points, kind: str) -> Mark:
        """Fill what lies between two lines."""
        back = self._along(reversed(list(high)))
        return _path(f"{self._along(low)} L{back[1:]} Z", f"band {kind}")

    def dots(self, points: Points, kind: str, radius: float = 2.4) -> Mark:
        """Draw points, in one path: thousands of circles make a page slow."""
        arcs = "".join(
            f"M{x - radius:.1f} {y:.1f}a{radius} {radius} 0 1 0 {2 * radius} 0"
            f"a{radius} {radius} 0 1 0 {-2 * radius} 0"
            for x, y in (self.at(*point) for point in points)
        )
        return _path(arcs, kind)

    def point(self, x: float, y: float, kind: str, title: str) -> Mark:
        """Draw one point that says what it is when pointed at."""
        across, up = self.at(x, y)
        place = {"cx": across, "cy": up, "r": 5.5, "class": f"point {kind}"}
        return Mark("circle", place, title=title)

    def bars(self, edges: Sequence[float], heights: Sequence[float], kind: str) -> list[Mark]:
        """Draw bars from the bottom, each between two edges."""
        bottom = self.at(edges[0], self.y.low)[1]
        marks = []
        for left, right, height in zip(edges, edges[1:], heights, strict=False):
            start, top = self.at(left, height)
            width = max(self.at(right, height)[0] - start - 1, 0.5)
            size = {"width": round(width, 1), "height": round(bottom - top, 1)}
            if height:
                marks.append(Mark("rect", {"x": start, "y": top, **size, "class": f"bar {kind}"}))
        return marks

    def level(self, y: float, label: str) -> list[Mark]:
        """Draw a horizontal line, with a label at its end."""
        (left, up), (right, _) = self.at(self.x.low, y), self.at(self.x.high, y)
        place = {"x": right, "y": round(up - 5, 1), "text-anchor": "end", "class": "over"}
        return [_path(f"M{left} {up}H{right}", "rule"), Mark("text", place, label)]

    def mark(self, x: float, label: str = "") -> list[Mark]:
        """Draw a vertical line, with a label beside its middle."""
        (across, bottom), (_, top) = self.at(x, self.y.low), self.at(x, self.y.high)
        side, anchor = (-7, "end") if self.x.place(x) > 0.5 else (7, "start")
        middle = round((bottom + top) / 2, 1)
        place = {"x": across + side, "y": middle, "text-anchor": anchor, "class": "over"}
        return [_path(f"M{across} {bottom}V{top}", "rule"), Mark("text", place, label)]

    def legend(self, *names: tuple[str, str]) -> list[Mark]:
        """Write names above the chart, each in the colour of its kind."""
        width = 176
        start = RIGHT - width * len(names)
        return [
            Mark("text", {"x": start + width * place, "y": 14, "class": kind}, words)
            for place, (kind, words) in enumerate(names)
        ]

    def _along(self, points: Points) -> str:
        return "M" + " L".join(f"{x} {y}" for x, y in (self.at(*point) for point in points))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawn picture, with words for those who do not see it; marks from the back to the front."""

    name: str
    title: str
    description: str
    chart: Chart
    marks: list[Mark]


def _path(d: str, kind: str) -> Mark:
    return Mark("path", {"d": d, "class": kind})


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
