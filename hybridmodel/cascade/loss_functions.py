"""Losses that a caller decides: by a function, or by what each mistake costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hybridmodel.cascade.formatting import some
from hybridmodel.cascade.judges import (
    ByTolerance,
    Judge,
    Judged,
    LossFunction,
    Outputs,
)
from hybridmodel.cascade.scores import name_of
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError, InputMismatch


@dataclass(frozen=True)
class ByFunction:
    """Asks the caller's `function` which rows are lost; it reads the outputs that `needs` names.

    With `graded` it may return anything from 0 to 1, and else only these two.
    """

    function: LossFunction
    needs: tuple[str, ...]
    graded: bool = False

    def describe(self, labelled: bool) -> str:
        """Say in a few words what counts as a loss."""
        return f"{name_of(self.function)}, {'with' if labelled else 'without'} labels"

    def labels(self, y: Any) -> Any:
        """Return labels as they are."""
        return y

    def read(self, outputs: Outputs) -> Any:
        """Return the outputs as they are."""
        return outputs

    def compare(self, y: Any, local: Any, remote: Any) -> Judged:
        """Call the function; raise ConfigurationError unless it returns losses for the rows."""
        losses = np.asarray(self.function(y, local, remote))
        numbers = losses.dtype.kind in "fiub"
        inside = np.isin(losses, (0, 1))
        if self.graded and numbers:
            inside |= (losses >= 0) & (losses <= 1)
        if losses.ndim != 1 or not (numbers and inside.all()):
            bad = losses[~inside].tolist()
            raise self._refused(losses, f", with {some(bad)}" if bad else "")
        values = losses.astype(np.float64 if self.graded else bool)
        return Judged(losses=values, differ=losses.astype(bool))

    def _refused(self, losses: Array, values: str) -> ConfigurationError:
        wanted = "a number from 0 to 1" if self.graded else "0 or 1"
        graded = values and not self.graded and losses.dtype.kind == "f"
        hint = "; for losses from 0 to 1 pass promise='mean_loss'" if graded else ""
        return ConfigurationError(
            f"loss function {name_of(self.function)} has to return {wanted} for each row; it "
            f"returned {losses.dtype} of shape {list(losses.shape)}{values}{hint}"
        )

    weigh = compare

    def may_lose(self, y: Any, local: Any) -> Array:  # noqa: ARG002 - as others do
        """Return that every row may be lost: nobody knows what the function will say.

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        return np.ones(len(next(iter(local.values()))), bool)


@dataclass(frozen=True)
class NoJudge:
    """Compares nothing: for promises about scores alone, for which nobody is asked."""

    needs: ClassVar[tuple[str, ...]] = ()

    def describe(self, labelled: bool) -> str:  # noqa: ARG002 - as others do
        """Say that nothing counts as a loss."""
        return "nothing is compared"

    def labels(self, y: Any) -> Any:  # noqa: ARG002 - as others do
        """Raise ConfigurationError: labels would not be used."""
        raise ConfigurationError(
            "promise='escalation' is about scores alone, and asks nobody: leave out y"
        )

    def read(self, outputs: Outputs) -> Any:
        """Return the outputs as they are."""
        return outputs


def facts_of(judge: Judge | ByFunction | NoJudge) -> dict[str, Any]:
    """Return the facts about a judge that a calibration keeps."""
    if isinstance(judge, NoJudge):
        return {"answer": None, "tolerance": None, "loss_function": None}
    if isinstance(judge, ByFunction):
        return {"answer": None, "tolerance": None, "loss_function": name_of(judge.function)}
    tolerance = judge.tolerance if isinstance(judge, ByTolerance) else None
    return {"answer": judge.output.name, "tolerance": tolerance, "loss_function": None}


class CostMatrix:
    """A loss function: what the small model's mistake costs more than the big one's.

    Parameters
    ----------
    costs : sequence of sequences of float
        One row for each true class, one column for each answer; from 0 up. Nothing is lost where
        the small model's answer costs no more than the big one's.
    classes : sequence
        The classes, in the order of rows and columns.
    output : str
        The output that names the class of each row.

    Raises
    ------
    ConfigurationError
        If the costs are not a square table of numbers from 0 up, or the classes do not fit it.

    Examples
    --------
    >>> costs = CostMatrix([[0, 1], [50, 0]], classes=["well", "ill"], output="label")
    >>> calibrate(model, X, y, promise="mean_loss", loss=costs, epsilon=0.01)  # doctest: +SKIP
    """

    def __init__(self, costs: Any, *, classes: Sequence[Any], output: str) -> None:
        table = np.asarray(costs, dtype=np.float64)
        size = len(classes)
        if table.shape != (size, size) or not (np.isfinite(table) & (table >= 0)).all():
            raise ConfigurationError(
                f"costs have to be a table of numbers from 0 up, with a row and a column for each "
                f"of {size} classes; its shape is {list(table.shape)}"
            )
        if not table.any() or len(set(classes)) != size:
            raise ConfigurationError("costs have to be above 0 somewhere, and classes be different")
        self.classes, self.output = tuple(classes), output
        self.unit = float(table.max())
        """What a loss of 1 costs: epsilon is a share of it."""
        self._costs = table / self.unit
        self._places = {name: place for place, name in enumerate(self.classes)}
        self.__qualname__ = f"CostMatrix({output})"

    def __call__(self, y: Any, small: Outputs, big: Outputs) -> Array:
        """Return the losses, from 0 to 1.

        Raises
        ------
        InputMismatch
            Without labels, or for a class that has no cost.
        """
        if y is None:
            raise InputMismatch("costs are those of true classes: pass labels")
        truth = self._of(y, "labels")
        ours, theirs = (self._of(item[self.output], "answers") for item in (small, big))
        return np.maximum(self._costs[truth, ours] - self._costs[truth, theirs], 0.0)

    def _of(self, values: Any, what: str) -> Array:
        names = np.asarray(values).reshape(-1).tolist()
        unknown = [name for name in names if name not in self._places]
        if unknown:
            raise InputMismatch(
                f"the {what} hold {some(sorted(set(unknown), key=str))}, which have no costs; the "
                f"costs are for {some(self.classes)}"
            )
        return np.array([self._places[name] for name in names], dtype=np.int64)
