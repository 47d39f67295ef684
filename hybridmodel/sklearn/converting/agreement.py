"""The proof of a conversion: the estimator and the ONNX model answer the same rows alike."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.sklearn.converting.layout import both, mixed, rows_for
from hybridmodel.sklearn.converting.refusals import told

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

_STRETCH = 10.0

SHOWN = 20
"""So many positions of differing rows are kept."""

_LABEL, _PROBABILITIES = "label", "probabilities"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far an estimator and the model that was made of it answer alike.

    Attributes
    ----------
    rows : int
        Rows of X. As many were made of them, and answered as well: each column is shuffled, and
        every second of its floats is ten times as far from their mean.
    differing : int
        Of both together, the rows with another label, or with numbers that differ by more than
        `difference`.
    positions : tuple of int
        The first of them; those below `rows` are rows of X, from 0.
    equal_labels : float or None
        Share of both together whose labels are equal; None where there are no labels.
    largest : mapping of str to float
        By output of numbers the largest difference: of probabilities as it is, of other numbers as
        a share of the spread of their column. Infinite where only one side has a number, or shapes
        differ.
    difference : float
        The bound of these.
    """

    rows: int
    differing: int
    positions: tuple[int, ...]
    equal_labels: float | None
    largest: Mapping[str, float]
    difference: float

    @property
    def share(self) -> float:
        """Share of the rows that differ, of those of X and those that were made together."""
        return self.differing / (2 * self.rows)

    @property
    def holds_for_rows(self) -> bool:
        """Whether no row of X differs: only rows that were made of them do, if any."""
        return not self.positions or self.positions[0] >= self.rows

    def to_dict(self) -> dict[str, Any]:
        """Return the agreement in JSON's types; what is infinite is a text."""
        largest = {
            name: value if np.isfinite(value) else "infinite"
            for name, value in self.largest.items()
        }
        return {**asdict(self), "positions": list(self.positions), "largest": largest}

    def __str__(self) -> str:
        said = [f"{2 * self.rows - self.differing:,} of {2 * self.rows:,} rows agree"]
        if self.equal_labels is not None:
            every = self.equal_labels == 1
            said.append(f"{'all' if every else f'{self.equal_labels:.4%} of the'} labels are equal")
        said += [
            f"{name} differ{'' if name[-1] == 's' else 's'} by up to {value:.2g}{_unit(name)}"
            for name, value in self.largest.items()
        ]
        return ", ".join(said) + self._where()

    def _where(self) -> str:
        if not self.positions:
            return ""
        if self.holds_for_rows:
            return "; only rows that were made of X by shuffling and stretching differ"
        mine = [str(place) for place in self.positions if place < self.rows]
        return f"; rows {', '.join(mine[:5])}{' …' if len(mine) > 5 else ''} of X differ"


def expected(estimator: Any, rows: Any) -> dict[str, Array]:
    """Return an estimator's answers under the names that a converted model gives them.

    `label` has the shape (n,), the others have (n, k). Raises `ConfigurationError` for several
    labels of a row, and what the estimator raises.
    """
    table = rows_for(estimator, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The estimator's own; each call of the user shows them.
        answer = np.asarray(estimator.predict(table))
        if not has_labels(estimator):
            return {"variable": answer.reshape(len(answer), -1)}
        if answer.size != len(table):
            raise ConfigurationError(
                f"{told(estimator)}: predicts {answer.shape[1]} labels for each row; convert an "
                "estimator for each of them"
            )
        found: dict[str, Array] = {_LABEL: answer.ravel()}
        if hasattr(estimator, "predict_proba"):
            found[_PROBABILITIES] = np.asarray(estimator.predict_proba(table))
        elif hasattr(estimator, "decision_function"):
            scores = np.asarray(estimator.decision_function(table))
            found["scores"] = scores.reshape(len(scores), -1)
    return found


def with_made(estimator: Any, rows: Any) -> Any:
    """Return rows and as many that are made of them, which an estimator answers as well.

    They are shuffled and stretched, or shuffled only where it does not take values that have not
    come, or the same once more where it does not take these either.
    """
    for stretch in (_STRETCH, None):
        made = mixed(rows, stretch)
        with suppress(Exception):
            expected(estimator, made)
            return both(rows, made)
    return both(rows, rows)


def has_labels(estimator: Any) -> bool:
    """Return whether an estimator predicts labels: a classifier, clusterer or outlier detector."""
    from sklearn.base import is_regressor

    return not is_regressor(estimator)


def measured(
    answers: Mapping[str, Array], model: HybridOnnxModel, rows: Any, difference: float
) -> Agreement:
    """Compare an estimator's answers with a model's to the same rows.

    Parameters
    ----------
    answers : mapping of str to ndarray
        As `expected` returns them for `rows`.
    model : HybridOnnxModel
        Whose local side answers.
    rows : DataFrame or ndarray, shape (2 n, k)
        The caller's and as many that were made of them.
    difference : float
        The largest that does not matter.
    """
    found = model.infer(rows, use_azure=False).outputs
    count = len(rows)
    differ, equal, largest = np.zeros(count, bool), None, {}
    for name in found:
        one, other = answers[name], found[name]
        if name == _LABEL:
            unequal = _other_labels(one, other)
            equal = float(1 - unequal.mean())
            differ |= unequal
        else:
            distances = _distances(one, other, has_unit=name == _PROBABILITIES)
            largest[name] = float(distances.max(initial=0.0))
            differ |= distances > difference
    places = np.flatnonzero(differ)
    return Agreement(
        rows=count // 2,
        differing=len(places),
        positions=tuple(places[:SHOWN].tolist()),
        equal_labels=equal,
        largest=largest,
        difference=difference,
    )


def _other_labels(one: Array, other: Array) -> Array:
    """Return which labels differ: as Python's values, so that True is 1 and no text a number."""
    if other.shape not in (one.shape, (*one.shape, 1)):
        return np.ones(len(one), bool)
    pairs = zip(one.tolist(), other.ravel().tolist(), strict=True)
    return np.fromiter((here != there for here, there in pairs), bool, len(one))


def _distances(one: Array, other: Array, *, has_unit: bool) -> Array:
    """Return the largest distance of each row, in probability or in spreads of the column."""
    other = other[:, np.newaxis] if other.ndim == 1 else other
    if one.shape != other.shape:
        return np.full(len(one), np.inf)
    one, other = one.astype(np.float64), other.astype(np.float64)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        distances = np.where(same, 0.0, np.abs(one - other))
    distances[np.isnan(distances)] = np.inf
    return np.asarray((distances if has_unit else distances / _spreads(one)).max(axis=1))


def _spreads(values: Array) -> Array:
    """Return how far the numbers of each column lie apart; their size where all are equal."""
    finite = np.where(np.isfinite(values), values, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Columns without a finite number.
        low, high = np.nanmin(finite, axis=0), np.nanmax(finite, axis=0)
    size = np.maximum(np.abs(low), np.abs(high))
    spread = np.where(high > low, high - low, np.where(size > 0, size, 1.0))
    return np.nan_to_num(spread, nan=1.0)


def _unit(name: str) -> str:
    return "" if name == _PROBABILITIES else " of their spread"
