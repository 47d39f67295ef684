"""Arrow IPC: files with an index of their batches, and streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from hybridmodel.batch.formats.pandas_index import Numbering
from hybridmodel.batch.formats.unreadable import readable
from hybridmodel.checks import needed_for

FILE_MAGIC, STREAM_MAGIC = b"ARROW1", b"\xff\xff\xff\xff"


def read(file: IO[bytes], name: str, *, rows: int, start_row: int = 0) -> Iterator[Any]:
    """Yield record batches of at most `rows`, at least one, which may be empty."""
    with readable(name, "arrow"):
        schema, batches = _opened(file)
    # Nobody knows how many rows there are before the last: no numbering of pandas fits.
    numbering, row, found = Numbering(schema, -1), 0, False
    while True:
        with readable(name, "arrow"):
            batch = next(batches, None)
        if batch is None:
            break
        behind = row + batch.num_rows
        for start in range(max(row, start_row), behind, rows):
            found = True
            yield numbering.added(batch.slice(start - row, rows), start)
        row = behind
    if not found:
        yield empty(schema)


def open_writer(sink: IO[bytes], schema: Any) -> Any:
    """Return a writer that appends batches, with ``write_batch`` and ``close``."""
    ipc = _ipc()
    return ipc.new_file(sink, schema, options=ipc.IpcWriteOptions(compression="lz4"))


def empty(schema: Any) -> Any:
    """Return a batch of a schema without rows."""
    import pyarrow as pa

    columns = [pa.nulls(0, field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _opened(file: IO[bytes]) -> tuple[Any, Iterator[Any]]:
    ipc = _ipc()
    options = ipc.IpcReadOptions(use_threads=False)
    if not file.seekable() or _head(file) != FILE_MAGIC:
        stream = ipc.open_stream(file, options=options)
        return stream.schema, iter(stream)
    opened = ipc.open_file(file, options=options)
    return opened.schema, map(opened.get_batch, range(opened.num_record_batches))


def _head(file: IO[bytes]) -> bytes:
    head = file.read(len(FILE_MAGIC))
    file.seek(0)
    return head


def _ipc() -> Any:
    with needed_for("an arrow file"):
        import pyarrow.ipc
    return pyarrow.ipc
