"""The index that pandas stores beside the columns of a file; it is not a feature."""

from __future__ import annotations

import json
from typing import Any

_PANDAS = b"pandas"


def index_columns(schema: Any) -> dict[str, str | None]:
    """Return the columns of a schema that are an index of pandas, with the name of each level."""
    stored = _stored(schema)
    columns = [item for item in _members(stored, "index_columns") if isinstance(item, str)]
    names = {
        item.get("field_name"): item.get("name")
        for item in _members(stored, "columns")
        if isinstance(item, dict) and isinstance(item.get("field_name"), str)
    }
    found = {item: names.get(item) for item in columns if item in schema.names}
    return {item: name if isinstance(name, str) else None for item, name in found.items()}


class Numbering:
    """Makes a column of the evenly spaced index that pandas stores as a range, if it has a name."""

    def __init__(self, schema: Any, rows: int) -> None:
        self._stored = _stored(schema)
        self._rule = _rule(_members(self._stored, "index_columns"), rows)

    def added(self, batch: Any, start: int) -> Any:
        """Return a batch, `start` rows behind the first, with that index as its first column."""
        if self._rule is None or self._rule[1] in batch.schema.names:
            return batch
        import numpy as np
        import pyarrow as pa

        span, name = self._rule
        values = span.start + span.step * np.arange(start, start + batch.num_rows, dtype=np.int64)
        described = {
            "name": name,
            "field_name": name,
            "pandas_type": "int64",
            "numpy_type": "int64",
            "metadata": None,
        }
        columns = [*_members(self._stored, "columns"), described]
        stored = {**self._stored, "index_columns": [name], "columns": columns}
        metadata = {**batch.schema.metadata, _PANDAS: json.dumps(stored).encode()}
        schema = pa.schema([pa.field(name, pa.int64()), *batch.schema], metadata=metadata)
        return pa.RecordBatch.from_arrays([pa.array(values), *batch.columns], schema=schema)


def _members(stored: dict[str, Any], name: str) -> list[Any]:
    """Return a list of the stored description, which may be malformed."""
    found = stored.get(name)
    return found if isinstance(found, list) else []


def _rule(stored: list[Any], rows: int) -> tuple[range, str] | None:
    if len(stored) != 1 or not isinstance(stored[0], dict):
        return None
    try:
        rule = stored[0]
        span, name = range(rule["start"], rule["stop"], rule["step"]), rule["name"]
    except (KeyError, TypeError, ValueError):
        return None
    return (span, name) if isinstance(name, str) and len(span) == rows else None


def _stored(schema: Any) -> dict[str, Any]:
    try:
        stored = json.loads((schema.metadata or {}).get(_PANDAS, b"{}"))
    except ValueError:
        return {}
    return stored if isinstance(stored, dict) else {}
