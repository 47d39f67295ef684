"""What the tables of a report show of its findings; their form is in ``templates/tables.html``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hybridmodel.report.filters import short
from hybridmodel.report.findings import ClassRight, Row
from hybridmodel.report.palette import LEVELS

MOST_CLASSES = 16
MOST_INPUTS = 8
FIRST_INPUTS = 4

_MOST_LISTED = 30
_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)

Pairs = Sequence[tuple[Any, Any, int]]


def classes(pairs: Pairs) -> list[Any]:
    """Return all classes in order, numbers first."""
    names = {name for local, remote, _ in pairs for name in (local, remote)}
    return sorted(names, key=lambda name: (isinstance(name, str), name))


def confusions(pairs: Pairs) -> list[tuple[Any, Any, int]]:
    """Return the most frequent pairs of classes that differ."""
    return [pair for pair in pairs if pair[0] != pair[1]][:_MOST_LISTED]


def matrix(pairs: Pairs, names: list[Any]) -> Iterator[tuple[Any, list[tuple[int, str]], int, int]]:
    """Yield for each local class the rows and shade of each remote class, all rows, and agreed."""
    counts = {pair[:2]: pair[2] for pair in pairs}
    for local in names:
        row = [counts.get((local, remote), 0) for remote in names]
        total = max(sum(row), 1)
        levels = [max(1, round((LEVELS - 1) * (rows / total) ** 0.5)) for rows in row]
        kinds = ["same" if remote == local else "other" for remote in names]
        shades = [f"{kind}-{level}" for kind, level in zip(kinds, levels, strict=True)]
        yield local, list(zip(row, shades, strict=True)), sum(row), counts.get((local, local), 0)


def most_frequent(found: Sequence[ClassRight]) -> list[ClassRight]:
    """Return the labels with the most rows, in the order of all."""
    most = sorted(found, key=lambda item: -item.rows)[:_MOST_LISTED]
    return [item for item in found if item in most]


def places(escalation: Sequence[float]) -> list[int]:
    """Return the points of a curve that are nearest to some round shares."""
    shares = np.asarray(escalation)
    return sorted({int(np.abs(shares - share).argmin()) for share in _SHARES})


def quantiles(seconds: Sequence[float]) -> list[float]:
    """Return how long half, 95 %, 99 % and all of the calls took at most."""
    return list(np.quantile(seconds, (0.5, 0.95, 0.99, 1.0)))


def input_columns(rows: Sequence[Row]) -> dict[str, str]:
    """Return the titles of the inputs' columns by input."""
    return {name: f"input {name}" for row in rows for name in row.inputs}


def written(inputs: Mapping[str, Any]) -> list[str]:
    """Write inputs with their names."""
    return [f"{name} = {short(value)}" for name, value in inputs.items()]
