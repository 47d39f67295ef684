"""Judges decide for each row whether keeping it local is a loss; `judge_for` chooses one.

A judge names the outputs that it reads (`needs`) and what counts as a loss (`describe`). It reads
labels (`labels`) and answers (`read`), tells on which rows a loss is possible before anybody asked
the big model (`may_lose`), weighs the answers to some rows (`weigh`), and compares those to a whole
sample (`compare`), which also says what is odd in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import eq
from typing import Any

import numpy as np

from hybridmodel.cascade.formatting import some
from hybridmodel.cascade.labels import check_booleans, read_labels
from hybridmodel.cascade.scores import NAMED, Score, is_column, listed
from hybridmodel.checks import check_tolerance
from hybridmodel.data.tensors import WILDCARD, Array, ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch

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
    classes : ndarray of shape (n,) or None
        The class of each row: its label, or without labels the big model's answer. None where
        there are no classes.
    warnings : tuple of str
        Sentences about what is odd in the sample.
    """

    losses: Array
    differ: Array
    right: tuple[Array, Array] | None = None
    classes: Array | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _ByOutput:
    """What the judges of one output share."""

    output: TensorSpec

    @property
    def needs(self) -> tuple[str, ...]:
        """The one output."""
        return (self.output.name,)


@dataclass(frozen=True)
class ByClass(_ByOutput):
    """Compares classes, as an output names them or as its most probable one.

    In one column of probabilities or logits the second class begins at `cut`.
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
        """Return labels in the dtype of the classes; raise InputMismatch for unknown classes."""
        texts = isinstance(next(iter(self.classes), None), str)
        datatype = "INT64" if self.output.dtype.kind == "f" else self.output.datatype
        labels = read_labels(y, "BYTES" if texts else datatype)
        known = self.classes
        check_booleans(labels, known)
        unknown = [item for item in np.unique(labels).tolist() if known and item not in known]
        if unknown:
            raise InputMismatch(
                f"the labels hold {some(unknown)}, but output {self.output.name!r} has no such "
                f"class; available: {some(known)}"
            )
        return labels

    def read(self, outputs: Outputs) -> Array:
        """Return the class of each row, as an array of shape (n,)."""
        values = outputs[self.output.name]
        column = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if self.output.dtype.kind != "f":
            return column
        places = (column > self.cut).astype(np.int64) if column.ndim == 1 else column.argmax(axis=1)
        names = np.array(self.output.labels, dtype=object)
        return names[places] if self.output.labels else places

    def compare(self, y: Any, local: Array, remote: Array) -> Judged:
        """Compare the classes of both models, with `y` where there are labels."""
        found = self.weigh(y, local, remote)
        odd = () if found.differ.any() else (_ALL_THE_SAME,)
        never = () if y is None else _never_answered(y, local, remote)
        return replace(found, warnings=odd + never)

    def weigh(self, y: Any, local: Array, remote: Array) -> Judged:
        """Compare the answers to some rows of a sample, which alone may well look odd."""
        found = _compared(eq, y, local, remote)
        return replace(found, classes=remote if y is None else y)

    def may_lose(self, y: Any, local: Array) -> Array:
        """Tell for each row whether it may be a loss to keep it: not if the small model is right.

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        return np.ones(len(local), bool) if y is None else ~(local == y)


