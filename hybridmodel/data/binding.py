"""Between a caller's data and named tensors, and back; the same for both routes.

pandas in, pandas out, with the same index; arrays, lists and dicts in, arrays out. Data are bound
by name wherever there are names.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hybridmodel.data.arrow import Container, read, read_plain, speaks_arrow
from hybridmodel.data.casting import NUMBERS, cast, cast_column
from hybridmodel.data.extent import is_large
from hybridmodel.data.inputs import (
    from_array_like,
    from_column,
    from_plain_column,
    refuse_lazy,
)
from hybridmodel.data.names import check_same, checked_names, listed
from hybridmodel.data.outputs import columns_of, is_lone_column, to_pandas
from hybridmodel.data.plain import Table
from hybridmodel.data.tensors import WILDCARD, Array, ModelSpec, TensorSpec
from hybridmodel.exceptions import InputMismatch
from hybridmodel.process.loops import apart, current_loop

if TYPE_CHECKING:
    import pandas as pd


_log = logging.getLogger("hybridmodel")

_FEW = 100
"""Up to so many rows and columns, a frame's values take less time than its dtypes."""


class Bound(NamedTuple):
    """Data that are ready for either route; a tuple, since one is made for each call.

    `feeds` has every input by name, in its declared dtype and shape, perhaps as a view of the
    caller's data. `rows` is None where no input counts them. `frame_index` labels the answer where
    pandas came in, `container` holds it where Arrow data came in.
    """

    feeds: dict[str, Array]
    rows: int | None
    frame_index: pd.Index[Any] | None = None
    container: Container | None = None


class Binding:
    """Binds a caller's data to the inputs of one model, and its outputs to the caller's containers.

    `feature_names` are the columns of a frame in the model's order, for one input of shape (n, k).
    `has_told` says that it has already warned that columns are taken by position.
    """

    def __init__(
        self,
        spec: ModelSpec,
        feature_names: Sequence[str] | None = None,
        *,
        has_told: bool = False,
    ) -> None:
        self._spec = spec
        self._has_told = has_told
        self._single = spec.inputs[0] if len(spec.inputs) == 1 else None
        self.feature_names = checked_names(feature_names, self._single)

    def bind(self, data: Any) -> Bound:
        """Return a caller's data as named tensors, and never change them.

        Raises `InputMismatch`, which names the input or column, what came and what was expected.
        """
        if current_loop() is not None and is_large(data):
            return apart(partial(self.bind, data))  # There is no loop in the thread.
        if isinstance(data, np.ndarray):
            return self._bind_array(data)
        if _is_pandas(data, "DataFrame"):
            return self._bind_frame(data)
        if _is_pandas(data, "Series"):
            return self._bind_frame(self._frame_of(data))
        if isinstance(data, Mapping):
            check_same("input", list(data), self._spec.input_names)
            feeds = {
                spec.name: from_array_like(data[spec.name], spec) for spec in self._spec.inputs
            }
            return Bound(feeds, self._rows(feeds))
        return self._bind_arrow(data) if speaks_arrow(data) else self._bind_array(data)

    def restore(self, outputs: Mapping[str, Array], bound: Bound) -> Any:
        """Return outputs, in the order wanted, in the kind of container that came in.

        pandas as `hybridmodel.data.outputs.to_pandas` makes it; the same in polars where that came
        in, and a pyarrow table for other Arrow data. Raises what `to_pandas` raises.
        """
        if bound.frame_index is not None:
            return to_pandas(self._spec, outputs, bound.frame_index)
        if bound.container is not None:
            columns = columns_of(self._spec, outputs, bound.container.rows)
            is_lone = is_lone_column(self._spec, outputs)
            return bound.container.of(columns, is_lone=is_lone)
        if len(outputs) == 1:
            return next(iter(outputs.values()))
        return dict(outputs)

    def empty(self, names: Sequence[str]) -> dict[str, Array]:
        """Return the outputs of zero rows, if each of them has one row for each row."""
        specs = [self._spec.output(name) for name in names]
        for spec in specs:
            if not spec.batched:
                raise InputMismatch(
                    f"got zero rows, and output {spec} does not have one row for each row, so "
                    "there is no answer"
                )
        return {spec.name: spec.empty() for spec in specs}

    def _bind_array(self, data: Any) -> Bound:
        single = self._single
        if single is None:
            refuse_lazy(data, "the input")
            raise InputMismatch(
                f"the model has the inputs {listed(self._spec.input_names)}: pass a dict of "
                f"arrays or a DataFrame with these names, not a single {type(data).__name__}"
            )
        tensor = from_array_like(data, single)
        return Bound({single.name: tensor}, len(tensor) if single.batched else None)

    def _bind_frame(self, frame: pd.DataFrame) -> Bound:
        single = self._single
        # A view, so that naming the answer's index does not name the caller's.
        index = frame.index.view()
        if single is None:
            check_same("column", frame.columns.tolist(), self._spec.input_names)
            feeds = {
                spec.name: from_column(frame[spec.name], spec, f"column {spec.name!r}")
                for spec in self._spec.inputs
            }
            return Bound(feeds, self._rows(feeds), index)
        if len(single.shape) == 2 or single.unranked:
            tensor = self._matrix(frame, single)
        elif frame.shape[1] == 1:
            tensor = from_column(frame.iloc[:, 0], single, f"column {frame.columns[0]!r}")
        else:
            raise _more_than_one(single, frame.columns)
        return Bound({single.name: tensor}, len(tensor) if single.batched else None, index)

    def _bind_arrow(self, data: Any) -> Bound:
        refuse_lazy(data, "the input")
        texts = any(spec.dtype.kind == "O" for spec in self._spec.inputs)
        plain = read_plain(data, texts=texts)
        if plain is not None:
            feeds = self._feeds_of(plain[0])
            return Bound(feeds, self._rows(feeds), container=plain[1])
        values, container = read(data)
        table: Any = values
        frame = self._frame_of(table) if table.ndim == 1 else table
        return self._bind_frame(frame)._replace(frame_index=None, container=container)

    def _feeds_of(self, table: Table) -> dict[str, Array]:
        """Do with the columns of Arrow what `_bind_frame` does with those of a frame."""
        single, names = self._single, table.names
        if single is None:
            check_same("column", names, self._spec.input_names)
            columns = table.ordered(self._spec.input_names).columns
            return {
                spec.name: from_plain_column(column, spec)
                for column, spec in zip(columns, self._spec.inputs, strict=True)
            }
        if len(single.shape) == 2 or single.unranked:
            table = table.ordered(self._order(names))
            _check_shape(single, table.shape, names)
            return {single.name: table.matrix(single.dtype)}
        if len(names) != 1:
            raise _more_than_one(single, names)
        return {single.name: from_plain_column(table.columns[0], single)}

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
        _check_shape(spec, frame.shape, frame.columns)
        values = _as_one_array(frame, spec)
        if values is not None:
            with suppress(InputMismatch):  # Column by column, below, the error names the column.
                return cast(values, spec.dtype, "")
        columns = np.empty(frame.shape, spec.dtype)
        for position, (name, column) in enumerate(frame.items()):
            columns[:, position] = cast_column(column, spec.dtype, f"column {name!r}")
        return columns

    def _ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self.feature_names is None:
            if not self._has_told and frame.columns.dtype.kind not in NUMBERS:
                self._tell_of_positions(frame.columns)
            return frame
        given = frame.columns.tolist()
        names = self._order(given)
        return frame if given == names else frame[names]

    def _order(self, given: list[Any]) -> list[Any]:
        """Return the names of columns in the order in which the model takes them."""
        names = self.feature_names
        if names is None:
            if not self._has_told:
                self._tell_of_positions(given)
            return given
        if given != names:
            check_same("column", given, names)
        return names

    def _tell_of_positions(self, columns: Collection[Any]) -> None:
        """Warn once of unused names: columns in another order would be misread."""
        if len(columns) < 2:
            return
        self._has_told = True
        _log.warning(
            "the model does not know the names of its features, so it takes the columns %s of a "
            "frame by position. Make the model with feature_names=[...], or save it with a frame "
            "as input_example",
            listed(columns, 5),
        )

    def _rows(self, feeds: Mapping[str, Array]) -> int | None:
        # Inputs may differ in length on purpose: many graphs do not name their dimensions, and one
        # row broadcasts. Only the model can judge it.
        lengths = {len(feeds[spec.name]) for spec in self._spec.inputs if spec.batched}
        return lengths.pop() if len(lengths) == 1 else None


