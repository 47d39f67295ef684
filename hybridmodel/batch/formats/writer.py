"""`Writer`: appends record batches to a file, whatever its format."""

from __future__ import annotations

import gzip
from typing import IO, Any

from hybridmodel.batch.formats import arrow_ipc, parquet
from hybridmodel.batch.formats.csv_text import CsvWriter
from hybridmodel.batch.formats.json_lines import JsonLinesWriter
from hybridmodel.batch.formats.kinds import CSV, NAMES, PARQUET, Format
from hybridmodel.exceptions import ConfigurationError


class Writer:
    """Append record batches to an open file.

    Raises `ConfigurationError` if the format has no place for a type of the schema.
    """

    def __init__(self, sink: Any, kind: str | Format, schema: Any, *, header: bool = True) -> None:
        self._format = Format(kind) if isinstance(kind, str) else kind
        self._schema = schema.remove_metadata()
        self._zip: Any = None
        if self._format.zipped:
            # Without a time and a name, so that the same rows give the same bytes.
            self._zip = gzip.GzipFile(fileobj=sink, mode="wb", filename="", mtime=0)
        self._writer = self._opened(self._zip or sink, header)

    def write(self, batch: Any) -> None:
        """Append a batch.

        Raises `ConfigurationError` if it has other columns, or one of a type that does not fit.
        """
        if batch.schema.names != self._schema.names:
            raise ConfigurationError(
                f"the columns {', '.join(batch.schema.names)} came after "
                f"{', '.join(self._schema.names)}"
            )
        if not self._format.is_text and not batch.schema.equals(self._schema):
            batch = self._fitted(batch)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Write what ends the file; the sink stays open."""
        if not self._format.is_text:
            self._writer.close()
        if self._zip is not None:
            self._zip.close()

    def _opened(self, sink: IO[bytes], header: bool) -> Any:
        import pyarrow as pa

        if self._format.kind == CSV:
            names, separator = self._schema.names, self._format.separator
            return CsvWriter(sink, names, separator, header=header)
        if self._format.is_text:
            return JsonLinesWriter(sink)
        is_parquet = self._format.kind == PARQUET
        open_writer: Any = parquet.GroupedWriter if is_parquet else arrow_ipc.open_writer
        try:
            return open_writer(sink, self._schema)
        except pa.ArrowException as error:
            raise self._refused(error) from error

    def _fitted(self, batch: Any) -> Any:
        """Return a batch with the types of the first; refuse to lose values."""
        import pyarrow as pa

        columns = []
        for column, field in zip(batch.columns, self._schema, strict=True):
            try:
                columns.append(column.cast(field.type))
            except pa.ArrowException as error:
                raise ConfigurationError(
                    f"column {field.name!r}: {column.type} came behind rows with {field.type}, and "
                    f"does not fit into it ({error}); write .csv or .jsonl, which have no types"
                ) from error
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _refused(self, error: Exception) -> ConfigurationError:
        name = NAMES[self._format.kind]
        return ConfigurationError(f"cannot be written as {name}, try csv: {error}")
