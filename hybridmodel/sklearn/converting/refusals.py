"""What to say of an estimator that cannot be converted: which step it is, and what to do."""

from __future__ import annotations

from typing import Any

from hybridmodel.checks import printable
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.sklearn.converting.steps import steps

_LONGEST = 400

_ADVICE = {
    "FunctionTransformer": "do in the graph what a step of scikit-learn can, such as "
    "PolynomialFeatures or StandardScaler, and the function before the call",
    "TfidfVectorizer": "give it texts as the only column, or OneHotEncoder for categories",
    "CatBoostClassifier": "CatBoost converts alone: apply the other steps before the call",
    "CatBoostRegressor": "CatBoost converts alone: apply the other steps before the call",
}
_OTHERWISE = (
    "replace it by an estimator of docs/conversion.md, or teach skl2onnx with "
    "skl2onnx.update_registered_converter"
)


def told(estimator: Any) -> str:
    """Return the name of an estimator's class, or those of the steps of a pipeline."""
    inner = getattr(estimator, "steps", None)
    if inner is None:
        return type(estimator).__name__
    return " > ".join(told(step) for _, step in inner if not isinstance(step, str))


def no_converter(estimator: Any, error: Exception) -> ConfigurationError:
    """Return the error for an estimator for which there is no converter, or whose fails."""
    culprits = [(path, step) for path, step in steps(estimator) if not _is_known(step)]
    if culprits:
        path, step = culprits[0]
        name = type(step).__name__
        where = f"step {path!r}, {name}," if path else "it"
        return ConfigurationError(
            f"{told(estimator)}: {where} has no converter to ONNX; {_ADVICE.get(name, _OTHERWISE)}"
        )
    named = [name for _, step in steps(estimator) if (name := type(step).__name__) in _ADVICE]
    advice = _ADVICE[named[0]] if named else _OTHERWISE
    return ConfigurationError(f"{told(estimator)}: its converter fails: {_said(error)}; {advice}")


def does_not_run(estimator: Any, error: Exception) -> ConfigurationError:
    """Return the error for a converted graph that onnxruntime does not load, or not run on X."""
    return ConfigurationError(
        f"{told(estimator)}: onnxruntime cannot run what its converter wrote: {_said(error)}; try "
        "classes that are whole numbers instead of texts, dtype='float64', or another estimator "
        "of docs/conversion.md"
    )


def _is_known(step: Any) -> bool:
    from skl2onnx._parse import sklearn_parsers_map
    from skl2onnx._supported_operators import sklearn_operator_name_map

    return type(step) in sklearn_operator_name_map or type(step) in sklearn_parsers_map


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return printable(text, _LONGEST)
