"""Record batches to and from frames of pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def frame_of(batch: Any) -> pd.DataFrame:
    """Make a frame with an array in each cell that holds nested lists, not arrays of arrays."""
    import pandas as pd

    frame: pd.DataFrame = batch.to_pandas()
    for name, column in frame.items():
        if _holds_arrays(column) and column.iloc[0].dtype == object:
            cells = [np.array(cell) for cell in batch.column(name).to_pylist()]
            frame[name] = pd.Series(cells, frame.index, dtype=object)
    return frame


def batch_of(frame: pd.DataFrame) -> Any:
    """Make a record batch of the columns of a frame that was read from text."""
    import pyarrow as pa

    return pa.RecordBatch.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def is_text(kind: Any) -> bool:
    """Tell whether a type of Arrow is text."""
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _holds_arrays(column: pd.Series[Any]) -> bool:
    return column.dtype == object and len(column) > 0 and isinstance(column.iloc[0], np.ndarray)
