"""What to say of an estimator that cannot be converted: which step it is, and what to do."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from hybridmodel.checks import printable
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.sklearn.converting.steps import fitted_parts, steps

_LONGEST = 400
_SCALER = re.compile("Scaler$")
_TREES = re.compile("Tree|Forest|Boosting|^LGBM|^XGB")

_ADVICE = {
    "FunctionTransformer": "apply its function before the call, or take a step in its place such "
    "as PolynomialFeatures, PowerTransformer or StandardScaler",
    "KBinsDiscretizer": "pass encode='onehot-dense' or encode='ordinal' to KBinsDiscretizer",
    "CatBoostClassifier": "CatBoost converts alone: apply the other steps before the call",
    "CatBoostRegressor": "CatBoost converts alone: apply the other steps before the call",
}
_BY_REASON = {
    "ocale": "install the locale en_US.UTF-8 wherever the model runs, or pass lowercase=False to "
    "the vectorizer",
    "Imputer": "SimpleImputer is for float32 only: leave it out, or keep dtype='float32'",
    "Solve": "take another kernel or estimator of docs/conversion.md",
}
"""What to do, by a word in the reason that onnxruntime gives."""

_ELSE = (
    "try classes that are whole numbers instead of texts, dtype='float64', or another estimator "
    "of docs/conversion.md"
)
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
    said = _said(error)
    advice = next((text for word, text in _BY_REASON.items() if word in said), _ELSE)
    return ConfigurationError(
        f"{told(estimator)}: onnxruntime cannot run what its converter wrote: {said}; {advice}"
    )


def check_trees(estimator: Any) -> None:
    """Raise for trees of scikit-learn that have learned from missing values.

    A threshold of theirs may be infinite, and their converter does not come to an end then.
    """
    for part in fitted_parts(estimator):
        tree = getattr(part, "tree_", None)
        if tree is not None and not np.isfinite(tree.threshold).all():
            raise ConfigurationError(
                f"{told(estimator)}: has learned from missing values, which the converter of its "
                "trees cannot write; put a SimpleImputer before it, or take "
                "HistGradientBoosting, LightGBM or XGBoost"
            )


def scales_for_trees(estimator: Any) -> bool:
    """Return whether numbers are scaled for trees, which then see other digits than before."""
    names = [type(step).__name__ for _, step in steps(estimator)]
    return any(_SCALER.search(name) for name in names) and any(map(_TREES.search, names))


def _is_known(step: Any) -> bool:
    from skl2onnx._parse import sklearn_parsers_map
    from skl2onnx._supported_operators import sklearn_operator_name_map

    return type(step) in sklearn_operator_name_map or type(step) in sklearn_parsers_map


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return printable(text, _LONGEST)
