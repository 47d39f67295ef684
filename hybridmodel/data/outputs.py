"""Named arrays become the columns of a Series, a DataFrame or a table."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.exceptions import ConfigurationError, InputMismatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from hybridmodel.data.tensors import Array, ModelSpec, TensorSpec


def to_pandas(
    spec: ModelSpec, outputs: Mapping[str, Array], index: pd.Index[Any]
) -> pd.Series[Any] | pd.DataFrame:
    """Return outputs as a Series or DataFrame with the index of the data that came in.

    One output of shape (n,) or (n, 1) becomes a Series. Otherwise an output of shape (n, k) becomes
    the columns ``name_0 … name_{k-1}``, or ``name_<class>`` where its classes are known, and one of
    a higher rank a column of arrays. Raises what `columns_of` raises.
    """
    answer = _labelled(spec, outputs, index)
    return answer if len(index) else _with_texts(answer, outputs)


def _labelled(
    spec: ModelSpec, outputs: Mapping[str, Array], index: pd.Index[Any]
) -> pd.Series[Any] | pd.DataFrame:
    import pandas as pd

    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        output = spec.outputs_by_name[name]
        _check_rows(name, array, len(index))
        if _is_table(output, array):
            labels = _column_index(name, output.labels or range(array.shape[1]))
            # A view, so that naming one answer's columns does not name another's.
            return pd.DataFrame(array, index=index, columns=labels.view(), copy=False)
        column = _cells(_column(array, len(index)))
        return pd.Series(column, index=index, name=name, copy=False)
    columns = columns_of(spec, outputs, len(index))
    frame = {name: _cells(values) for name, values in columns.items()}
    return pd.DataFrame(frame, index=index, copy=False)


def columns_of(spec: ModelSpec, outputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
    """Return outputs as named columns: arrays of shape (n,), or (n, …) for outputs of rank > 2.

    Raises `ConfigurationError` for two columns of one name, `InputMismatch` for another number of
    rows.
    """
    columns: dict[str, Array] = {}
    for name, array in outputs.items():
        _check_rows(name, array, rows)
        for column, values in _columns(spec.outputs_by_name[name], array, rows):
            if column in columns:
                raise ConfigurationError(
                    f"two outputs become a column {column!r}; ask for one of them with output=, "
                    "or pass arrays instead of a frame"
                )
            columns[column] = values
    return columns


def is_lone_column(spec: ModelSpec, outputs: Mapping[str, Array]) -> bool:
    """Return whether there is only one output, with one value for each row."""
    name, array = next(iter(outputs.items()))
    return len(outputs) == 1 and not _is_table(spec.outputs_by_name[name], array)


def _with_texts(answer: Any, outputs: Mapping[str, Array]) -> Any:
    """Give columns of texts without rows the dtype that pandas gives to texts with rows."""
    import pandas as pd

    if not any(array.dtype == object for array in outputs.values()):
        return answer
    found = pd.Series(np.array([""], dtype=object)).dtype
    if isinstance(answer, pd.Series):
        return answer if next(iter(outputs.values())).ndim > 2 else answer.astype(found)
    # The other columns of objects hold arrays, which have no dtype of their own in pandas.
    cells = {name for name, array in outputs.items() if array.ndim > 2}
    texts = [name for name, kind in answer.dtypes.items() if kind == object and name not in cells]
    return answer.astype(dict.fromkeys(texts, found))


def _check_rows(name: str, array: Array, rows: int) -> None:
    if array.ndim and len(array) != rows:
        raise InputMismatch(
            f"output {name!r} has {len(array)} entries for {rows} rows, which no frame can hold; "
            "pass arrays instead of a frame, or ask for another output"
        )


def _is_table(spec: TensorSpec, array: Array) -> bool:
    return array.ndim == 2 and (array.shape[1] != 1 or bool(spec.labels))


@lru_cache(maxsize=256)
def _column_index(name: str, labels: tuple[str | int, ...] | range) -> pd.Index[Any]:
    """Return column names; pandas needs long to make an index of strings."""
    import pandas as pd

    return pd.Index(_column_names(name, labels))


def _column_names(name: str, labels: tuple[str | int, ...] | range) -> list[str]:
    return [f"{name}_{label}" for label in labels]


def _columns(spec: TensorSpec, array: Array, rows: int) -> Iterable[tuple[str, Array]]:
    if not _is_table(spec, array):
        return [(spec.name, _column(array, rows))]
    names = _column_names(spec.name, spec.labels or range(array.shape[1]))
    return zip(names, array.T, strict=True)


def _column(array: Array, rows: int) -> Array:
    if array.ndim == 0:
        return np.full(rows, array[()], dtype=array.dtype)
    return array[:, 0] if array.ndim == 2 else array


def _cells(array: Array) -> Array:
    if array.ndim < 2:
        return array
    cells = np.empty(len(array), dtype=object)
    for position in range(len(array)):
        cells[position] = array[position]
    return cells
