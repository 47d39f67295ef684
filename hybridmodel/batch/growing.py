"""An output that grows on a local disk, part by part, and is written only once.

Each part is a Parquet file; they stand one after the other, and one footer at the end makes them
one file. The record of a part has the size and the checksum of all bytes up to its end, so what was
written behind the last part with a record is found, and cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

from hybridmodel.batch.durable import Sink, Written
from hybridmodel.batch.formats import PARQUET, Format
from hybridmodel.batch.formats.parquet_footer import TAIL_BYTES, footer_bytes, joined_footer
from hybridmodel.batch.store import LocalStore, Store
from hybridmodel.batch.target import WHOLE
from hybridmodel.batch.work import Work

_MOST_FILES = 64
"""Of inputs: parts end with their files, and a Parquet file of many small parts is slow to read."""


def where_grows(store: Store, form: Format | None, files: int) -> LocalStore | None:
    """Return the store if an output can grow in it: a Parquet file on a local disk."""
    if form is None or form.kind != PARQUET or files > _MOST_FILES:
        return None
    return store if isinstance(store, LocalStore) else None


class Growth:
    """The output while it grows; `sink` takes the parts."""

    def __init__(self, work: Work, store: LocalStore) -> None:
        self._work = work
        self._store = store
        self._file = store.grow(WHOLE, work.end.size_bytes)
        self.sink = Sink(self._file, work.end)

    def sync(self) -> None:
        """Bring what was written to the disk; raises `OSError`."""
        self._store.sync(self._file)

    def finish(self) -> Written:
        """Append the footer of all parts, and return the size and checksum of the file.

        Raises `OSError` if something cannot be read or written.
        """
        with self._store.open(WHOLE) as file:
            self.sink.write(joined_footer(self._ends(file)))
        self.sync()
        return self.sink.written

    def _ends(self, file: Any) -> Iterator[tuple[bytes, int]]:
        """Yield the last bytes of each part, and the place of its first."""
        for begin, end in pairwise([0, *[part.size_bytes for part in self._work.grown]]):
            file.seek(end - TAIL_BYTES)
            length = footer_bytes(file.read(TAIL_BYTES))
            file.seek(end - length)
            yield file.read(length), begin

    def __enter__(self) -> Growth:
        return self

    def __exit__(self, *error: Any) -> None:
        self.sink.give_up()
        with suppress(OSError):  # All that counts was synced; a full disk fails here again.
            self._file.close()
