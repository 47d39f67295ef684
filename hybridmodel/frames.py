"""What callers hand in becomes named tensors, and named tensors become what they get back.

pandas in, pandas out, with the same index; arrays, lists and dicts in, arrays out. Tensors are
bound by name wherever there are names. The rules are the same for both routes, because both run
between `Binding.bind` and `Binding.restore`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.casting import NUMBERS, cast, cast_column
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.tensors import WILDCARD, ModelSpec, TensorSpec, format_shape

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Bound:
    """Data that is ready for either route.

    Attributes
    ----------
    feeds : dict of str to ndarray
        Every input by name, in its declared dtype and shape; may be views of the caller's data.
    rows : int or None
        Rows of the call, None when the inputs do not share a first dimension of any size.
    index : pandas.Index or None
        What the answer is labelled with; None when arrays came in.
    """

    feeds: dict[str, Array]
    rows: int | None
    index: pd.Index[Any] | None = None


class Binding:
    """The way in and out of one model.

    Parameters
    ----------
    spec : ModelSpec
        Its inputs and outputs.
    feature_names : sequence of str, optional
        For a model with one input of shape (n, k): the columns of a frame, in the model's order.

    Raises
    ------
    ConfigurationError
        If the names do not fit the input.
    """

    def __init__(self, spec: ModelSpec, feature_names: Sequence[str] | None = None) -> None:
        self._spec = spec
        self._single = spec.inputs[0] if len(spec.inputs) == 1 else None
        self.feature_names = _checked_names(feature_names, self._single)

    def bind(self, data: Any) -> Bound:
        """Turn what a caller hands in into named tensors.

        Parameters
        ----------
        data : DataFrame, Series, ndarray, list, or dict of arrays by input name
            Never changed.

        Raises
        ------
        InputMismatch
            If it does not fit; says which input or column, what came and what was expected.
        """
        if isinstance(data, np.ndarray):
            return self._bind_array(data)
        pandas = sys.modules.get("pandas")
        if pandas is not None and isinstance(data, pandas.DataFrame):
            return self._bind_frame(data)
        if pandas is not None and isinstance(data, pandas.Series):
            return self._bind_frame(self._frame_of(data))
        if isinstance(data, Mapping):
            _check_same("input", list(data), self._spec.input_names)
            feeds = {spec.name: _tensor(data[spec.name], spec) for spec in self._spec.inputs}
            return Bound(feeds, self._rows(feeds))
        return self._bind_array(data)

    def restore(self, outputs: Mapping[str, Array], bound: Bound) -> Any:
        """Return outputs in the kind of container that came in.

        Parameters
        ----------
        outputs : mapping of str to ndarray
            In the order wanted.
        bound : Bound
            What `bind` returned.

        Returns
        -------
        ndarray, dict of str to ndarray, Series or DataFrame
            One output that is a column becomes a Series; an output of shape (n, k) becomes columns
            ``name_0 … name_{k-1}``, or ``name_<class>`` where its classes are known.
        """
        if bound.index is not None:
            return self._to_pandas(outputs, bound.index)
        if len(outputs) == 1:
            return next(iter(outputs.values()))
        return dict(outputs)

    def empty(self, names: Sequence[str]) -> dict[str, Array]:
        """Return the outputs of zero rows.

        Raises
        ------
        InputMismatch
            If one of them does not have a row for each row, so that there is no answer.
        """
        specs = [self._spec.output(name) for name in names]
        for spec in specs:
            if not spec.batched:
                raise InputMismatch(
                    f"zero rows came in, and output {spec} has no row for each row: there is no "
                    "answer to give"
                )
        return {spec.name: spec.empty() for spec in specs}

    def _bind_array(self, data: Any) -> Bound:
        single = self._single
        if single is None:
            raise InputMismatch(
                f"the model has the inputs {_listed(self._spec.input_names)}: pass a dict of "
                f"arrays or a DataFrame with these names, not a bare {type(data).__name__}"
            )
        tensor = _tensor(data, single)
        return Bound({single.name: tensor}, len(tensor) if single.batched else None)

    def _bind_frame(self, frame: pd.DataFrame) -> Bound:
        single = self._single
        if single is None:
            _check_same("column", frame.columns.tolist(), self._spec.input_names)
            feeds = {
                spec.name: _column_tensor(frame[spec.name], spec) for spec in self._spec.inputs
            }
        elif len(single.shape) == 2:
            feeds = {single.name: self._matrix(frame, single)}
        elif frame.shape[1] == 1:
            feeds = {single.name: _column_tensor(frame.iloc[:, 0], single)}
        else:
            raise InputMismatch(
                f"input {single} takes one column, {frame.shape[1]} came: "
                f"{_listed(frame.columns)}"
            )
        return Bound(feeds, self._rows(feeds), frame.index)

    def _frame_of(self, series: pd.Series[Any]) -> pd.DataFrame:
        single = self._single
        if single is None or (len(single.shape) == 2 and single.shape[1] not in (WILDCARD, 1)):
            raise InputMismatch(
                f"a Series is one column, and the model takes "
                f"{', '.join(map(str, self._spec.inputs))}; for one row of a frame use "
                "frame.iloc[[i]]"
            )
        name = (self.feature_names or [single.name])[0]
        return series.to_frame(name if series.name is None else series.name)

    def _matrix(self, frame: pd.DataFrame, spec: TensorSpec) -> Array:
        frame = self._ordered(frame)
        if not spec.fits(frame.shape):
            raise InputMismatch(
                f"input {spec}: a frame of {frame.shape[0]} rows and {frame.shape[1]} columns came "
                f"({_listed(frame.columns)})"
            )
        dtypes = set(frame.dtypes)
        if all(isinstance(dtype, np.dtype) and dtype.kind in NUMBERS for dtype in dtypes):
            # Integers beside floats become floats here, which may not be exact enough for integers.
            if spec.dtype.kind == "f" or len(dtypes) == 1:
                values = frame.to_numpy()
                if values.dtype != object:
                    return self._cast_matrix(frame, values, spec)
        columns = np.empty(frame.shape, spec.dtype)
        for position, name in enumerate(frame.columns):
            columns[:, position] = cast_column(
                frame.iloc[:, position], spec.dtype, f"column {name!r}"
            )
        return columns

    def _cast_matrix(self, frame: pd.DataFrame, values: Array, spec: TensorSpec) -> Array:
        try:
            return cast(values, spec.dtype, f"input {spec.name!r}")
        except InputMismatch:
            for position, name in enumerate(frame.columns):
                cast(values[:, position], spec.dtype, f"column {name!r}")
            raise

    def _ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        names = self.feature_names
        columns = None if names is None else frame.columns.tolist()
        if names is None or columns == names:
            return frame
        _check_same("column", columns, names)
        return frame[names]

    def _rows(self, feeds: Mapping[str, Array]) -> int | None:
        lengths = {len(feeds[spec.name]) for spec in self._spec.inputs if spec.batched}
        return lengths.pop() if len(lengths) == 1 else None

    def _to_pandas(self, outputs: Mapping[str, Array], index: pd.Index[Any]) -> Any:
        import pandas as pd

        columns: dict[str, Array] = {}
        for name, array in outputs.items():
            for column, values in _columns(self._spec.output(name), array, len(index)):
                if column in columns:
                    raise ConfigurationError(
                        f"two outputs make a column {column!r}; ask for one of them with output=, "
                        "or pass arrays instead of pandas"
                    )
                columns[column] = values
        if len(outputs) > 1:
            return pd.DataFrame(columns, index=index, copy=False)
        if list(columns) == list(outputs):
            return pd.Series(columns[name], index=index, name=name, copy=False)
        return pd.DataFrame(array, index=index, columns=list(columns), copy=False)


def _checked_names(names: Sequence[str] | None, single: TensorSpec | None) -> list[str] | None:
    if names is None:
        return None
    names = list(names)
    if single is None or len(single.shape) != 2:
        raise ConfigurationError(
            "feature_names are for a model with one input of shape (n, k); several inputs are fed "
            "by their own names"
        )
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ConfigurationError(f"feature_names are distinct strings, not {_listed(names)}")
    if single.shape[1] not in (WILDCARD, len(names)):
        raise ConfigurationError(f"input {single}: {len(names)} feature_names were given")
    return names


def _check_same(what: str, given: Sequence[Any], expected: Sequence[str]) -> None:
    missing = [name for name in expected if name not in given]
    extra = [name for name in given if name not in expected]
    twice = sorted({str(name) for name in given if given.count(name) > 1})
    problems = [
        f"{problem} {_listed(names)}"
        for problem, names in (("missing", missing), ("unexpected", extra), ("repeated", twice))
        if names
    ]
    if problems:
        raise InputMismatch(
            f"{what} names: {'; '.join(problems)}; the model takes {_listed(expected)}"
        )


def _listed(names: Iterable[Any], most: int = 30) -> str:
    shown = [repr(name) for name in names]
    rest = f", … {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + rest


def _tensor(data: Any, spec: TensorSpec) -> Array:
    where = f"input {spec.name!r}"
    array = data if type(data) is np.ndarray else _as_array(data, spec, where)
    if not spec.fits(array.shape):
        raise InputMismatch(_shape_message(spec, array.shape))
    return cast(array, spec.dtype, where)


def _as_array(data: Any, spec: TensorSpec, where: str) -> Array:
    if isinstance(data, np.ma.MaskedArray):
        raise InputMismatch(f"{where}: a masked array came; fill its masked values first")
    if type(data).__module__.startswith("pyspark."):
        raise InputMismatch(
            f"{where}: a Spark {type(data).__name__} came; use its toPandas(), or score it where "
            "it is with mlflow.pyfunc.spark_udf"
        )
    plain = isinstance(data, (list, tuple, int, float, str, np.generic))
    if not plain and (not hasattr(data, "__array__") or hasattr(data, "columns")):
        raise InputMismatch(
            f"{where}: expected a DataFrame, Series, ndarray, list or dict of arrays, got a "
            f"{type(data).__module__}.{type(data).__name__}"
        )
    try:
        # Left alone, numpy would turn the numbers of a mixed list into strings.
        return np.asarray(data, dtype=object if plain and spec.dtype == object else None)
    except ValueError as error:
        raise InputMismatch(f"{where}: the list is no array: {error}") from error


def _shape_message(spec: TensorSpec, shape: tuple[int, ...]) -> str:
    message = f"input {spec.name!r}: expected shape {format_shape(spec.shape)}, got {list(shape)}"
    if len(shape) == 1 and len(spec.shape) == 2:
        message += "; use reshape(1, -1) for one row, reshape(-1, 1) for one column"
    return message


def _column_tensor(column: pd.Series[Any], spec: TensorSpec) -> Array:
    where = f"column {column.name!r}"
    if len(column) == 0:
        return spec.empty()
    if len(spec.shape) > 2 or isinstance(column.iloc[0], (np.ndarray, list, tuple)):
        array = cast(_stacked(column, where), spec.dtype, where)
    else:
        array = cast_column(column, spec.dtype, where)
        array = array.reshape(-1, 1) if len(spec.shape) == 2 else array
    if not spec.fits(array.shape):
        raise InputMismatch(_shape_message(spec, array.shape))
    return array


def _stacked(column: pd.Series[Any], where: str) -> Array:
    try:
        return np.stack([np.asarray(cell) for cell in column])
    except ValueError as error:
        raise InputMismatch(f"{where}: its cells are no arrays of one shape: {error}") from error


def _columns(spec: TensorSpec, array: Array, rows: int) -> Iterable[tuple[str, Array]]:
    if array.ndim == 0:
        yield spec.name, np.full(rows, array[()], dtype=array.dtype)
    elif len(array) != rows:
        raise InputMismatch(
            f"output {spec.name!r} has {len(array)} entries for {rows} rows, which no frame can "
            "hold; pass arrays instead of pandas, or ask for another output"
        )
    elif array.ndim == 1:
        yield spec.name, array
    elif array.ndim == 2 and (array.shape[1] != 1 or spec.labels):
        for position in range(array.shape[1]):
            label = spec.labels[position] if spec.labels else position
            yield f"{spec.name}_{label}", array[:, position]
    elif array.ndim == 2:
        yield spec.name, array[:, 0]
    else:
        cells = np.empty(rows, dtype=object)
        for position in range(rows):
            cells[position] = array[position]
        yield spec.name, cells