@dataclass(frozen=True)
class ByTolerance(_ByOutput):
    """Compares numbers, which are the same when they differ by at most `tolerance`.

    Being the same does not carry over: where big is within t of the truth and small within t of
    big, small is within 2t of the truth, and no closer. So the losses without labels are not those
    with labels; they hold every row with big within t of the truth and small not within 2t.
    """

    tolerance: float

    def describe(self, labelled: bool) -> str:
        """Say in a few words what counts as a loss."""
        close = f"{self.tolerance:g}"
        if labelled:
            return f"big within {close} of the label, small not"
        return (
            f"small and big differ by more than {close}, as they do wherever big is within {close} "
            f"of the truth and small not within {2 * self.tolerance:g}"
        )

    def labels(self, y: Any) -> Array:
        """Return labels as floats; raise InputMismatch if some are no numbers or are missing."""
        labels = read_labels(y, "FP64")
        if np.isnan(labels).any():
            raise InputMismatch(f"{np.isnan(labels).sum()} of the labels are missing (NaN)")
        return labels

    def read(self, outputs: Outputs) -> Array:
        """Return the number of each row, as an array of shape (n,)."""
        return outputs[self.output.name].reshape(-1)

    def compare(self, y: Any, local: Array, remote: Array) -> Judged:
        """Compare the numbers of both models, with `y` where there are labels."""
        return _compared(self._is_close, y, local, remote)

    weigh = compare

    def may_lose(self, y: Any, local: Array) -> Array:
        """Tell for each row whether it may be a loss to keep it: not if the small model is right.

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        return np.ones(len(local), bool) if y is None else ~self._is_close(local, y)

    def _is_close(self, one: Array, other: Array) -> Array:
        # NaN is close to nothing, and infinity neither.
        with np.errstate(invalid="ignore"):
            distances = np.abs(one.astype(np.float64) - other.astype(np.float64))
        return np.asarray(distances <= self.tolerance)


Judge = ByClass | ByTolerance


def judge_for(
    spec: ModelSpec, score: Score, *, answer: str | None = None, tolerance: float | None = None
) -> Judge:
    """Return the judge that fits a model's outputs, a score and what the caller asks for.

    By default the only output that can be meant is the answer; ConfigurationError lists the outputs
    if there is none, or several.
    """
    if tolerance is not None:
        return ByTolerance(_number(spec, score, answer), check_tolerance("tolerance", tolerance))
    output = _class(spec, score, answer)
    return ByClass(output, 0.0 if score.logits and output.name == score.output else 0.5)


def _class(spec: ModelSpec, score: Score, answer: str | None) -> TensorSpec:
    made_from = None if score.kind in NAMED else score.output
    if answer is not None:
        return _named_class(spec.output(answer), made_from)
    found = [item for item in spec.outputs if item.dtype.kind != "f" and is_column(item)]
    if not found and made_from is not None:
        return spec.output(made_from)
    how = ", or tolerance= for numbers, or loss= for anything else"
    return _only(found, f"outputs name a class: pass answer='NAME'{how}; {listed(spec)}")


def _named_class(output: TensorSpec, made_from: str | None) -> TensorSpec:
    fits = is_column(output)
    if output.dtype.kind == "f":
        fits = output.name == made_from or (len(output.shape) == 2 and output.shape[1] != 1)
    if not fits:
        raise ConfigurationError(
            f"output {output} names no class; for numbers pass tolerance= or loss="
        )
    return output


def _number(spec: ModelSpec, score: Score, answer: str | None) -> TensorSpec:
    if answer is not None:
        output = spec.output(answer)
        if output.dtype.kind not in "fiu" or not is_column(output):
            raise ConfigurationError(f"output {output} is not one number for each row")
        return output
    columns = [item for item in spec.outputs if item.dtype.kind == "f" and is_column(item)]
    found = [item for item in columns if item.name != score.output]
    what = "outputs may be the number that tolerance is for"
    return _only(found, f"{what}: pass answer='NAME'; {listed(spec)}")


def _only(found: list[TensorSpec], said: str) -> TensorSpec:
    if len(found) != 1:
        raise ConfigurationError(f"{len(found)} {said}")
    return found[0]


def _compared(
    is_same: Callable[[Array, Array], Array], y: Any, local: Array, remote: Array
) -> Judged:
    differ = ~is_same(local, remote)
    if y is None:
        return Judged(losses=differ, differ=differ)
    right = is_same(local, y), is_same(remote, y)
    return Judged(losses=right[1] & ~right[0], differ=differ, right=right)


def never_answered(y: Array, local: Array, remote: Array) -> list[Any]:
    """Return the labels that neither model answers; raise `InputMismatch` if these are all.

    The arrays may be of different rows.
    """
    answers = set(local.tolist()) | set(remote.tolist())
    check_booleans(y, answers)
    never = [item for item in np.unique(y).tolist() if item not in answers]
    if len(never) == len(set(y.tolist())):
        raise InputMismatch(
            f"neither model ever answers any of the labels: the labels are {some(never)}, the "
            f"answers are {some(sorted(answers))}"
        )
    return never


def _never_answered(y: Array, local: Array, remote: Array) -> tuple[str, ...]:
    never = never_answered(y, local, remote)
    said = f"the labels hold {some(never)}, which neither model answers for any row"
    return (said,) if never else ()
