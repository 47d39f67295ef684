"""Axes and marks of a chart, as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hybridmodel.report.markup import Html, join, tag

Points = Iterable[tuple[float, float]]

WIDTH, HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 26, 28, 46


@dataclass(frozen=True)
class Axis:
    """One direction of a chart.

    Attributes
    ----------
    title : str
    low, high : float
        What is shown.
    ticks : tuple of float
    write : callable
        Makes a tick's text.
    log : bool
        Whether equal factors are equally far apart.
    """

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


@dataclass(frozen=True)
class Chart:
    """A pair of axes, and what makes marks between them."""

    x: Axis
    y: Axis

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a value lies in the picture, in its units."""
        across, up = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        return (
            round(_LEFT + self.x.place(x) * across, 1),
            round(HEIGHT - _BOTTOM - self.y.place(y) * up, 1),
        )

    def line(self, points: Points, kind: str) -> Html:
        """Draw a line through points."""
        return tag("path", d=self._path(points), class_=f"curve {kind}")

    def band(self, low: Points, high: Points, kind: str) -> Html:
        """Fill what lies between two lines."""
        there, back = self._path(low), self._path(reversed(list(high)))
        return tag("path", d=f"{there} L{back[1:]} Z", class_=f"band {kind}")

    def dots(self, points: Points, kind: str, radius: float = 2.4) -> Html:
        """Draw points, in one path: thousands of circles make a page slow."""
        arcs = "".join(
            f"M{x - radius:.1f} {y:.1f}a{radius} {radius} 0 1 0 {2 * radius} 0"
            f"a{radius} {radius} 0 1 0 {-2 * radius} 0"
            for x, y in (self.at(*point) for point in points)
        )
        return tag("path", d=arcs, class_=kind)

    def point(self, x: float, y: float, kind: str, title: str) -> Html:
        """Draw one point that says what it is when pointed at."""
        across, up = self.at(x, y)
        return tag("circle", tag("title", title), cx=across, cy=up, r=5.5, class_=f"point {kind}")

    def bars(self, edges: Sequence[float], heights: Sequence[float], kind: str) -> Html:
        """Draw bars from the bottom, each between two edges."""
        bottom = self.at(edges[0], self.y.low)[1]
        made = []
        for left, right, height in zip(edges, edges[1:], heights, strict=False):
            start, top = self.at(left, height)
            width = max(self.at(right, height)[0] - start - 1, 0.5)
            made.append(
                tag("rect", x=start, y=top, width=round(width, 1), height=round(bottom - top, 1))
                if height
                else None
            )
        return tag("g", *made, class_=f"bar {kind}")

    def level(self, y: float, label: str) -> Html:
        """Draw a line across at a height, with words at its end."""
        (left, up), (right, _) = self.at(self.x.low, y), self.at(self.x.high, y)
        return join(
            [
                tag("path", d=f"M{left} {up}H{right}", class_="rule"),
                tag("text", label, x=right, y=round(up - 5, 1), text_anchor="end", class_="over"),
            ]
        )

    def mark(self, x: float, label: str = "") -> Html:
        """Draw a line from bottom to top, with words beside its middle."""
        (across, bottom), (_, top) = self.at(x, self.y.low), self.at(x, self.y.high)
        left = self.x.place(x) > 0.5
        words = tag(
            "text",
            label,
            x=across + (-7 if left else 7),
            y=round((bottom + top) / 2, 1),
            text_anchor="end" if left else "start",
            class_="over",
        )
        return join([tag("path", d=f"M{across} {bottom}V{top}", class_="rule"), words])

    def legend(self, *names: tuple[str, str]) -> Html:
        """Write words over the chart, each in the colour of its kind."""
        width = 176
        start = WIDTH - _RIGHT - width * len(names)
        return join(
            tag("text", words, x=start + width * place, y=14, class_=kind)
            for place, (kind, words) in enumerate(names)
        )

    def frame(self) -> Html:
        """Draw the grid, the ticks and the titles of both axes."""
        left, right, bottom = _LEFT, WIDTH - _RIGHT, HEIGHT - _BOTTOM
        parts = []
        for tick in self.y.ticks:
            up = self.at(self.x.low, tick)[1]
            parts.append(tag("path", d=f"M{left} {up}H{right}", class_="grid"))
            parts.append(tag("text", self.y.write(tick), x=left - 8, y=up + 4, text_anchor="end"))
        for tick in self.x.ticks:
            across = self.at(tick, self.y.low)[0]
            parts.append(tag("path", d=f"M{across} {bottom}v5", class_="grid"))
            parts.append(
                tag("text", self.x.write(tick), x=across, y=bottom + 18, text_anchor="middle")
            )
        middle = (left + right) / 2
        parts.append(tag("text", self.x.title, x=middle, y=HEIGHT - 6, text_anchor="middle"))
        parts.append(tag("text", self.y.title, x=left - 50, y=14, class_="ink"))
        return tag("g", *parts)

    def _path(self, points: Points) -> str:
        return "M" + " L".join(f"{x} {y}" for x, y in (self.at(*point) for point in points))


def figure(name: str, title: str, description: str, *parts: Html | None) -> Html:
    """Put marks together into a picture that says in words what it shows.

    Parameters
    ----------
    name : str
        Unique in the page.
    title, description : str
        For those who do not see it.
    *parts : Html
        From the back to the front.
    """
    made = tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", description, id=f"{name}-desc"),
        *parts,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby=f"{name}-title",
        aria_describedby=f"{name}-desc",
    )
    return tag("div", made, class_="scroll", role="group", aria_label=title, tabindex="0")


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
