"""What is shown of a comparison: how often both routes agree, and where they do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hybridmodel.checks import counted
from hybridmodel.compare.comparison import Comparison
from hybridmodel.looks.card import Card, Table, duration, first, render

if TYPE_CHECKING:
    from hybridmodel.compare.comparison import ComparisonSummary
    from hybridmodel.compare.values import OutputDifference


def html_of(found: Comparison | ComparisonSummary) -> str:
    """Return a comparison, or its result, as a piece of HTML."""
    summary = found.summary() if isinstance(found, Comparison) else found
    return render(card_of(summary, type(found).__name__))


def text_of(found: ComparisonSummary) -> str:
    """Return a comparison in one line."""
    return f"Comparison({_agreement(found)} by {found.agree_by}; {counted(found.calls, 'call')})"


def card_of(found: ComparisonSummary, name: str = "Comparison") -> Card:
    """Return what is shown of the result of a comparison."""
    return Card(
        name=name, state=_agreement(found), facts=tuple(_facts(found)), tables=tuple(_tables(found))
    )


def _agreement(found: ComparisonSummary) -> str:
    if found.agreement is None:
        return "no row compared yet"
    low, high = found.agreement_interval()
    rows = counted(found.rows, "row")
    return f"{found.agreement:.1%} of {rows} agree (95%: {low:.1%} to {high:.1%})"


def _facts(found: ComparisonSummary) -> Iterator[tuple[str, str]]:
    yield "agree by", found.agree_by
    yield "calls", f"{found.calls:,}"
    if found.shed:
        yield "not compared", f"{counted(found.shed, 'call')}, since too many waited"
    for error, calls in found.failures.items():
        yield "failed", f"{counted(calls, 'call')}: {error}"
    for route, took in found.latency.items():
        yield f"time, {route}", f"half within {duration(took.p50_s)}, 95% {duration(took.p95_s)}"


def _tables(found: ComparisonSummary) -> Iterator[Table]:
    if found.outputs:
        heads = ("output", "rows", "differing rows", "largest difference")
        yield Table(heads=heads, rows=first(map(_row, found.outputs)))
    apart = [pair for pair in found.pairs if pair[0] != pair[1]]
    if apart:
        rows = ((str(local), str(azure), f"{count:,}") for local, azure, count in apart)
        yield Table(heads=("local says", "endpoint says", "rows"), rows=first(rows))


def _row(found: OutputDifference) -> tuple[str, ...]:
    largest = "" if found.max_abs_diff is None else f"{found.max_abs_diff:.3g}"
    if found.max_cosine_distance is not None:
        largest = f"{found.max_cosine_distance:.3g} (cosine distance)"
    return found.name, f"{found.rows:,}", f"{found.differing_rows:,}", largest
