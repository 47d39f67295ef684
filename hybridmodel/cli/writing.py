"""Predictions to stdout or into a file, which appears complete or not at all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hybridmodel.batch.formats import CSV, Format, Writer, format_of
from hybridmodel.cli.replacing import replacing
from hybridmodel.exceptions import ConfigurationError

Write = Callable[[Any], None]


def check_free(target: str | None, *, overwrite: bool) -> None:
    """Refuse a file that is there already, unless it may be overwritten.

    Raises
    ------
    ConfigurationError
        If it is, or the name says no format.
    """
    if target is None:
        return
    format_of(target)
    if Path(target).is_file() and not overwrite:
        raise ConfigurationError(f"{target}: exists already; --overwrite replaces it")


@contextmanager
def writing(target: Path | None) -> Iterator[Write]:
    """Yield a function that appends record batches; without a target it writes CSV to stdout."""
    if target is None:
        out = sys.stdout.buffer
        with _writer(out, Format(CSV)) as write:

            def write_out(batch: Any) -> None:
                write(batch)
                out.flush()  # Whoever reads a pipe gets each batch as it is answered.

            yield write_out
        return
    with (
        replacing(target) as part,
        part.open("xb") as file,
        _writer(file, format_of(str(target))) as write,
    ):
        yield write


@contextmanager
def _writer(sink: IO[bytes], written: Format) -> Iterator[Write]:
    writer: Writer | None = None

    def write(batch: Any) -> None:
        nonlocal writer
        if writer is None:
            writer = Writer(sink, written, batch.schema)
        writer.write(batch)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()
