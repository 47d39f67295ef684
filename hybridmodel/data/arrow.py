"""Tables and columns of other libraries, through the Arrow C interface: polars, pyarrow and more.

Columns of numbers without missing values are lent as they lie in memory. What came from polars is
answered in polars, all else in a pyarrow table; texts, categories and missing values come under
the rules of a pandas frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.checks import needed_for
from hybridmodel.data.plain import Table, read_table
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import InputMismatch

if TYPE_CHECKING:
    import pandas as pd


_STREAM, _ARRAY = "__arrow_c_stream__", "__arrow_c_array__"


@dataclass(frozen=True, slots=True)
class Container:
    """The kind of container in which an answer goes back.

    Attributes
    ----------
    is_polars : bool
        Whether it is one of polars; else a pyarrow table.
    rows : int
        That came in.
    """

    is_polars: bool
    rows: int

    def of(self, columns: Mapping[str, Array], *, is_lone: bool = False) -> Any:
        """Make a table of columns, or for polars a Series of a lone one.

        Parameters
        ----------
        columns : mapping of str to ndarray
            With a row for each row; arrays of a higher rank become cells of lists.
        is_lone : bool, default=False
            Whether there is but one, which stands for itself.
        """
        import pyarrow as pa

        table = pa.table({name: as_arrow(values) for name, values in columns.items()})
        if not self.is_polars:
            return table
        import polars as pl

        frame: Any = pl.from_arrow(table)
        return frame.to_series(0) if is_lone else frame

    def with_columns(self, answer: Any, columns: Mapping[str, Array]) -> Any:
        """Return an answer that `of` made with more columns behind its own."""
        more = self.of(columns)
        if not self.is_polars:
            for name in more.column_names:
                answer = answer.append_column(name, more[name])
            return answer
        frame = answer if hasattr(answer, "columns") else answer.to_frame()
        return frame.hstack(more)


def speaks_arrow(data: Any) -> bool:
    """Tell whether an object hands out its values through the Arrow C interface."""
    kind = type(data)
    return hasattr(kind, _STREAM) or hasattr(kind, _ARRAY)


def read_plain(data: Any, *, texts: bool) -> tuple[Table, Container] | None:
    """Return a table without the help of pandas, and what the answer is to be.

    Parameters
    ----------
    data : object
        For which `speaks_arrow` is true.
    texts : bool
        Whether the model takes texts.

    Returns
    -------
    (Table, Container) or None
        None where it takes pandas: for a lone column, and where a column is not of numbers or
        texts.

    Raises
    ------
    InputMismatch
        If its library does not hand out what it holds.
    MissingDependency
        If pyarrow is not installed.
    """
    with needed_for("a table of Arrow or polars"):
        import pyarrow as pa
    if isinstance(data, pa.RecordBatch):
        names, columns, rows = data.schema.names, data.columns, data.num_rows
    else:
        values = _imported(data)
        if not _is_struct(values.type):
            return None
        names, columns = [field.name for field in values.type], values.flatten()
        rows = len(values)
    table = read_table(names, columns, rows, texts=texts)
    return None if table is None else (table, _container(data, rows))


def read(data: Any) -> tuple[pd.DataFrame | pd.Series[Any], Container]:
    """Return a table as a frame and a column as a series, and what the answer is to be.

    Parameters
    ----------
    data : object
        For which `speaks_arrow` is true.

    Raises
    ------
    InputMismatch
        If its library does not hand out what it holds.
    MissingDependency
        If pyarrow or pandas is not installed.
    """
    with needed_for("a table of Arrow or polars"):
        import pandas as pd
    values = _imported(data)
    container = _container(data, len(values))
    if not _is_struct(values.type):
        return _series(values, getattr(data, "name", None) or None), container
    # By position first, since names may come twice.
    columns = dict(enumerate(map(_column, values.flatten())))
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(values)), copy=False)
    frame.columns = pd.Index([field.name for field in values.type], dtype=object)
    return frame, container


def read_column(data: Any) -> pd.Series[Any]:
    """Return a column as a series.

    Raises
    ------
    InputMismatch
        If it is a table, or its library does not hand out what it holds.
    MissingDependency
        If pyarrow or pandas is not installed.
    """
    with needed_for("a column of Arrow or polars"):
        import pandas  # noqa: F401, ICN001 - Arrow's values become its column.
    values = _imported(data)
    if _is_struct(values.type):
        raise InputMismatch(
            f"a {type(data).__module__}.{type(data).__qualname__} is a table, where one column is "
            "expected; the whole call may be a table"
        )
    return _series(values, None)


def _imported(data: Any) -> Any:
    """Return anything that speaks Arrow as a chunked array, of structs for a table."""
    with needed_for("a table of Arrow or polars"):
        import pyarrow as pa
    try:
        if isinstance(data, pa.ChunkedArray):
            return data
        if hasattr(data, _STREAM):
            return pa.chunked_array(data)
        return pa.chunked_array([pa.array(data)])
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputMismatch(
            f"a {type(data).__module__}.{type(data).__qualname__} cannot be read as Arrow data: "
            f"{error}"
        ) from error


def _container(data: Any, rows: int) -> Container:
    return Container(type(data).__module__.partition(".")[0] == "polars", rows)


def _is_struct(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(kind))


def _series(values: Any, name: str | None) -> pd.Series[Any]:
    import pandas as pd

    return pd.Series(_column(values), name=name, copy=False)


def _column(values: Any) -> Any:
    """Return a column as what pandas holds without a copy, where there is such a thing."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import types

    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return _column(pa.chunked_array([chunk.storage for chunk in values.chunks]))
    numbers = (types.is_integer, types.is_floating, types.is_boolean)
    if any(is_kind(kind) for is_kind in numbers) and not values.null_count:
        whole = values.chunk(0) if values.num_chunks == 1 else values
        return whole.to_numpy(zero_copy_only=False) if whole is not values else whole.to_numpy()
    if types.is_dictionary(kind):
        return values.to_pandas().array
    if types.is_nested(kind):
        return _cells(values)
    if str(kind) == "string_view":  # As polars has its texts; older pyarrows do not know it.
        values = values.cast(pa.large_string())
    return pd.array(values, dtype=pd.ArrowDtype(values.type))