def _check_shape(spec: TensorSpec, shape: tuple[int, int], names: Iterable[Any]) -> None:
    if not spec.fits(shape):
        raise InputMismatch(
            f"input {spec}: got a frame of {shape[0]} rows and {shape[1]} columns ({listed(names)})"
        )


def _more_than_one(spec: TensorSpec, names: Collection[Any]) -> InputMismatch:
    return InputMismatch(f"input {spec} takes one column, got {len(names)}: {listed(names)}")


def _as_one_array(frame: pd.DataFrame, spec: TensorSpec) -> Array | None:
    """Return all values of a frame in one array, None where that could lose some of them."""
    values = _lent_by_pandas(frame)
    if values is not None:
        return values
    dtypes = set(frame.dtypes)
    if all(isinstance(dtype, np.dtype) and dtype.kind in NUMBERS for dtype in dtypes):
        # Integers beside floats become floats in one array, not exact enough for an integer input.
        exact = spec.dtype.kind == "f" or len(dtypes) == 1
        values = frame.to_numpy() if exact else None
        return None if values is None or values.dtype.kind not in NUMBERS else values
    inner = {getattr(dtype, "numpy_dtype", np.dtype(object)).kind for dtype in dtypes}
    if spec.dtype.kind == "f" and inner == {"f"}:
        return frame.to_numpy(dtype="float64", na_value=np.nan)
    return None


def _lent_by_pandas(frame: pd.DataFrame) -> Array | None:
    # Values that pandas returns read-only are its own memory, so that all columns have one numpy
    # dtype; to ask for the dtypes would take longer than all the rest. (A single column may be a
    # category, and the values of large frames of several dtypes take long to make.)
    if len(frame) > _FEW or not 1 < frame.shape[1] <= _FEW:
        return None
    values = frame.to_numpy()
    return values if values.dtype.kind in NUMBERS and not values.flags.writeable else None


def _is_pandas(data: Any, kind: str) -> bool:
    pandas = sys.modules.get("pandas")
    # While another thread imports it, it is there without its classes, and nobody has one of them.
    return pandas is not None and isinstance(data, getattr(pandas, kind, ()))
