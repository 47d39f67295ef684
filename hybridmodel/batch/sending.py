"""Counts the rows that all runs of a job sent, including runs that were killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from hybridmodel.batch.manifest import Entry, Manifest
from hybridmodel.batch.pieces import Rows
from hybridmodel.exceptions import ConfigurationError

_ROWS = "rows sent"

Answer = Callable[[Rows], Any]


class SentRows:
    """Records rows in the manifest before they are sent; safe to share between threads.

    Raises `ConfigurationError` if the lines of earlier runs are damaged.
    """

    def __init__(self, manifest: Manifest, earlier: Iterable[Entry]) -> None:
        self._manifest = manifest
        self._lock = threading.Lock()
        self._rows = sum(map(_rows_of, earlier))

    def noting(self, answer: Answer) -> Answer:
        """Return a function that records rows, and then answers them."""

        def noted(rows: Rows) -> Any:
            self._note(rows.num_rows)
            return answer(rows)

        return noted

    def again(self, rows: int) -> int:
        """Return how many rows were resent, if `rows` different ones were sent."""
        return max(0, self._rows - rows)

    def _note(self, rows: int) -> None:
        if rows:
            with self._lock:
                self._manifest.append(Entry(_ROWS, {"rows": rows}))
                self._rows += rows


def _rows_of(entry: Entry) -> int:
    match entry.kind, entry.facts:
        case "rows sent", {"rows": int(rows)} if rows > 0:
            return rows
    raise ConfigurationError(f"the manifest's {entry.kind:.20} is not expected")
