"""What is shown of an answer: who answered how many rows, why, and how long it took."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from hybridmodel.checks import counted
from hybridmodel.data.tensors import format_shape
from hybridmodel.looks.card import Card, Side, Table, duration, first, render
from hybridmodel.switch import AZURE, LOCAL

if TYPE_CHECKING:
    from hybridmodel.data.answer import Answer

_MOST = 5


def html_of(answer: Answer) -> str:
    """Return an answer as a piece of HTML."""
    return render(card_of(answer))


def text_of(answer: Answer) -> str:
    """Return an answer in one line, without the values."""
    outputs = [f"{name}: {array.dtype}" for name, array in answer.outputs.items()]
    shapes = [format_shape(array.shape) for array in answer.outputs.values()]
    shown = [output + shape for output, shape in zip(outputs, shapes, strict=True)]
    if len(shown) > _MOST:
        shown[_MOST:] = [f"… {len(shown) - _MOST} more"]
    who = [f"{counted(rows, 'row')} {route}" for route, rows in _rows(answer).items() if rows]
    took = duration(answer.elapsed_s)
    return f"Answer({', '.join(shown) or 'no output'}; {', '.join(who) or 'no row'}; {took})"


def card_of(answer: Answer) -> Card:
    """Return what is shown of an answer."""
    rows = _rows(answer)
    return Card(
        name="Answer",
        state=f"{counted(answer.row_count, 'row')} in {duration(answer.elapsed_s)}",
        sides=(
            _side("local", (), rows[LOCAL], answer.row_count),
            _side("endpoint", tuple(_endpoint(answer)), rows[AZURE], answer.row_count),
        ),
        tables=(
            Table(
                heads=("output", "dtype", "shape"),
                rows=first(
                    (name, str(array.dtype), format_shape(array.shape))
                    for name, array in answer.outputs.items()
                ),
            ),
            Table(heads=("why", "rows"), rows=first(_reasons(answer))),
        ),
    )


def _rows(answer: Answer) -> dict[str, int]:
    """Return how many rows each route answered."""
    if answer.remote_rows is None:
        there = answer.row_count if answer.route == AZURE else 0
    else:
        there = int(np.count_nonzero(answer.remote_rows))
    return {LOCAL: answer.row_count - there, AZURE: there}


def _side(name: str, lines: tuple[str, ...], rows: int, of: int) -> Side:
    share = f" ({rows / of:.1%})" if of else ""
    return Side(name=name, lines=lines, duty=f"{counted(rows, 'row')}{share}", answers=rows > 0)


def _endpoint(answer: Answer) -> Iterator[str]:
    if answer.endpoint is not None:
        yield answer.endpoint
    if answer.model_version is not None:
        yield f"version {answer.model_version}"
    if answer.attempts:
        yield counted(answer.attempts, "request")
    request_id = answer.shared_request_id or answer.request_id
    if request_id is not None:
        yield f"request id {request_id}"


def _reasons(answer: Answer) -> list[tuple[str, str]]:
    """Return each reason with its rows, the most frequent first."""
    reason = answer.reason
    if isinstance(reason, str):
        return [(reason, f"{answer.row_count:,}")]
    counts = np.bincount(reason.codes, minlength=len(reason.texts)).tolist()
    found = sorted(zip(counts, reason.texts, strict=True), reverse=True)
    return [(text, f"{count:,}") for count, text in found if count]
