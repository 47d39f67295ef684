"""What a report is about: the answer that is judged, the score, and the form of labels."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hybridmodel.cascade.judges import ByClass, ByTolerance, Judge
from hybridmodel.cascade.scores import Score, as_score, is_column, listed
from hybridmodel.compare.judge import find_judge
from hybridmodel.data.tensors import Array, ModelSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.routing.policies import Cascade

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.cascade.calibration import Calibration
    from hybridmodel.model import HybridOnnxModel


_VECTORS = "the answers are vectors, of which nothing says how sure the model is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The answer and the score of a report.

    Attributes
    ----------
    reader : ByClass, ByTolerance or None
        Reads answers and labels. None where no single output is the answer.
    judge : ByClass, ByTolerance or None
        The reader, where it also tells which rows agree; None where every value counts.
    score : Score or None
        How sure the local model is.
    cascade : Cascade or None
        The model's own with that score.
    why_no_score : str
        Why `score` is None.
    """

    reader: Judge | None
    judge: Judge | None
    score: Score | None
    cascade: Cascade | None
    why_no_score: str

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of that cascade."""
        return None if self.cascade is None else self.cascade.calibration

    def labels(self, column: pd.Series[Any]) -> Array:
        """Return a column of labels as answers are.

        A file may hold numbers as text, or texts that look like numbers; the answers decide.
        ConfigurationError says that no single output is the answer, InputMismatch that the labels
        are of another kind.
        """
        import pandas as pd

        if self.reader is None:
            raise ConfigurationError(
                "no single output is the answer that the labels belong to; name one with answer"
            )
        try:
            return self.reader.labels(column)
        except InputMismatch:
            texts = column.dtype.kind == "O"
            other = pd.to_numeric(column, errors="coerce") if texts else column.astype(str)
            with suppress(InputMismatch):
                if not other.isna().any():
                    return self.reader.labels(other)
            raise


def subject_of(
    model: HybridOnnxModel, *, score: Any, answer: str | None, tolerance: float | None
) -> Subject:
    """Return the subject of a report on a model; defaults come from the model's own cascade.

    ConfigurationError says what the model cannot give.
    """
    if model.client.vectors:
        return Subject(reader=None, judge=None, score=None, cascade=None, why_no_score=_VECTORS)
    policy = model.routing if isinstance(model.routing, Cascade) else None
    found = None if policy is None else policy.calibration
    if found is not None and answer is None and tolerance is None:
        answer, tolerance = found.answer, found.tolerance
    reader, judge = _readers(model.spec, answer or model.output, tolerance)
    chosen, why = _score(model.spec, score, policy, judge)
    own = policy if policy is not None and chosen == policy.score else None
    return Subject(reader=reader, judge=judge, score=chosen, cascade=own, why_no_score=why)


def _readers(
    spec: ModelSpec, answer: str | None, tolerance: float | None
) -> tuple[Judge | None, Judge | None]:
    """Return what reads the answers, and the same where it judges them as well."""
    outputs = spec.outputs if answer is None else (spec.output(answer),)
    numbers = [item for item in outputs if item.dtype.kind == "f" and is_column(item)]
    is_number = answer is not None and tolerance is None and bool(numbers)
    judge = None if is_number else find_judge(spec, answer, tolerance)
    if judge is None and len(numbers) == 1:
        return ByTolerance(numbers[0], 0.0), None
    return judge, judge


def _score(
    spec: ModelSpec, said: Any, policy: Cascade | None, judge: Judge | None
) -> tuple[Score | None, str]:
    if said is not None:
        return as_score(said).check(spec), ""
    if policy is not None:
        return policy.score, ""
    with suppress(ConfigurationError):
        if isinstance(judge, ByClass):
            return Score("margin").check(spec), ""
    return None, (
        "the model has no score that says how sure it is of a row; if an output is one, name it as "
        f"uncertainty:NAME or confidence:NAME; {listed(spec)}"
    )
