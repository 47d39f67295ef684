"""The tables of a report, as texts."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.cascade.formatting import percent
from hybridmodel.compare.comparison import ComparisonSummary
from hybridmodel.report.findings import Durations, Errors, Escalation, Labelled, Numbers, Row
from hybridmodel.report.formatting import count, milliseconds, number, short
from hybridmodel.report.palette import LEVELS

_MOST_CLASSES = 16
_MOST_LISTED = 30
_MOST_INPUTS = 8
_FIRST_INPUTS = 4
_TABLE_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)

Pairs = Sequence[tuple[Any, Any, int]]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that is more than its text.

    Attributes
    ----------
    text : str
    shade : str or None
        One of `hybridmodel.report.palette.SHADES`.
    folded : str
        What is shown when the text is opened.
    """

    text: str
    shade: str | None = None
    folded: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table whose first column names the rows.

    Attributes
    ----------
    caption : str
    header : tuple of str
    rows : list of tuple of (str or Cell)
    texts : frozenset of int
        Columns that hold no numbers.
    kind : str or None
        Class of the table.
    """

    caption: str
    header: tuple[str, ...]
    rows: list[tuple[str | Cell, ...]]
    texts: frozenset[int] = frozenset((0,))
    kind: str | None = None


def pairs_table(pairs: Pairs) -> Table | None:
    """Return rows by local and remote class, or the most frequent confusions of many classes."""
    if not pairs:
        return None
    names = _classes(pairs)
    if len(names) > _MOST_CLASSES:
        return _confusions(pairs, len(names))
    counts = {pair[:2]: pair[2] for pair in pairs}
    lines: list[tuple[str | Cell, ...]] = []
    for at, local in enumerate(names):
        row = [counts.get((local, remote), 0) for remote in names]
        total = sum(row)
        cells = [_shaded(rows, total, same=place == at) for place, rows in enumerate(row)]
        agreed = percent(row[at] / total) if total else "–"
        lines.append((short(local), *cells, count(total), agreed))
    return Table(
        caption="Rows by the local model's class (down) and the endpoint's (across)",
        header=("local", *map(short, names), "all", "agree"),
        rows=lines,
        kind="pairs",
    )


def labelled_tables(found: Labelled) -> list[Table]:
    """Return who is right, for all rows and by label."""
    quarters = (
        ("both right", found.both),
        ("only the local model right", found.only_local),
        ("only the endpoint right", found.only_remote),
        ("both wrong", found.neither),
    )
    right = Table(
        caption="Rows by who is right",
        header=("", "rows", "share"),
        rows=[(name, count(rows), percent(rows / found.rows)) for name, rows in quarters],
    )
    return [right, _by_label(found)] if found.classes else [right]


def errors_table(found: Numbers) -> Table | None:
    """Return the errors of both routes against the labels; None without labels."""
    if found.local_errors is None or found.remote_errors is None:
        return None
    return Table(
        caption="Distance from the labels",
        header=("", "mean absolute", "root mean square"),
        rows=[
            ("local model", *_distances(found.local_errors)),
            ("endpoint", *_distances(found.remote_errors)),
        ],
    )


def outputs_table(summary: ComparisonSummary) -> Table:
    """Return how often and how far each output differs."""
    return Table(
        caption="Every output, value by value",
        header=("output", "rows", "with another value", "largest difference", "mean difference"),
        rows=[
            (
                item.name,
                count(item.rows),
                count(item.differing_rows),
                "–" if item.max_abs_diff is None else number(item.max_abs_diff),
                "–" if item.mean_abs_diff is None else number(item.mean_abs_diff),
            )
            for item in summary.outputs
        ],
    )


def cost_table(found: Escalation) -> Table:
    """Return the curve's figures at some shares of escalated rows."""
    curve = found.curve
    shares = np.asarray(curve.escalation)
    places = sorted({int(np.abs(shares - share).argmin()) for share in _TABLE_SHARES})
    columns = {
        "sent on": [percent(curve.escalation[place]) for place in places],
        "threshold": [number(curve.threshold[place]) for place in places],
    }
    if curve.accuracy is not None:
        columns["right"] = [percent(curve.accuracy[place], 2) for place in places]
    columns["kept at a loss"] = [percent(curve.risk[place], 2) for place in places]
    columns["at most"] = [percent(curve.risk_bound[place], 2) for place in places]
    return _of_columns("The same in numbers", columns, columns)


