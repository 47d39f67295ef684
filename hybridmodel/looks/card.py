"""A card: what a notebook shows of an object, as HTML without a script that loads nothing.

Colours are the notebook's own and shades of grey, so that it fits light and dark ones. An untrusted
notebook drops the style and the picture's lines, and leaves texts and tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from hybridmodel.checks import needed_for, printable
from hybridmodel.looks import axes

if TYPE_CHECKING:
    from jinja2 import Environment

_LONGEST, _MOST = 120, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two who answer: its `name`, what it is, and which rows it answers (`duty`).

    A side that answers none is drawn with a broken line.
    """

    name: str
    lines: tuple[str, ...]
    duty: str
    answers: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with a line of heads; numbers are texts already."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is shown of one object.

    `name` is its kind and `state` the words beside it; `sides` are drawn as boxes beside each
    other; `facts` are heads with a text each; `tables` and `pictures` follow.
    """

    name: str
    state: str
    sides: tuple[Side, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[axes.Picture, ...] = ()


def render(card: Card) -> str:
    """Return a card as a piece of HTML; every text in it is escaped, and cut where it is long."""
    return _environment().get_template("card.html").render(card=card)


def listed(items: Sequence[Any]) -> str:
    """Write the first of some items, and how many more follow."""
    shown = [str(item) for item in items[:_MOST]]
    rest = f", … {len(items) - _MOST} more" if len(items) > _MOST else ""
    return ", ".join(shown) + rest


def first(rows: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Return the first rows of a table, and a row of dots where there are more."""
    every = tuple(rows)
    if len(every) <= _MOST:
        return every
    return (*every[:_MOST], (f"… {len(every) - _MOST} more", *[""] * (len(every[0]) - 1)))


def duration(seconds: float) -> str:
    """Write a time with three digits, in the unit that suits it."""
    factor, unit = (1.0, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")
    number = seconds * factor
    return f"{number:.3g} {unit}" if number < 999.5 else f"{number:,.0f} {unit}"


@cache
def _environment() -> Environment:
    with needed_for("what a notebook shows"):
        from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hybridmodel.looks"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"area": axes}
    environment.filters["cut"] = lambda text: printable(text, _LONGEST)
    return environment
