"""Audited rows that wait for their labels, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybridmodel.checks import shown
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import InputMismatch

MOST_CALLS = 10_000
MOST_BYTES = 1 << 24
"""Beyond either the calls that have waited longest are forgotten."""

_CALL_BYTES = 1_000
"""About what Python itself takes for a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The compared rows of one call.

    Attributes
    ----------
    rows : ndarray of int, shape (m,)
        Their positions in the call, in order.
    audited : ndarray of bool, shape (m,)
        Those that were kept, and sent for the audit only.
    local, remote : ndarray of shape (m,), or mapping of such
        Both models' answers, as the judge has read them.
    call_rows : int
        Of the whole call.
    zeros, left : float
        As `Evidence` has them, for all the rows that wait here.
    """

    rows: Array
    audited: Array
    local: Any
    remote: Any
    call_rows: int
    zeros: float
    left: float

    def at(self, places: Array) -> Waiting:
        """Return the part with some of the rows, by their places here."""
        share = len(places) / len(self.rows)
        return replace(
            self,
            rows=self.rows[places],
            audited=self.audited[places],
            local=_at(self.local, places),
            remote=_at(self.remote, places),
            zeros=share * self.zeros,
            left=share * self.left,
        )

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        return _CALL_BYTES + sum(
            map(_bytes, (self.rows, self.audited, *_arrays(self.local), *_arrays(self.remote)))
        )


class LateLabels:
    """Calls by request id, until their labels come; the longest waiting leave first."""

    def __init__(self, most_calls: int = MOST_CALLS, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_calls, most_bytes
        self._calls: OrderedDict[str, tuple[Waiting, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, request_id: str, call: Waiting) -> None:
        """Keep a call; a larger one than all that may be kept is not."""
        size, (most_calls, most_bytes) = call.size_bytes, self._most
        self._calls[request_id] = (call, size)
        self._bytes += size
        while len(self._calls) > most_calls or self._bytes > most_bytes:
            _, (_, freed) = self._calls.popitem(last=False)
            self._bytes -= freed

    def take(
        self, request_id: str, y: Any, rows: Any, read: Callable[[list[Any]], Any]
    ) -> tuple[Waiting, Any] | None:
        """Return the rows of a call that get a label now, and their labels; they wait no more.

        Parameters
        ----------
        request_id : str
        y : sequence
            Labels, one for each row of the call, or for each of `rows`.
        rows : sequence of int or None
            Positions in the call.
        read : callable
            Returns labels as a judge takes them.

        Returns
        -------
        (Waiting, Any) or None
            None where none of these rows waits.

        Raises
        ------
        InputMismatch
            If `y` has another length, or cannot be read, or `rows` are no positions; the call goes
            on waiting.
        """
        if request_id not in self._calls:
            return None
        call, size = self._calls[request_id]
        labels = _listed(y)
        named = range(call.call_rows) if rows is None else _listed(rows)
        if len(labels) != len(named):
            raise InputMismatch(
                f"{len(labels)} labels came for {len(named)} rows of request {request_id!r}; pass "
                "one for each row of the call, or the positions as rows="
            )
        _check_positions(named, call.call_rows, request_id)
        by_row = dict(zip(named, labels, strict=True))
        has = np.array([row in by_row for row in call.rows.tolist()], bool)
        if not has.any():
            return None
        found = call.at(np.flatnonzero(has))
        read_labels = read([by_row[row] for row in found.rows.tolist()])
        del self._calls[request_id]
        self._bytes -= size
        if not has.all():
            self.add(request_id, call.at(np.flatnonzero(~has)))
        return found, read_labels


def _check_positions(rows: Sequence[Any], most: int, request_id: str) -> None:
    if isinstance(rows, range):
        return
    for row in rows:
        # True and False equal 1 and 0: a mask would give its labels to these two rows.
        if isinstance(row, bool) or row not in range(most):
            raise InputMismatch(
                f"rows= holds {shown(row)}; request {request_id!r} has the positions 0 to "
                f"{most - 1}"
            )


def _listed(values: Any) -> list[Any]:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        return [values]
    found: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return found if isinstance(found, list) else [found]


def _arrays(values: Any) -> list[Array]:
    return list(values.values()) if isinstance(values, Mapping) else [values]


def _at(values: Any, places: Array) -> Any:
    if isinstance(values, Mapping):
        return {name: array[places] for name, array in values.items()}
    return values[places]


def _bytes(array: Array) -> int:
    texts = sum(map(len, map(str, array.flat))) if array.dtype == object else 0
    return array.nbytes + texts
