"""What MLflow's evaluation of classifiers gets from a model with several outputs: the classes.

`mlflow.models.evaluate` passes no params to a model, and its evaluator of classifiers takes nothing
but one class for each row. That it is the caller can only be seen in the calls under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hybridmodel.cascade.judges import ByClass
from hybridmodel.cascade.scores import is_column, listed
from hybridmodel.compare.judge import find_judge
from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    from types import FrameType

    from hybridmodel.model import HybridOnnxModel

_ASKERS = frozenset(
    f"mlflow.models.evaluation.evaluators.{name}" for name in ("classifier", "shap")
)
_FAR = 6
"""How many calls up MLflow's evaluator may be."""


def asks_for_classes(frame: FrameType | None) -> bool:
    """Tell whether MLflow's evaluation of classifiers is among the callers, from `frame` up."""
    for _ in range(_FAR):
        if frame is None:
            return False
        if frame.f_globals.get("__name__") in _ASKERS:
            return True
        frame = frame.f_back
    return False


def class_reader(model: HybridOnnxModel) -> ByClass | None:
    """Return what reads the classes from a model's outputs.

    None where `predict` returns one value for each row anyway. The output is the one by which both
    routes are compared: the only one that names a class, else the only table with a column for
    each.

    Raises
    ------
    ConfigurationError
        If nothing tells which output that is.
    """
    names = model.spec.answered_names if model.output is None else (model.output,)
    if len(names) == 1 and is_column(model.spec.output(names[0])):
        return None
    judge = find_judge(model.spec, model.output, None)
    if isinstance(judge, ByClass):
        return judge
    raise ConfigurationError(
        "MLflow evaluates a classifier by one class for each row, and nothing tells which output "
        "that is: save the model with output='NAME', or evaluate it with "
        f"model_config={{'output': 'NAME'}}; {listed(model.spec)}"
    )
