"""What it is a loss to keep: the judge that fits a model, its score and what the caller says."""

from __future__ import annotations

from hybridmodel.cascade.judges import ByClass, ByFunction, ByTolerance, Judge, LossFunction
from hybridmodel.cascade.outputs import is_column, listed
from hybridmodel.cascade.scores import NAMED, Score
from hybridmodel.checks import check_tolerance
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError


def judge_for(
    spec: ModelSpec,
    score: Score,
    *,
    answer: str | None = None,
    loss: LossFunction | None = None,
    tolerance: float | None = None,
) -> Judge:
    """Choose the judge that fits the model.

    Parameters
    ----------
    spec : ModelSpec
        Its outputs, the same for both models.
    score : Score
        As `Score.check` returns it.
    answer : str, optional
        The output that is acted upon: a class, probabilities, or with `tolerance` a number. By
        default the only one that can be meant.
    loss : callable, optional
        Judges by a function.
    tolerance : float, optional
        Judges numbers.

    Raises
    ------
    ConfigurationError
        If the model has no such output, or several; says which it has.
    """
    if loss is not None:
        if tolerance is not None or not callable(loss):
            raise ConfigurationError("loss is a function, and tolerance is for when there is none")
        return ByFunction(loss, spec.output_names)
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
    if len(found) != 1:
        raise ConfigurationError(
            f"{len(found)} outputs name a class: say answer='NAME', or give tolerance= for "
            f"numbers, or loss= for anything else; {listed(spec)}"
        )
    return found[0]


def _named_class(output: TensorSpec, made_from: str | None) -> TensorSpec:
    if output.dtype.kind == "f":
        several = len(output.shape) == 2 and output.shape[1] != 1
        fits = several or output.name == made_from
    else:
        fits = is_column(output)
    if not fits:
        raise ConfigurationError(
            f"output {output} names no class; for numbers give tolerance= or loss="
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
    if len(found) != 1:
        raise ConfigurationError(
            f"{len(found)} outputs may be the number that tolerance is for: say answer='NAME'; "
            f"{listed(spec)}"
        )
    return found[0]
