"""`Writer`: appends record batches to a file, whatever its format."""

from __future__ import annotations

from typing import IO, Any

from hybridmodel.batch.formats import parquet
from hybridmodel.batch.formats.kinds import PARQUET, Format
from hybridmodel.exceptions import ConfigurationError


class Writer:
    """Append record batches of one schema to an open file.

    Parameters
    ----------
    sink : binary file
        Stays open; `close` writes to it what the format has at its end.
    kind : str or Format
        What is written.
    schema : pyarrow.Schema
        Of all batches.

    Raises
    ------
    ConfigurationError
        If the format has no place for a type of the schema.
    """

    def __init__(self, sink: IO[bytes], kind: str | Format, schema: Any) -> None:
        written = Format(kind) if isinstance(kind, str) else kind
        self._schema = schema
        if written.kind == PARQUET:
            self._writer = parquet.open_writer(sink, schema)
        else:
            raise NotImplementedError(kind)

    def write(self, batch: Any) -> None:
        """Append a batch.

        Raises
        ------
        ConfigurationError
            If a column has another type than in the schema.
        """
        if not batch.schema.equals(self._schema):
            batch = _fitted(batch, self._schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Write what ends the file; the sink stays open."""
        self._writer.close()


def _fitted(batch: Any, schema: Any) -> Any:
    """Return a batch in the types of a schema, where no value is lost."""
    import pyarrow as pa

    if batch.schema.names != schema.names:
        raise ConfigurationError(
            f"the columns {', '.join(batch.schema.names)} came after {', '.join(schema.names)}"
        )
    try:
        columns = [
            column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)
        ]
    except pa.ArrowException as error:
        raise ConfigurationError(f"cannot be written as parquet, try csv: {error}") from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)