def _cells(values: Any) -> Array:
    """Return lists as cells, those of one size throughout as arrays."""
    import pyarrow as pa

    sizes, flat = [len(values)], values.combine_chunks()
    while pa.types.is_fixed_size_list(flat.type) and not flat.null_count:
        sizes.append(flat.type.list_size)
        flat = flat.flatten()
    cells: Iterable[Any] = values.to_pylist()
    if pa.types.is_primitive(flat.type) and len(sizes) > 1 and not flat.null_count:
        cells = flat.to_numpy(zero_copy_only=False).reshape(sizes)
    made = np.empty(len(values), dtype=object)
    for position, cell in enumerate(cells):
        made[position] = cell
    return made


def as_arrow(values: Array) -> Any:
    """Return a column for a table, of nested lists for an array of a higher rank."""
    import pyarrow as pa

    flat = values.reshape(-1)
    made = _texts(flat.tolist()) if values.dtype.kind in "OU" else _numbers(flat)
    for size in reversed(values.shape[1:]):
        made = pa.FixedSizeListArray.from_arrays(made, size)
    return made


# Arrow's own way from numpy imports pandas, which costs more than a small file.


def _numbers(values: Array) -> Any:
    import pyarrow as pa

    kind = pa.from_numpy_dtype(values.dtype)
    packed = np.packbits(values, bitorder="little") if values.dtype.kind == "b" else values
    buffer = pa.py_buffer(np.ascontiguousarray(packed))
    return pa.Array.from_buffers(kind, len(values), [None, buffer], null_count=0)


def _texts(values: list[str]) -> Any:
    import pyarrow as pa

    encoded = [text.encode() for text in values]
    ends = np.cumsum([0, *map(len, encoded)])
    kind, size = (pa.string(), np.int32) if ends[-1] < 2**31 else (pa.large_string(), np.int64)
    buffers = [None, pa.py_buffer(ends.astype(size)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(kind, len(values), buffers, null_count=0)
