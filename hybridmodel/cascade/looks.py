"""What is shown of a calibration: its line, its text, and its card with pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from hybridmodel.cascade.bounds import interval
from hybridmodel.cascade.drawing import drawn
from hybridmodel.cascade.formatting import percent
from hybridmodel.cascade.panels import Panel
from hybridmodel.cascade.pictures import panels_of
from hybridmodel.cascade.promises_words import promised, told_of_groups
from hybridmodel.looks.card import Card, render

if TYPE_CHECKING:
    from hybridmodel.cascade.calibration import Calibration

_CLASSES_SHOWN = 3


def line_of(found: Calibration) -> str:
    """Return a calibration in one line."""
    return (
        f"Calibration(threshold {found.threshold:.6g} on {found.score}, escalates "
        f"{found.escalation:.1%}; {_promise(found)}; {found.rows:,} rows)"
    )


def text_of(found: Calibration) -> str:
    """Return what is worth knowing of a calibration, line by line."""
    low, high = found.escalation_interval
    shown = (
        f"threshold {found.threshold:.6g} on {found.score}\n"
        f"escalates {found.escalation:.1%} of the rows (95%: {low:.1%} to {high:.1%})\n"
        f"promise: {_promise(found)}\n"
        f"seen in {found.rows:,} rows: {found.risk:.2%}, so at most {found.risk_bound:.2%}"
    )
    notes = [f"warning: {note}" for note in found.warnings]
    groups = told_of_groups(found.groups, found.rows, found.escalation)
    return "\n".join([shown, *groups, *_told_of_rows(found), *_told_of_classes(found), *notes])


def html_of(found: Calibration) -> str:
    """Return a calibration as a piece of HTML."""
    return render(card_of(found))


def card_of(found: Calibration) -> Card:
    """Return what is shown of a calibration."""
    low, high = found.escalation_interval
    facts = [
        ("promise", _promise(found)),
        ("threshold", f"{found.threshold:.6g} on {found.score}"),
        ("escalates", f"{percent(found.escalation)} (95 %: {percent(low)} to {percent(high)})"),
        ("seen", f"{found.risk:.2%} in {found.rows:,} rows, so at most {found.risk_bound:.2%}"),
        *(("rows", line) for line in _told_of_rows(found)),
        ("endpoint", found.endpoint),
        ("made", found.date),
        *(("warning", note) for note in found.warnings),
    ]
    return Card(
        name="Calibration",
        state=f"of {found.rows:,} rows",
        facts=tuple(facts),
        pictures=tuple(drawn(panel) for panel in _panels(found)),
    )


def _panels(found: Calibration) -> list[Panel]:
    """Return the panels of a curve; of one that was stored it is not known that it is one."""
    columns = asdict(found.curve)
    del columns["threshold"]
    shares = [share for column in columns.values() for share in column or ()]
    is_curve = len(found.curve.escalation) > 1 and all(-1 <= share <= 1 for share in shares)
    return panels_of(found) if is_curve else []


def _promise(found: Calibration) -> str:
    return f"{promised(found)}, with {1 - found.delta:.0%} confidence"


def _told_of_rows(found: Calibration) -> Iterator[str]:
    """Say how many rows are right, and how many were asked for."""
    drawn_rows = found.drawn_rows
    if found.accuracy is not None:
        of = "" if drawn_rows is None else f" in {drawn_rows:,} rows drawn at random"
        shares = [_told_of_share(*item, drawn_rows) for item in asdict(found.accuracy).items()]
        yield f"right{of}: {', '.join(shares)}"
    if found.asked_rows is not None and found.asked_rows < found.rows:
        yield f"asked the endpoint for {found.asked_rows:,} of {found.rows:,} rows"


def _told_of_share(name: str, share: float, drawn_rows: int | None) -> str:
    if drawn_rows is None:
        return f"{name} {share:.2%}"
    low, high = interval(round(share * drawn_rows), drawn_rows)
    return f"{name} {share:.1%} ({low:.1%} to {high:.1%})"


def _told_of_classes(found: Calibration) -> Iterator[str]:
    """Name the classes that lose most."""
    worst = [item for item in found.classes if item.lost > found.epsilon][:_CLASSES_SHOWN]
    if worst:
        yield "classes that lose most:"
    yield from (f"  {item}" for item in worst)
