"""Estimators of scikit-learn, converted as skl2onnx does by default: classifiers with a ZipMap."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

X = np.random.default_rng(0).uniform(size=(60, 4)).astype(np.float32)
NUMBERS = np.argmax(X[:, :3], axis=1) * 2 + 3
TEXTS = np.array(["no", "perhaps", "yes"])[np.argmax(X[:, :3], axis=1)]

_FEW = {"n_estimators": 3, "random_state": 0}
_FIXED = {"random_state": 0}
_SINGLE: Mapping[str, tuple[str, dict[str, Any]]] = {
    "logistic": ("linear_model.LogisticRegression", {}),
    "sgd_log": ("linear_model.SGDClassifier", {"loss": "log_loss", **_FIXED}),
    "sgd_huber": ("linear_model.SGDClassifier", {"loss": "modified_huber", **_FIXED}),
    "sgd_hinge": ("linear_model.SGDClassifier", _FIXED),
    "perceptron": ("linear_model.Perceptron", _FIXED),
    "ridge": ("linear_model.RidgeClassifier", {}),
    "linear_svc": ("svm.LinearSVC", {}),
    "svc": ("svm.SVC", {}),
    "nu_svc": ("svm.NuSVC", {"nu": 0.1}),
    "gaussian_nb": ("naive_bayes.GaussianNB", {}),
    "bernoulli_nb": ("naive_bayes.BernoulliNB", {"binarize": 0.5}),
    "multinomial_nb": ("naive_bayes.MultinomialNB", {}),
    "complement_nb": ("naive_bayes.ComplementNB", {}),
    "neighbors": ("neighbors.KNeighborsClassifier", {"n_neighbors": 3}),
    "neighbors_by_distance": ("neighbors.KNeighborsClassifier", {"weights": "distance"}),
    "tree": ("tree.DecisionTreeClassifier", {"max_depth": 3, **_FIXED}),
    "extra_tree": ("tree.ExtraTreeClassifier", {"max_depth": 3, **_FIXED}),
    "forest": ("ensemble.RandomForestClassifier", _FEW),
    "extra_trees": ("ensemble.ExtraTreesClassifier", _FEW),
    "boosting": ("ensemble.GradientBoostingClassifier", _FEW),
    "hist_boosting": ("ensemble.HistGradientBoostingClassifier", {"max_iter": 2}),
    "ada": ("ensemble.AdaBoostClassifier", _FEW),
    "bagging": ("ensemble.BaggingClassifier", _FEW),
    "mlp": ("neural_network.MLPClassifier", {"max_iter": 5, **_FIXED}),
    "lda": ("discriminant_analysis.LinearDiscriminantAnalysis", {}),
    "qda": ("discriminant_analysis.QuadraticDiscriminantAnalysis", {"reg_param": 0.1}),
    "forest_numbers": ("ensemble.RandomForestRegressor", _FEW),
    "linear_numbers": ("linear_model.LinearRegression", {}),
    "svr_numbers": ("svm.SVR", {}),
}


def _single(name: str) -> Any:
    path, options = _SINGLE[name]
    module, _, kind = path.rpartition(".")
    return getattr(import_module(f"sklearn.{module}"), kind)(**options)


def _piped(name: str, *steps: str) -> Any:
    from sklearn import preprocessing
    from sklearn.pipeline import make_pipeline

    return make_pipeline(*(getattr(preprocessing, step)() for step in steps), _single(name))


def _around(path: str, *arguments: Any, **options: Any) -> Any:
    module, _, kind = path.rpartition(".")
    return getattr(import_module(f"sklearn.{module}"), kind)(*arguments, **options)


def _two() -> list[tuple[str, Any]]:
    return [("a", _single("logistic")), ("b", _single("tree"))]


_COMPOSED: Mapping[str, Callable[[], Any]] = {
    "scaled": lambda: _piped("logistic", "StandardScaler"),
    "scaled_twice": lambda: _piped("tree", "MinMaxScaler", "StandardScaler"),
    "normalized": lambda: _piped("forest", "Normalizer"),
    "polynomial": lambda: _piped("logistic", "PolynomialFeatures"),
    "voting": lambda: _around(
        "ensemble.VotingClassifier", _two(), voting="soft", flatten_transform=False
    ),
    "stacking": lambda: _around("ensemble.StackingClassifier", _two(), _single("logistic"), cv=2),
    "calibrated": lambda: _around("calibration.CalibratedClassifierCV", _single("tree"), cv=2),
    "one_vs_rest": lambda: _around("multiclass.OneVsRestClassifier", _single("logistic")),
    "two_classes": lambda: _single("logistic"),
}

NAMES = (*_SINGLE, *_COMPOSED)


def unfitted(name: str) -> Any:
    """Make the estimator of this name, one of `NAMES`."""
    return _COMPOSED[name]() if name in _COMPOSED else _single(name)


@lru_cache
def made(name: str) -> bytes:
    """Fit and convert the estimator of this name, one of `NAMES`.

    Every second classifier has classes that are numbers, the others have texts.
    """
    from skl2onnx import to_onnx

    wanted: Any = TEXTS if NAMES.index(name) % 2 else NUMBERS
    if name.endswith("numbers"):
        wanted = X[:, 0]
    elif name == "two_classes":
        wanted = TEXTS == "no"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Iterations end early, on purpose.
        fitted = unfitted(name).fit(X, wanted)
        return bytes(to_onnx(fitted, X[:1], target_opset=17).SerializeToString())
