"""Further sections of a report: what an audit has seen, and the same figures of another model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from hybridmodel.cascade.formatting import percent
from hybridmodel.cascade.stored_audit import read_audit
from hybridmodel.report.filters import count, milliseconds, number
from hybridmodel.report.findings import Extra, Findings
from hybridmodel.routing.audit_file import added_up
from hybridmodel.routing.audit_report import numbers

_UNKNOWN = "–"


def audited(paths: Sequence[str | Path]) -> Extra:
    """Return what audits of one cascade have seen together.

    Parameters
    ----------
    paths : sequence of path
        The files that they keep; at least one, each of another process.

    Raises
    ------
    ConfigurationError
        If one is no audit's, or they are of different cascades.
    OSError
        If one cannot be read.
    """
    first = read_audit(paths[0])
    state = added_up(first.state, paths[1:], {first.writer})
    found = numbers(state.checked(time.time()))  # All of them together may give an alarm.
    return Extra(
        name="audit",
        title="Live audit",
        lead=_verdict(found),
        head=("", "audited rows", "share of all rows", "with 95 % confidence"),
        rows=(
            _seen("both models differ", found, "cascade.live_risk", "cascade.audited"),
            _seen("kept at a loss, by labels", found, "cascade.live_loss", "cascade.labelled"),
        ),
    )


def beside(one: Findings, other: Findings) -> Extra:
    """Return the main figures of two reports on the same rows side by side."""
    pairs = zip(_figures(one), _figures(other), strict=True)
    return Extra(
        name="beside",
        title="Beside another model",
        lead="Both models answered the same rows, each beside the endpoint of its own.",
        head=("", one.title, other.title),
        rows=tuple((name, mine, theirs) for (name, mine), (_, theirs) in pairs),
    )


def _verdict(found: Mapping[str, float]) -> str:
    holds = found.get("cascade.promise_holds")
    if not found:
        return "No row was audited so far."
    if holds is None:
        return "The cascade has no calibration, so there is no promise to hold it against."
    if holds:
        return "Nothing seen so far speaks against the promise of the calibration."
    row = count(int(found["cascade.alarm_row"]))
    return f"The promise does not hold, as was seen after {row} audited rows: calibrate again."


def _seen(what: str, found: Mapping[str, float], name: str, rows: str) -> tuple[str, ...]:
    if name not in found:
        return (what, count(int(found.get(rows, 0))), _UNKNOWN, _UNKNOWN)
    low, high = (percent(found[f"{name}_{end}"], 2) for end in ("low", "high"))
    return (what, count(int(found[rows])), percent(found[name], 2), f"{low} to {high}")


def _figures(found: Findings) -> Iterator[tuple[str, str]]:
    """Yield the figures of a report, always the same ones."""
    summary, right = found.summary, found.labelled
    chosen = None if found.escalation is None else found.escalation.chosen
    accuracy = None if chosen is None else chosen.accuracy
    yield "rows on which both sides agree", _share(summary.agreed / summary.rows)
    yield "local model right", _share(None if right is None else right.local)
    yield "endpoint right", _share(None if right is None else right.remote)
    yield "cascade right", _share(None if accuracy is None else accuracy.cascade)
    yield "threshold", _UNKNOWN if chosen is None else number(chosen.threshold)
    yield "rows sent on", _share(None if chosen is None else chosen.escalation)
    yield "kept at a loss", _share(None if chosen is None else chosen.risk)
    yield "promised at most", _share(None if chosen is None else chosen.epsilon)
    yield "median of local calls", milliseconds(float(np.median(found.durations.local_s)))
    yield "median of the endpoint's calls", milliseconds(float(np.median(found.durations.remote_s)))


def _share(value: float | None) -> str:
    return _UNKNOWN if value is None else percent(value, 2)
