"""Chooses the judge for a model, a score and the caller's arguments."""

from __future__ import annotations

from hybridmodel.cascade.judges import ByClass, ByFunction, ByTolerance, Judge, LossFunction
from hybridmodel.cascade.output_columns import is_column, listed
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
    """Return the judge that fits a model's outputs, a score and what the caller asks for.

    By default the only output that can be meant is the answer; ConfigurationError lists the outputs
    if there is none, or several.
    """
    if loss is not None:
        if tolerance is not None or not callable(loss):
            raise ConfigurationError(
                "loss has to be a function, and cannot be passed together with tolerance"
            )
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
            f"{len(found)} outputs name a class: pass answer='NAME', or tolerance= for numbers, or "
            f"loss= for anything else; {listed(spec)}"
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
    if len(found) != 1:
        raise ConfigurationError(
            f"{len(found)} outputs may be the number that tolerance is for: pass answer='NAME'; "
            f"{listed(spec)}"
        )
    return found[0]
