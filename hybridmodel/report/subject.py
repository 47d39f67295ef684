"""What a report is about: the answer that is judged, the score, and the form of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.cascade.judges import ByClass, ByTolerance
from hybridmodel.cascade.output_columns import is_column, listed
from hybridmodel.cascade.scores import Score, as_score
from hybridmodel.compare.agreement import find_judge
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.routing.policies import Cascade

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.model import HybridOnnxModel

Array = np.ndarray[Any, Any]

_CLASS = "class"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The answer, judge and score of a report.

    Attributes
    ----------
    answer : str or None
        The output acted upon, if named.
    tolerance : float or None
        Largest difference of numbers that does not matter.
    judge : ByClass, ByTolerance or None
        Tells which rows agree and are right. None where every value counts.
    number : TensorSpec or None
        The one number of each row, where the answer is a number.
    score : Score or None
        How sure the local model is.
    threshold : float or None
        Of the model's own cascade with that score.
    epsilon : float or None
        That its calibration promised.
    delta : float
        Of the calibration, or 0.1.
    why_no_score : str
        Why `score` is None.
    """

    answer: str | None
    tolerance: float | None
    judge: ByClass | ByTolerance | None
    number: TensorSpec | None
    score: Score | None
    threshold: float | None = None
    epsilon: float | None = None
    delta: float = 0.1
    why_no_score: str = ""

    def read(self, outputs: Mapping[str, Array]) -> Array | None:
        """Return the answers as an array of shape (n,); None where none can be singled out."""
        if isinstance(self.judge, ByClass):
            return self.judge.read(outputs)
        return None if self.number is None else outputs[self.number.name].reshape(-1)

    def labels(self, column: pd.Series[Any]) -> Array:
        """Return a column of labels as answers are.

        A file may hold numbers as text, or texts that look like numbers; the answers decide.

        Raises
        ------
        ConfigurationError
            If no single output is the answer that the labels belong to.
        InputMismatch
            If they are of another kind.
        """
        import pandas as pd

        judge = self.judge or (None if self.number is None else ByTolerance(self.number, 0.0))
        if judge is None:
            raise ConfigurationError(
                "no single output is the answer that the labels belong to; name one with answer"
            )
        try:
            return np.asarray(judge.labels(column))
        except InputMismatch:
            texts = column.dtype.kind == "O"
            other = pd.to_numeric(column, errors="coerce") if texts else column.astype(str)
            if other.isna().any():
                raise
            try:
                return np.asarray(judge.labels(other))
            except InputMismatch:
                pass
            raise

    def column_judge(self) -> ByClass | ByTolerance | None:
        """Return the judge of answers that `read` made, under the name that `as_outputs` gives."""
        if isinstance(self.judge, ByTolerance):
            return self.judge
        if self.judge is None:
            return None
        texts = any(isinstance(item, str) for item in self.judge.classes)
        kind = "INT64" if self.judge.output.dtype.kind == "f" else self.judge.output.datatype
        return ByClass(TensorSpec(_CLASS, "BYTES" if texts else kind, (-1,), batched=True))

    def as_outputs(self, answers: Array) -> dict[str, Array]:
        """Return answers by name, as `column_judge` takes them."""
        name = self.judge.output.name if isinstance(self.judge, ByTolerance) else _CLASS
        return {name: answers}


def subject_of(
    model: HybridOnnxModel, *, score: Any = None, answer: str | None, tolerance: float | None
) -> Subject:
    """Return the subject of a report on a model.

    Defaults come from the model's own cascade, if it has one.

    Raises
    ------
    ConfigurationError
        If the model cannot give what is asked for.
    """
    policy = model.routing if isinstance(model.routing, Cascade) else None
    found = None if policy is None else policy.calibration
    if found is not None and answer is None and tolerance is None:
        answer, tolerance = found.answer, found.tolerance
    answer = answer or model.output
    judge, number = _judge(model.spec, answer, tolerance)
    chosen, why = _score(model.spec, score, policy, judge)
    subject = Subject(
        answer=answer,
        tolerance=tolerance,
        judge=judge,
        number=number,
        score=chosen,
        why_no_score=why,
    )
    if policy is None or chosen != policy.score:
        return subject
    subject = replace(subject, threshold=policy.threshold)
    return subject if found is None else replace(subject, epsilon=found.epsilon, delta=found.delta)


def _judge(
    spec: ModelSpec, answer: str | None, tolerance: float | None
) -> tuple[ByClass | ByTolerance | None, TensorSpec | None]:
    named = None if answer is None else spec.output(answer)
    if tolerance is None and named is not None and _is_number(named):
        return None, named
    judge = find_judge(spec, answer, tolerance)
    if isinstance(judge, ByTolerance):
        return judge, judge.output
    if isinstance(judge, ByClass):
        return judge, None
    columns = [item for item in spec.outputs if _is_number(item)]
    return None, columns[0] if len(columns) == 1 else None


def _is_number(output: TensorSpec) -> bool:
    return output.dtype.kind == "f" and is_column(output)


def _score(
    spec: ModelSpec, said: Any, policy: Cascade | None, judge: ByClass | ByTolerance | None
) -> tuple[Score | None, str]:
    if said is not None:
        return as_score(said).check(spec), ""
    if policy is not None:
        return policy.score, ""
    try:
        if isinstance(judge, ByClass):
            return Score("margin").check(spec), ""
    except ConfigurationError:
        pass
    return None, (
        "the model has no score that says how sure it is of a row; if an output is one, name it as "
        f"uncertainty:NAME or confidence:NAME; {listed(spec)}"
    )
