"""Judges decide for each row whether keeping it local is a loss.

A judge names the outputs that it reads (`needs`), what a calibration keeps about it (`facts`) and
what counts as a loss (`describe`); it reads labels (`labels`) and compares answers (`judge`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.cascade.formatting import some
from hybridmodel.cascade.scores import name_of
from hybridmodel.data.inputs import from_array_like
from hybridmodel.data.tensors import BY_DATATYPE, WILDCARD, TensorSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch

Array = np.ndarray[Any, Any]
Outputs = Mapping[str, Array]
LossFunction = Callable[[Any, Outputs, Outputs], Any]


_ALL_THE_SAME = (
    "both models give the same class for every row; does the endpoint serve the big model?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The losses in a sample.

    Attributes
    ----------
    losses : ndarray of bool, shape (n,)
        Whether keeping the row is a loss.
    differ : ndarray of bool, shape (n,)
        Whether the models answer differently; no labels are needed for it.
    right : (ndarray of bool, ndarray of bool) or None
        Whether the small and the big model are right; None without labels.
    warnings : tuple of str
        Sentences about what is odd in the sample.
    """

    losses: Array
    differ: Array
    right: tuple[Array, Array] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _ByOutput:
    """What the judges of one output share."""

    output: TensorSpec

    @property
    def needs(self) -> tuple[str, ...]:
        """The one output."""
        return (self.output.name,)

    @property
    def facts(self) -> dict[str, Any]:
        """The facts about the judge that a calibration keeps."""
        return {"answer": self.output.name, "tolerance": None, "loss_function": None}


@dataclass(frozen=True)
class ByClass(_ByOutput):
    """Classes, as an output names them, or as the most probable of an output of probabilities.

    Attributes
    ----------
    output : TensorSpec
        Where the class is read from.
    cut : float
        In one column of probabilities or logits, where the second class begins.
    """

    cut: float = 0.5

    @property
    def classes(self) -> tuple[Any, ...]:
        """All classes, where they are known."""
        width = self.output.shape[1] if len(self.output.shape) == 2 else 1
        if self.output.labels or self.output.dtype.kind != "f" or width == WILDCARD:
            return self.output.labels
        return tuple(range(max(width, 2)))

    def describe(self, labelled: bool) -> str:
        """Say in a few words what counts as a loss."""
        return "big right, small wrong" if labelled else "small and big differ"

    def labels(self, y: Any) -> Array:
        """Return labels in the dtype of the classes.

        Raises
        ------
        InputMismatch
            If they are of another kind, or a class is unknown to the model.
        """
        texts = isinstance(next(iter(self.classes), None), str)
        datatype = "INT64" if self.output.dtype.kind == "f" else self.output.datatype
        labels = _read_labels(y, "BYTES" if texts else datatype)
        if self.classes:
            unknown = [item for item in np.unique(labels).tolist() if item not in self.classes]
            if unknown:
                raise InputMismatch(
                    f"the labels hold {some(unknown)}, but output {self.output.name!r} has no such "
                    f"class; available: {some(self.classes)}"
                )
        return labels

    def judge(self, y: Any, small: Outputs, big: Outputs) -> Judged:
        """Compare the classes of both models, with `y` where there are labels."""
        local, remote = self.read(small), self.read(big)
        differ = local != remote
        odd: tuple[str, ...] = () if differ.any() else (_ALL_THE_SAME,)
        if y is None:
            return Judged(losses=differ, differ=differ, warnings=odd)
        right = local == y, remote == y
        odd += _never_answered(y, local, remote)
        return Judged(losses=right[1] & ~right[0], differ=differ, right=right, warnings=odd)

    def read(self, outputs: Outputs) -> Array:
        """Return the class of each row, as an array of shape (n,)."""
        values = outputs[self.output.name]
        column = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if self.output.dtype.kind != "f":
            return column
        places = (column > self.cut).astype(np.int64) if column.ndim == 1 else column.argmax(axis=1)
        names = np.array(self.output.labels, dtype=object)
        return names[places] if self.output.labels else places