def latency_table(found: Durations) -> Table:
    """Return how long calls took on both routes, and their throughput."""
    lines = []
    for name, seconds, speed in (
        ("local model", found.local_s, found.local_rows_per_s),
        ("endpoint", found.remote_s, found.remote_rows_per_s),
    ):
        quantiles = np.quantile(seconds, (0.5, 0.95, 0.99, 1.0)).tolist()
        lines.append((name, *map(milliseconds, quantiles), count(round(speed))))
    batch = f"rows a second, {count(found.batch_rows)} at a time"
    return Table(
        caption="Calls, and rows in large batches",
        header=("", "half within", "95 %", "99 %", "longest", batch),
        rows=[*lines],
    )


def rows_table(shown: Sequence[Row]) -> Table:
    """Return rows on which the routes disagree, with their inputs."""
    columns: dict[str, list[Any]] = {
        "row": [count(row.position) for row in shown],
        "local": [short(row.local) for row in shown],
        "endpoint": [short(row.remote) for row in shown],
    }
    if any(row.label is not None for row in shown):
        columns["label"] = [short(row.label) for row in shown]
    if any(row.score is not None for row in shown):
        columns["score"] = ["–" if row.score is None else f"{row.score:.4f}" for row in shown]
    columns |= _inputs(shown)
    return _of_columns("Rows on which local model and endpoint disagree", columns, ("row", "score"))


def _of_columns(caption: str, columns: dict[str, list[Any]], numbers: Container[str]) -> Table:
    header = tuple(columns)
    return Table(
        caption=caption,
        header=header,
        rows=list(zip(*columns.values(), strict=True)),
        texts=frozenset(at for at, name in enumerate(header) if name not in numbers),
    )


def _confusions(pairs: Pairs, classes: int) -> Table:
    confused = [pair for pair in pairs if pair[0] != pair[1]][:_MOST_LISTED]
    return Table(
        caption=f"The most frequent of {classes} classes that they do not agree on",
        header=("local", "endpoint", "rows"),
        rows=[(short(local), short(remote), count(rows)) for local, remote, rows in confused],
        texts=frozenset((0, 1)),
    )


def _classes(pairs: Pairs) -> list[Any]:
    names = {name for local, remote, _ in pairs for name in (local, remote)}
    return sorted(names, key=lambda name: (isinstance(name, str), name))


def _shaded(rows: int, total: int, *, same: bool) -> Cell:
    if rows == 0:
        return Cell("·")
    level = max(1, round((LEVELS - 1) * (rows / total) ** 0.5))
    return Cell(count(rows), f"{'same' if same else 'other'}-{level}")


def _by_label(found: Labelled) -> Table:
    most = sorted(found.classes, key=lambda item: -item.rows)[:_MOST_LISTED]
    shown = [item for item in found.classes if item in most]
    more = len(found.classes) - len(shown)
    return Table(
        caption="Right by label" + (f"; {more} rarer labels are left out" if more else ""),
        header=("label", "rows", "local right", "endpoint right", "agree"),
        rows=[
            (
                short(item.label),
                count(item.rows),
                *(percent(n / item.rows) for n in (item.local, item.remote, item.agreed)),
            )
            for item in shown
        ],
    )


def _distances(errors: Errors) -> tuple[str, str]:
    return number(errors.mean_abs), number(errors.root_mean_square)


def _inputs(shown: Sequence[Row]) -> dict[str, list[Any]]:
    """Show a few inputs in a column each, many in one."""
    names = list(dict.fromkeys(name for row in shown for name in row.inputs))
    if len(names) > _MOST_INPUTS:
        return {"inputs": [_folded(row.inputs) for row in shown]}
    return {f"input {name}": [short(row.inputs.get(name, "")) for row in shown] for name in names}


def _folded(inputs: dict[str, Any]) -> Cell:
    """Show the first values, and all when opened."""
    values = [f"{name} = {short(value)}" for name, value in inputs.items()]
    first = f"{', '.join(values[:_FIRST_INPUTS])}, … ({len(values)} values)"
    return Cell(first, folded=", ".join(values))
