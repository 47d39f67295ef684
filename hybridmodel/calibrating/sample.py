"""The rows of a sample as tensors, their labels, and how to recognise a row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.data.binding import Binding, Bound
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import InputMismatch

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

KEY_BYTES = 16

# Fewer copies than this share of the rows hardly change a promise, and may be chance.
_COPIES = 0.01


def bind(model: HybridOnnxModel, data: Any) -> Bound:
    """Return a sample as tensors; raise `InputMismatch` unless it has rows that fit the model."""
    bound = Binding(model.spec, model.feature_names).bind(data)
    if bound.rows is None:
        raise InputMismatch(
            "a calibration needs a model that answers row by row: no input counts rows, or the "
            "inputs have different numbers of rows"
        )
    if bound.rows == 0:
        raise InputMismatch("a calibration needs at least one row; the sample has none")
    return bound


class Sample:
    """The rows of a sample as the models take them.

    Attributes
    ----------
    feeds : dict of str to ndarray
        Every input.
    rows : int
        How many.
    by_row : bool
        Whether every input has a row for each row.
    keys : list of bytes
        A hash of each row; empty where rows cannot be told apart.
    """

    def __init__(self, model: HybridOnnxModel, bound: Bound) -> None:
        self.feeds, self.rows = bound.feeds, bound.rows or 0
        self.by_row = all(item.batched for item in model.spec.inputs)
        self.keys = row_keys(self.feeds, self.rows) if self.by_row else []
        first: dict[bytes, int] = {}
        places = [first.setdefault(key, row) for row, key in enumerate(self.keys)]
        self._first = np.array(places if self.by_row else range(self.rows), np.int64)

    def without_copies(self, rows: Array) -> Array:
        """Return the first of each set of equal rows, for rows given by their positions."""
        return np.unique(self._first[rows])

    def copies(self, rows: Array) -> tuple[Array, Array]:
        """Return all rows that equal some, and for each the place in `rows` of the one it equals.

        `rows` are positions, of which each set of equal rows has at most one.
        """
        place = np.full(self.rows, -1)
        place[self._first[rows]] = np.arange(len(rows))
        equal = place[self._first]
        return np.flatnonzero(equal >= 0), equal[equal >= 0]

    def warnings(self) -> tuple[str, ...]:
        """Warn of rows that came before in the sample, if they are many."""
        distinct = len(np.unique(self._first))
        copies = self.rows - distinct
        if copies < max(2, _COPIES * self.rows):
            return ()
        told = (
            f"{copies:,} of {self.rows:,} rows are copies of the other {distinct:,}: copies are "
            "not independent, so the promise counts on more rows than there are. Drop them "
            "from the sample, unless equal rows come as often among those to predict"
        )
        return (told,)


def aligned(y: Any, bound: Bound, what: str = "labels") -> Any:
    """Return labels as they came; raise `InputMismatch` unless they are one for each row."""
    try:
        count = len(y)
    except TypeError as error:
        raise InputMismatch(
            f"{what} have to be one for each row, not a {type(y).__name__}"
        ) from error
    if count != bound.rows:
        raise InputMismatch(f"{count} {what} came for {bound.rows} rows")
    index: Any = getattr(y, "index", None)  # A list has a method of that name.
    labelled = bound.frame_index is not None and hasattr(index, "equals")
    if labelled and not index.equals(bound.frame_index):
        raise InputMismatch(
            f"the {what} have another index than the rows; reorder them with y.loc[X.index], or "
            "pass y.to_numpy() if they are in order already"
        )
    return y


def taken(values: Any, rows: Array) -> Any:
    """Return some rows, by their positions, of labels, an array, or a mapping of arrays."""
    if values is None:
        return None
    if isinstance(values, Mapping):
        return {name: array[rows] for name, array in values.items()}
    if hasattr(values, "iloc"):
        return values.iloc[rows]
    return values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]


def row_keys(feeds: Mapping[str, Array], rows: int) -> list[bytes]:
    """Return a hash of each row over all inputs; equal rows have equal hashes.

    All inputs need a row for each row. Neither the order of the inputs nor the other rows matter.
    """
    names = sorted(feeds)
    kinds = [(name, feeds[name].dtype.str, feeds[name].shape[1:]) for name in names]
    begun = hashlib.blake2b(repr(kinds).encode(), digest_size=KEY_BYTES)
    keys = []
    for cells in zip(*(_row_contents(feeds[name], rows) for name in names), strict=True):
        digest = begun.copy()
        for cell in cells:
            digest.update(cell)
        keys.append(digest.digest())
    return keys


def fingerprint(tensors: Mapping[str, Any]) -> str:
    """Return the sha256 over names, dtypes, shapes and values, in the order of the tensors."""
    digest = hashlib.sha256()
    for name, values in tensors.items():
        if values is None:
            digest.update(repr((name, None)).encode())
            continue
        array = np.asarray(values)
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(_content(array))
    return digest.hexdigest()


def _row_contents(array: Array, rows: int) -> Iterator[bytes]:
    if array.dtype.kind == "O":
        yield from map(_content, array.reshape(rows, -1))
        return
    data, width = array.tobytes(), array.nbytes // rows
    for start in range(0, rows * width, width) if width else [0] * rows:
        yield data[start : start + width]


def _content(array: Array) -> bytes:
    if array.dtype.kind != "O":
        return array.tobytes()
    # With its length before each text, so that no two lists of texts look the same.
    texts = [str(item).encode("utf-8", "surrogatepass") for item in array.ravel().tolist()]
    return b"".join(len(text).to_bytes(8, "little") + text for text in texts)