@dataclass(frozen=True)
class ByTolerance(_ByOutput):
    """Numbers, which count as right (or as the same) when they are close enough.

    Attributes
    ----------
    output : TensorSpec
        Where the number is read from.
    tolerance : float
        Largest difference that does not matter.
    """

    tolerance: float

    @property
    def facts(self) -> dict[str, Any]:
        """The facts about the judge that a calibration keeps."""
        return {**super().facts, "tolerance": self.tolerance}

    def describe(self, labelled: bool) -> str:
        """Say in a few words what counts as a loss."""
        if labelled:
            return f"big within {self.tolerance:g} of the label, small not"
        return f"small and big differ by more than {self.tolerance:g}"

    def labels(self, y: Any) -> Array:
        """Return labels as floats.

        Raises
        ------
        InputMismatch
            If they are no numbers, or some are missing.
        """
        labels = _read_labels(y, "FP64")
        if np.isnan(labels).any():
            raise InputMismatch(f"{np.isnan(labels).sum()} of the labels are missing (NaN)")
        return labels

    def judge(self, y: Any, small: Outputs, big: Outputs) -> Judged:
        """Compare the numbers of both models, with `y` where there are labels."""
        local, remote = (_flat(answer[self.output.name]) for answer in (small, big))
        differ = ~self._is_close(local, remote)
        if y is None:
            return Judged(losses=differ, differ=differ)
        right = self._is_close(local, y), self._is_close(remote, y)
        return Judged(losses=right[1] & ~right[0], differ=differ, right=right)

    def _is_close(self, one: Array, other: Array) -> Array:
        # NaN is close to nothing.
        return np.asarray(np.abs(one - other) <= self.tolerance)


@dataclass(frozen=True)
class ByFunction:
    """Losses as a function of labels and both models' outputs.

    Attributes
    ----------
    function : callable
        Takes the labels (or None), the small and the big model's outputs by name; returns 0 or 1
        for each row.
    needs : tuple of str
        The outputs that it is given.
    """

    function: LossFunction
    needs: tuple[str, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """The function's name."""
        return {"answer": None, "tolerance": None, "loss_function": name_of(self.function)}

    def describe(self, labelled: bool) -> str:
        """Say in a few words what counts as a loss."""
        return f"{name_of(self.function)}, {'with' if labelled else 'without'} labels"

    def labels(self, y: Any) -> Any:
        """Return labels as they are."""
        return y

    def judge(self, y: Any, small: Outputs, big: Outputs) -> Judged:
        """Call the function.

        Raises
        ------
        ConfigurationError
            If it returns anything but 0 or 1 for each row.
        """
        losses = np.asarray(self.function(y, small, big))
        bad = losses[~np.isin(losses, (0, 1))].tolist()
        if bad or losses.ndim != 1 or losses.dtype.kind not in "fiub":
            raise ConfigurationError(
                f"loss function {name_of(self.function)} has to return 0 or 1 for each row; it "
                f"returned {losses.dtype} of shape {list(losses.shape)}"
                f"{', with ' if bad else ''}{some(bad)}"
            )
        return Judged(losses=losses.astype(bool), differ=losses.astype(bool))


Judge = ByClass | ByTolerance | ByFunction


def _read_labels(y: Any, datatype: str) -> Array:
    try:
        return from_array_like(y, TensorSpec("y", datatype, (WILDCARD,)))
    except InputMismatch as error:
        raise InputMismatch(
            f"labels do not fit the model, whose answers are {BY_DATATYPE[datatype].datatype}: "
            f"{str(error).removeprefix('input ')}"
        ) from error


def _never_answered(y: Array, local: Array, remote: Array) -> tuple[str, ...]:
    answers = set(local.tolist()) | set(remote.tolist())
    never = [item for item in np.unique(y).tolist() if item not in answers]
    if len(never) == len(set(y.tolist())):
        raise InputMismatch(
            f"neither model ever answers any of the labels: the labels are {some(never)}, the "
            f"answers are {some(sorted(answers))}"
        )
    if not never:
        return ()
    return (f"the labels hold {some(never)}, which neither model answers for any row",)


def _flat(values: Array) -> Array:
    return values.reshape(-1).astype(np.float64)
