"""The sections of a report, each from the findings to markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hybridmodel.report import charts
from hybridmodel.report.findings import Durations, Errors, Escalation, Findings, Labelled, Row
from hybridmodel.report.markup import Html, join, table, tag
from hybridmodel.report.style import LEVELS
from hybridmodel.report.words import count, milliseconds, number, percent, short

_MOST_CLASSES = 16
_MOST_LISTED = 30
_MOST_INPUTS = 8
_FIRST_INPUTS = 4
_TABLE_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


def agreement(findings: Findings) -> Html:
    """Show on which rows the sides agree, and how far apart their numbers are."""
    summary = findings.summary
    low, high = summary.agreement_interval()
    share = summary.agreed / summary.rows
    return _section(
        "agreement",
        "Agreement",
        tag(
            "p",
            f"Both sides agree on {count(summary.agreed)} of {count(summary.rows)} rows, ",
            tag("strong", percent(share)),
            f". For rows like these the share lies between {percent(low)} and {percent(high)} "
            "with 95 % confidence.",
            class_="lead",
        ),
        tag("p", f"To agree means: the same {summary.agree_by}.", class_="soft")
        if summary.pairs
        else tag("p", f"To agree means: {summary.agree_by}.", class_="soft"),
        _pairs(summary.pairs),
        None if findings.labelled is None else _labelled(findings.labelled),
        _numbers(findings),
        _outputs(findings),
    )


def cost(findings: Findings) -> Html:
    """Show what each share of escalated rows would cost."""
    found = findings.escalation
    if found is None:
        return _section(
            "cost", "Cost of a cascade", tag("p", f"No curve: {findings.why_no_curve}.")
        )
    drawn = charts.accuracy_curve(found)
    return _section(
        "cost",
        "Cost of a cascade",
        tag(
            "p",
            "If the local model answered all rows, and those of which it is least sure went on to "
            f"the endpoint, in the order of the score {found.score}:",
        ),
        None if drawn is None else tag("figure", drawn),
        tag(
            "figure",
            charts.risk_curve(found),
            tag(
                "figcaption",
                f"A loss is: {found.loss}. The shaded band reaches up to what the share may be for "
                f"all rows like these, with {percent(1 - found.delta, 0)} confidence at each point "
                "by itself. These rows do not choose a threshold with a promise: ",
                tag("code", "hybridmodel calibrate"),
                " does.",
            ),
        ),
        _chosen(found),
        _cost_table(found),
    )


def latency(findings: Findings) -> Html:
    """Show how long calls took on both sides."""
    found = findings.durations
    what = (
        "Calls of one row each, one after the other, both sides in turn"
        if found.of_one_row
        else "Calls for all rows"
    )
    return _section(
        "latency",
        "Latency",
        tag(
            "figure",
            charts.latency_curves(found),
            tag(
                "figcaption",
                f"{what}: {count(len(found.local_s))} on each. Solid: the local model; dashed: "
                "the endpoint, with the network.",
            ),
        ),
        _latency_table(found),
    )


def rows(findings: Findings) -> Html:
    """Show rows on which the sides disagree."""
    shown = findings.rows
    differing = findings.summary.rows - findings.summary.agreed
    if not shown:
        text = "There is none." if not differing else f"None of {count(differing)} is shown."
        return _section("rows", "Rows they disagree on", tag("p", text))
    which = "all of them" if len(shown) == differing else f"{len(shown)} of {count(differing)}"
    return _section(
        "rows",
        "Rows they disagree on",
        tag("p", f"Shown are {which}: {findings.rows_order}. Rows are counted from 0."),
        _row_table(shown),
    )


def _section(name: str, title: str, *parts: Html | None) -> Html:
    heading = tag("h2", title, id=f"{name}-heading")
    return tag("section", heading, *parts, id=name, aria_labelledby=f"{name}-heading")


def _pairs(pairs: Sequence[tuple[Any, Any, int]]) -> Html | None:
    """Show a table of classes by classes, or the most frequent confusions of many."""
    if not pairs:
        return None
    names = _classes(pairs)
    if len(names) > _MOST_CLASSES:
        return _confusions(pairs, len(names))
    counts = {pair[:2]: pair[2] for pair in pairs}
    lines = []
    for at, here in enumerate(names):
        row = [counts.get((here, there), 0) for there in names]
        total = sum(row)
        cells = [_shaded(rows, total, same=place == at) for place, rows in enumerate(row)]
        agreed = percent(row[at] / total) if total else "–"
        lines.append((short(here), *cells, count(total), agreed))
    return table(
        "Rows by the local model's class (down) and the endpoint's (across)",
        ("local", *map(short, names), "all", "agree"),
        lines,
        numbers=range(1, len(names) + 3),
        class_="pairs",
    )


def _confusions(pairs: Sequence[tuple[Any, Any, int]], classes: int) -> Html:
    confused = [pair for pair in pairs if pair[0] != pair[1]][:_MOST_LISTED]
    return table(
        f"The most frequent of {classes} classes that they do not agree on",
        ("local", "endpoint", "rows"),
        [(short(here), short(there), count(rows)) for here, there, rows in confused],
        numbers=[2],
    )


def _classes(pairs: Sequence[tuple[Any, Any, int]]) -> list[Any]:
    names = {name for here, there, _ in pairs for name in (here, there)}
    return sorted(names, key=lambda name: (isinstance(name, str), name))


def _shaded(rows: int, total: int, *, same: bool) -> Html:
    level = 0 if rows == 0 else max(1, round((LEVELS - 1) * (rows / total) ** 0.5))
    kind = f"{'same' if same else 'other'}-{level}" if level else None
    return tag("td", count(rows) if rows else "·", class_=kind)


def _labelled(found: Labelled) -> Html:
    whole = found.rows
    quarters = [
        ("both right", found.both),
        ("only the local model right", found.only_local),
        ("only the endpoint right", found.only_azure),
        ("both wrong", found.neither),
    ]
    parts = [
        table(
            "Rows by who is right",
            ("", "rows", "share"),
            [(name, count(rows), percent(rows / whole)) for name, rows in quarters],
            numbers=[1, 2],
        ),
    ]
    if found.classes:
        shown = sorted(found.classes, key=lambda item: -item.rows)[:_MOST_LISTED]
        shown = [item for item in found.classes if item in shown]
        more = len(found.classes) - len(shown)
        parts.append(
            table(
                "Right by label" + (f"; {more} rarer labels are left out" if more else ""),
                ("label", "rows", "local right", "endpoint right", "agree"),
                [
                    (
                        short(item.label),
                        count(item.rows),
                        *(percent(n / item.rows) for n in (item.local, item.azure, item.agreed)),
                    )
                    for item in shown
                ],
                numbers=[1, 2, 3, 4],
            )
        )
    return join([tag("h3", "Held against the labels"), tag("div", *parts, class_="beside")])


def _numbers(findings: Findings) -> Html | None:
    found = findings.numbers
    if found is None:
        return None
    parts = [
        tag("h3", f"The number {found.output}"),
        tag("figure", charts.scatter(found)),
        tag("figure", charts.histogram(found)),
    ]
    if found.skipped:
        parts.append(
            tag("p", f"{count(found.skipped)} rows are left out: a number in them is not finite.")
        )
    if found.local_errors is not None and found.azure_errors is not None:
        parts.append(
            table(
                "Distance from the labels",
                ("", "mean absolute", "root mean square"),
                [
                    ("local model", *_distances(found.local_errors)),
                    ("endpoint", *_distances(found.azure_errors)),
                ],
                numbers=[1, 2],
            )
        )
    return join(parts)


def _distances(errors: Errors) -> tuple[str, str]:
    return number(errors.mean_abs), number(errors.root_mean_square)


def _outputs(findings: Findings) -> Html:
    made = table(
        "Every output, value by value",
        ("output", "rows", "with another value", "largest difference", "mean difference"),
        [
            (
                item.name,
                count(item.rows),
                count(item.differing_rows),
                "–" if item.max_abs_diff is None else number(item.max_abs_diff),
                "–" if item.mean_abs_diff is None else number(item.mean_abs_diff),
            )
            for item in findings.summary.outputs
        ],
        numbers=[1, 2, 3, 4],
    )
    return tag("details", tag("summary", "Every output, value by value"), made)


def _chosen(found: Escalation) -> Html | None:
    chosen = found.chosen
    if chosen is None:
        return None
    text = (
        f"The threshold that the model was saved with, {number(chosen.threshold)}, sends "
        f"{percent(chosen.escalation)} of these rows on and keeps {percent(chosen.risk, 2)} of all "
        "rows at a loss"
    )
    if chosen.epsilon is not None:
        text += f"; its calibration promised at most {percent(chosen.epsilon, 2)}"
    return tag("p", f"{text}.")


def _cost_table(found: Escalation) -> Html:
    curve = found.curve
    shares = np.asarray(curve.escalation)
    places = sorted({int(np.abs(shares - share).argmin()) for share in _TABLE_SHARES})
    lines = []
    for place in places:
        line = [percent(curve.escalation[place]), number(curve.threshold[place])]
        if curve.accuracy is not None:
            line.append(percent(curve.accuracy[place], 2))
        lines.append([*line, percent(curve.risk[place], 2), percent(curve.risk_bound[place], 2)])
    right = [] if curve.accuracy is None else ["right"]
    header = ["sent on", "threshold", *right, "kept at a loss", "at most"]
    return table("The same in numbers", header, lines, numbers=range(len(header)))


def _latency_table(found: Durations) -> Html:
    lines = []
    for name, seconds, speed in (
        ("local model", found.local_s, found.local_rows_per_s),
        ("endpoint", found.azure_s, found.azure_rows_per_s),
    ):
        quantiles = np.quantile(seconds, (0.5, 0.95, 0.99, 1.0)).tolist()
        lines.append((name, *map(milliseconds, quantiles), count(round(speed))))
    batch = f"rows a second, {count(found.batch_rows)} at a time"
    return table(
        "Calls, and rows in large batches",
        ("", "half within", "95 %", "99 %", "longest", batch),
        lines,
        numbers=range(1, 6),
    )


def _row_table(shown: Sequence[Row]) -> Html:
    columns: dict[str, list[Any]] = {
        "row": [count(row.position) for row in shown],
        "local": [short(row.local) for row in shown],
        "endpoint": [short(row.azure) for row in shown],
    }
    if any(row.label is not None for row in shown):
        columns["label"] = [short(row.label) for row in shown]
    if any(row.score is not None for row in shown):
        columns["score"] = ["–" if row.score is None else f"{row.score:.4f}" for row in shown]
    columns |= _inputs(shown)
    header = list(columns)
    return table(
        "Rows on which local model and endpoint disagree",
        header,
        zip(*columns.values(), strict=True),
        numbers=[place for place, name in enumerate(header) if name in ("row", "score")],
    )


def _inputs(shown: Sequence[Row]) -> dict[str, list[Any]]:
    """Show a few inputs in a column each, many in one."""
    names = list(dict.fromkeys(name for row in shown for name in row.inputs))
    if len(names) > _MOST_INPUTS:
        return {"inputs": [_folded(row.inputs) for row in shown]}
    return {f"input {name}": [short(row.inputs.get(name, "")) for row in shown] for name in names}


def _folded(inputs: dict[str, Any]) -> Html:
    """Show the first values, and all when asked."""
    values = [f"{name} = {short(value)}" for name, value in inputs.items()]
    first = f"{', '.join(values[:_FIRST_INPUTS])}, … ({len(values)} values)"
    return tag("details", tag("summary", first), ", ".join(values))
