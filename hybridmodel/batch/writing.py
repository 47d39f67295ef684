"""Answers become parts, and parts become the output.

For a folder, the parts are the output. A Parquet file on a local disk grows by them, see `growing`.
Parts of text formats are text, and are joined at the end. For any other file, the parts are kept in
Arrow IPC, which is cheap, and the file is written beside them: a resumed job writes it again from
the finished parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from typing import Any

from hybridmodel.batch.bad_rows import Sifted
from hybridmodel.batch.durable import Sink, Written
from hybridmodel.batch.formats import ARROW, PARQUET, Format, Writer
from hybridmodel.batch.growing import Growth
from hybridmodel.batch.parts import PartRecord
from hybridmodel.batch.pipeline import Scored
from hybridmodel.batch.summary import Counts
from hybridmodel.batch.target import BAD, PARTS, WHOLE, Done, part_name
from hybridmodel.batch.work import Work

_COPY_BYTES = 1 << 20


def form_of_parts(form: Format | None, *, is_first_pass: bool, grows: bool) -> Format:
    """Return the format of the parts of an output."""
    if is_first_pass:
        return Format(ARROW)
    if form is None:
        return Format(PARQUET)
    return form if form.is_text or grows else Format(ARROW)


def write_parts(
    work: Work,
    results: Iterable[Scored],
    starts: dict[int, tuple[int, int]],
    whole: Whole | Growth | None,
) -> Iterator[PartRecord]:
    """Write parts as their answers arrive, and yield the record of each committed part.

    Raises `ConfigurationError` if a column has a type that does not fit into the one it had before;
    `OSError` if something cannot be written.
    """
    schema, coming = _schema(work), iter(results)
    growth = whole if isinstance(whole, Growth) else None
    beside = whole if isinstance(whole, Whole) else None
    result = next(coming, None)
    while result is not None:
        number = result.part
        with _Part(work, number, schema, growth) as part:
            while result is not None and result.part == number:
                part.write(result.batch, result.counts)
                if beside is not None:
                    beside.write(result.batch.batch)
                if part.rows >= work.part_rows:
                    break  # It is full, so it need not wait for the next batch.
                result = next(coming, None)
        schema = part.schema
        record = part.record(*starts.pop(number))
        work.commit(record)
        yield record
        if part.rows >= work.part_rows:
            result = next(coming, None)


def read_part(work: Work, number: int) -> Iterator[Any]:
    """Yield the record batches of a part in Arrow IPC."""
    import pyarrow as pa

    with work.store.open(work.part(number)) as file:
        size = file.size()
        while file.tell() < size:
            yield from pa.ipc.open_stream(file)


def finish(work: Work, form: Format | None, whole: Whole | Growth | None, counts: Counts) -> Done:
    """Join what is not written yet when all parts are done, and record the output.

    Raises `OSError` if something cannot be written.
    """
    numbers = range(work.position.part)
    written = None if whole is None else whole.finish()
    if whole is None and form is not None:
        written = _put_together(work, WHOLE, map(work.part, numbers))
    bad = [work.bad(number) for number in numbers if work.store.exists(work.bad(number))]
    done = Done(
        parts=len(numbers),
        counts=counts,
        whole=written,
        bad=_put_together(work, BAD, bad) if bad else None,
    )
    work.finish(done)
    return done


class Whole:
    """The output as one file, which counts only when it is finished."""

    def __init__(self, work: Work, form: Format) -> None:
        self._form = form
        self._writer: Writer | None = None
        self._stack = ExitStack()
        self._sink = self._stack.enter_context(work.store.create(WHOLE))

    def write(self, batch: Any) -> None:
        """Append a batch."""
        if self._writer is None:
            self._writer = Writer(self._sink, self._form, batch.schema)
        self._writer.write(batch)

    def finish(self) -> Written:
        """Flush the file to the disk, and return its size and checksum."""
        if self._writer is not None:
            self._writer.close()
        self._stack.close()
        return self._sink.written

    def __enter__(self) -> Whole:
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self._stack.__exit__(*error)


def write_folder(work: Work, batches: Iterable[tuple[int, Any]]) -> None:
    """Write the Parquet files of an output folder from batches with their part numbers."""
    schema = None
    for number, group in groupby(batches, lambda pair: pair[0]):
        with work.store.create(f"{PARTS}/{part_name(number)}") as sink:
            writer = None
            for _, batch in group:
                schema = schema or batch.schema
                writer = writer or Writer(sink, Format(PARQUET), schema)
                writer.write(batch)
            if writer is not None:
                writer.close()


class _Part:
    """A part while it is written: its file, and a file of its bad rows if there are any."""

    def __init__(self, work: Work, number: int, schema: Any, growth: Growth | None) -> None:
        self.schema = schema
        self._growth = growth
        self._work = work
        self._number = number
        self._stack = ExitStack()
        self._bad: Sink | None = None
        self._writer: Any = None
        self._counts = Counts()

    def __enter__(self) -> _Part:
        if self._growth is not None:
            self._sink = self._growth.sink
        else:
            name = self._work.part(self._number)
            self._sink = self._stack.enter_context(self._work.store.create(name))
        return self

    def write(self, sifted: Sifted, counts: Counts) -> None:
        """Append the answers and the bad rows."""
        if self._writer is None:
            self.schema = self.schema or sifted.batch.schema
            self._writer = self._opened()
        self._writer.write(sifted.batch)
        for row in sifted.bad:
            if self._bad is None:
                name = self._work.bad(self._number)
                self._bad = self._stack.enter_context(self._work.store.create(name))
            self._bad.write(row.line())
        self._counts += counts

    @property
    def rows(self) -> int:
        """The number of input rows so far."""
        return self._counts.rows

    def record(self, file: int, row: int) -> PartRecord:
        """Return its record for the manifest."""
        return PartRecord(
            number=self._number,
            file=file,
            row=row,
            counts=self._counts,
            written=self._sink.written,
            bad=None if self._bad is None else self._bad.written,
        )

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self._writer.close()
            if self._growth is not None:
                self._growth.sync()
        self._stack.__exit__(*error)

    def _opened(self) -> Any:
        form = self._work.form
        if form.kind == ARROW:
            return _Streams(self._sink)
        return Writer(self._sink, form, self.schema, header=self._number == 0)


class _Streams:
    """A sequence of Arrow IPC streams; a new one begins when the types change, as in text."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._writer: Any = None
        self._schema: Any = None

    def write(self, batch: Any) -> None:
        import pyarrow as pa

        if self._writer is None or batch.schema != self._schema:
            self.close()
            self._schema = batch.schema
            self._writer = pa.ipc.new_stream(self._sink, self._schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _schema(work: Work) -> Any:
    """Return the schema of finished Parquet parts; None if there are none."""
    if not work.position.part or work.form.kind != PARQUET:
        return None
    import pyarrow as pa
    import pyarrow.parquet

    with work.store.open(work.part(0) if work.growing is None else WHOLE) as file:
        size = file.size() if work.growing is None else work.grown[0].size_bytes
        return pyarrow.parquet.read_schema(pa.BufferReader(file.read_buffer(size)))


def _put_together(work: Work, name: str, pieces: Iterable[str]) -> Written:
    """Concatenate files into a new one."""
    with work.store.create(name) as sink:
        for piece in pieces:
            with work.store.open(piece) as file:
                while data := file.read(_COPY_BYTES):
                    sink.write(data)
    return sink.written
