"""Boosted trees of other libraries: LightGBM and XGBoost within skl2onnx, CatBoost by itself."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hybridmodel.checks import needed_for
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.sklearn.converting.layout import Layout
from hybridmodel.sklearn.converting.steps import steps

EXTRA = "hybridmodel[convert]"


def library_of(estimator: Any) -> str:
    """Return the name of the package that an estimator comes from."""
    return type(estimator).__module__.partition(".")[0]


def register(estimator: Any) -> None:
    """Tell skl2onnx of the converters for LightGBM and XGBoost that an estimator needs.

    What the program has registered itself stays.

    Raises
    ------
    MissingDependency
        If onnxmltools is not installed.
    """
    found = {library_of(step) for _, step in steps(estimator)}
    if "lightgbm" in found:
        _register_lightgbm()
    if "xgboost" in found:
        _register_xgboost()


def _register_lightgbm() -> None:
    with needed_for("an estimator of LightGBM", EXTRA):
        from lightgbm import LGBMClassifier, LGBMRegressor
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    _classifier(LGBMClassifier, "LightGbmLGBMClassifier", convert_lightgbm)
    _regressor(LGBMRegressor, "LightGbmLGBMRegressor", convert_lightgbm, {"split": None})


def _register_xgboost() -> None:
    with needed_for("an estimator of XGBoost", EXTRA):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier, XGBRegressor
    _classifier(XGBClassifier, "XGBoostXGBClassifier", convert_xgboost)
    _regressor(XGBRegressor, "XGBoostXGBRegressor", convert_xgboost, None)


def _classifier(kind: type, name: str, converter: Any) -> None:
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    _register(kind, name, calculate_linear_classifier_output_shapes, converter, options)


def _regressor(kind: type, name: str, converter: Any, options: Any) -> None:
    from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes

    _register(kind, name, calculate_linear_regressor_output_shapes, converter, options)


def _register(kind: type, name: str, shapes: Any, converter: Any, options: Any) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx._supported_operators import sklearn_operator_name_map

    if kind not in sklearn_operator_name_map:
        update_registered_converter(kind, name, shapes, converter, options=options)


def catboost_graph(estimator: Any, layout: Layout) -> Any:
    """Return a model of CatBoost as ``onnx.ModelProto``.

    Raises
    ------
    ConfigurationError
        If the inputs are others than one tensor of float32.
    """
    if not layout.has_matrix or layout.datatypes[0] != "FP32":
        raise ConfigurationError(
            "CatBoost writes models that take one tensor of float32: pass columns of numbers, and "
            "dtype='float32'"
        )
    from catboost.utils import convert_to_onnx_object

    return convert_to_onnx_object(estimator)


def without_names(estimator: Any) -> Any:
    """Return an estimator without the names of columns that XGBoost's converter does not take.

    Where there are some, it is a copy.
    """
    if not any(_named_boosters(estimator)):
        return estimator
    made = deepcopy(estimator)
    for booster in _named_boosters(made):
        booster.feature_names = None
    return made


def _named_boosters(estimator: Any) -> Iterator[Any]:
    for _, step in steps(estimator):
        if library_of(step) == "xgboost" and hasattr(step, "get_booster"):
            try:
                booster = step.get_booster()
            except ValueError:  # Not fitted: sklearn's own estimators hold fitted copies of it.
                continue
            if booster.feature_names is not None:
                yield booster
