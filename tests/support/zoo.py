"""A zoo of estimators and pipelines to convert, each fitted to a small table, and fresh rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from tests.support import estimators

ROWS, FRESH = 120, 400
NUMBERS = ["a", "b", "c", "d"]

Rows = pd.DataFrame


def _numbers(random: np.random.Generator, rows: int) -> Rows:
    return pd.DataFrame(random.uniform(size=(rows, 4)), columns=NUMBERS)


def _mixed(random: np.random.Generator, rows: int) -> Rows:
    """Make columns of texts, whole numbers, numbers with gaps, and truth values."""
    gaps = random.normal(size=rows)
    gaps[random.uniform(size=rows) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "town": random.choice(["Köln", "Paris", "São Paulo", "'s-Hertogenbosch"], rows),
            "plan name": random.choice(["free", "paid"], rows),
            "age": random.integers(18, 90, rows),
            "balance": gaps,
            "active": random.uniform(size=rows) < 0.5,
            "plan_name": random.choice(["x", "y"], rows),
        }
    )


def _fine(random: np.random.Generator, rows: int) -> Rows:
    """Make numbers that float32 cannot tell apart: times around one large number."""
    return pd.DataFrame(1.7e9 + random.uniform(0, 500, size=(rows, 4)), columns=NUMBERS)


def _gaps(random: np.random.Generator, rows: int) -> Rows:
    """Make numbers of which some are missing."""
    table = _numbers(random, rows)
    return table.mask(random.uniform(size=table.shape) < 0.15)


def _tenths(random: np.random.Generator, rows: int) -> Rows:
    """Make numbers with one decimal, none of which float32 and float64 have alike."""
    return pd.DataFrame(random.integers(1, 40, size=(rows, 4)) / 10, columns=NUMBERS)


def _words(random: np.random.Generator, rows: int) -> Rows:
    """Make sentences, with punctuation, capitals and letters beyond ASCII."""
    words = np.array(["yes", "No!", "free-plan", "naïve", "Straße", "ÉTÉ", "3.5", "don't", "a"])
    chosen = random.integers(0, len(words), size=(rows, 6))
    sentences = [" ".join(words[row]) for row in chosen]
    return pd.DataFrame({"said": sentences, "age": random.integers(18, 90, rows)})


_TABLES: Mapping[str, Callable[[np.random.Generator, int], Rows]] = {
    "numbers": _numbers,
    "mixed": _mixed,
    "fine": _fine,
    "gaps": _gaps,
    "tenths": _tenths,
    "words": _words,
}


@dataclass(frozen=True, kw_only=True)
class Animal:
    """An estimator of the zoo: how it is made, and what it learns from which table.

    `target` is ``three`` or ``two`` classes of texts, ``codes`` for three that are whole numbers,
    ``flags`` for two that are truth values, or ``number``.
    """

    make: Callable[[], Any]
    target: str = "three"
    table: str = "numbers"


def _of(path: str, *arguments: Any, **options: Any) -> Any:
    module, _, kind = path.rpartition(".")
    package = module if module in ("lightgbm", "xgboost", "catboost") else f"sklearn.{module}"
    return getattr(import_module(package), kind)(*arguments, **options)


def _one(path: str, target: str = "three", table: str = "numbers", **options: Any) -> Animal:
    return Animal(make=lambda: _of(path, **options), target=target, table=table)


def _piped(
    *paths: str | Callable[[], Any], target: str = "three", table: str = "numbers"
) -> Animal:
    def make() -> Any:
        from sklearn.pipeline import make_pipeline

        return make_pipeline(*(_of(path) if isinstance(path, str) else path() for path in paths))

    return Animal(make=make, target=target, table=table)


def _columns() -> Any:
    """Prepare the columns of `_mixed`, by their names."""
    return _of(
        "compose.ColumnTransformer",
        [
            ("texts", _of("preprocessing.OneHotEncoder", handle_unknown="ignore"), ["town"]),
            ("plan", _of("preprocessing.OrdinalEncoder"), ["plan name"]),
            ("gaps", _filled(), ["balance", "age"]),
            ("rest", "passthrough", ["active"]),
        ],
    )


def _vectors(**options: Any) -> Any:
    """Turn the words of `_words` into numbers."""
    words = _of("feature_extraction.text.TfidfVectorizer", **options)
    return _of("compose.ColumnTransformer", [("said", words, "said")], remainder="passthrough")


def _filled() -> Any:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        _of("impute.SimpleImputer", strategy="median"), _of("preprocessing.StandardScaler")
    )


def _forest() -> Any:
    return _of("ensemble.RandomForestClassifier", n_estimators=10, random_state=0)


def _search() -> Any:
    return _of(
        "model_selection.GridSearchCV", _of("linear_model.LogisticRegression"), {"C": [1, 9]}, cv=2
    )


def _rounded(values: Any) -> Any:
    return np.round(values)


_FEW = {"n_estimators": 5, "random_state": 0}
_LIGHT = {"n_estimators": 5, "min_child_samples": 5, "verbose": -1, "n_jobs": 1}
_XG = {"n_estimators": 5, "max_depth": 3, "n_jobs": 1}
_CAT = {"iterations": 5, "depth": 3, "verbose": False, "allow_writing_files": False}

_OWN: Mapping[str, Animal] = {
    "ridge, two classes": _one("linear_model.RidgeClassifier", "two"),
    "linear_svc, two classes": _one("svm.LinearSVC", "two"),
    "svc, two classes": _one("svm.SVC", "two"),
    "nu_svc, two classes": _one("svm.NuSVC", "two", nu=0.1),
    "logistic, truth values": _one("linear_model.LogisticRegression", "flags"),
    "forest, truth values": _one("ensemble.RandomForestClassifier", "flags", **_FEW),
    "boosting, two classes": _one("ensemble.GradientBoostingClassifier", "two", **_FEW),
    "hist_boosting, two classes": _one(
        "ensemble.HistGradientBoostingClassifier", "two", max_iter=5
    ),
    "lda, two classes": _one("discriminant_analysis.LinearDiscriminantAnalysis", "two"),
    "centroid": _one("neighbors.NearestCentroid"),
    "gaussian_process, truth values": _one("gaussian_process.GaussianProcessClassifier", "flags"),
    "one_vs_rest of linear_svc": Animal(
        make=lambda: _of("multiclass.OneVsRestClassifier", _of("svm.LinearSVC"))
    ),
    "one_vs_one of linear_svc": Animal(
        make=lambda: _of("multiclass.OneVsOneClassifier", _of("svm.LinearSVC"))
    ),
    "one_vs_one, codes": Animal(
        make=lambda: _of("multiclass.OneVsOneClassifier", _of("linear_model.LogisticRegression")),
        target="codes",
    ),
    "ridge_numbers": _one("linear_model.Ridge", "number"),
    "lasso_numbers": _one("linear_model.Lasso", "number", alpha=0.01),
    "elastic_numbers": _one("linear_model.ElasticNet", "number", alpha=0.01),
    "huber_numbers": _one("linear_model.HuberRegressor", "number"),
    "bayes_numbers": _one("linear_model.BayesianRidge", "number"),
    "poisson_numbers": _one("linear_model.PoissonRegressor", "number"),
    "gamma_numbers": _one("linear_model.GammaRegressor", "number"),
    "sgd_numbers": _one("linear_model.SGDRegressor", "number", random_state=0),
    "tree_numbers": _one("tree.DecisionTreeRegressor", "number", random_state=0),
    "extra_trees_numbers": _one("ensemble.ExtraTreesRegressor", "number", **_FEW),
    "boosting_numbers": _one("ensemble.GradientBoostingRegressor", "number", **_FEW),
    "hist_boosting_numbers": _one("ensemble.HistGradientBoostingRegressor", "number", max_iter=5),
    "ada_numbers": _one("ensemble.AdaBoostRegressor", "number", **_FEW),
    "bagging_numbers": _one("ensemble.BaggingRegressor", "number", **_FEW),
    "neighbors_numbers": _one("neighbors.KNeighborsRegressor", "number"),
    "mlp_numbers": _one("neural_network.MLPRegressor", "number", max_iter=20, random_state=0),
    "nu_svr_numbers": _one("svm.NuSVR", "number"),
    "gaussian_process_numbers": _one("gaussian_process.GaussianProcessRegressor", "number"),
    "pls_numbers": _one("cross_decomposition.PLSRegression", "number"),
    "isolation_forest": _one("ensemble.IsolationForest", "nothing", **_FEW),
    "one_class_svm": _one("svm.OneClassSVM", "nothing"),
    "local_outlier": _one("neighbors.LocalOutlierFactor", "nothing", novelty=True),
    "k_means": _one("cluster.KMeans", "nothing", n_clusters=3, n_init=1, random_state=0),
    "gaussian_mixture": _one("mixture.GaussianMixture", "nothing", n_components=3, random_state=0),
    "search": Animal(make=_search),
    "binned": _piped(
        lambda: _of("preprocessing.KBinsDiscretizer", encode="onehot-dense"),
        "linear_model.LogisticRegression",
    ),
    "binned, sparse": _piped("preprocessing.KBinsDiscretizer", "linear_model.LogisticRegression"),
    "quantiles": _piped(
        lambda: _of("preprocessing.QuantileTransformer", n_quantiles=10),
        "linear_model.LogisticRegression",
    ),
    "power": _piped("preprocessing.PowerTransformer", "linear_model.LogisticRegression"),
    "splines": _piped("preprocessing.SplineTransformer", "linear_model.LogisticRegression"),
    "robust": _piped("preprocessing.RobustScaler", "svm.SVC"),
    "pca": _piped("preprocessing.StandardScaler", "decomposition.PCA", _forest),
    "selected": _piped("feature_selection.SelectKBest", "linear_model.LogisticRegression"),
    "function": _piped(
        lambda: _of("preprocessing.FunctionTransformer", _rounded),
        "linear_model.LogisticRegression",
    ),
    "mixed columns": _piped(_columns, "linear_model.LogisticRegression", table="mixed"),
    "mixed columns, forest": _piped(_columns, _forest, table="mixed"),
    "mixed columns, numbers": _piped(
        _columns, "linear_model.Ridge", target="number", table="mixed"
    ),
    "fine numbers, tree": _one("tree.DecisionTreeClassifier", table="fine", random_state=0),
    "fine numbers, scaled tree": _piped(
        "preprocessing.StandardScaler", "tree.DecisionTreeClassifier", table="fine"
    ),
    "fine numbers, logistic": _piped(
        "preprocessing.StandardScaler", "linear_model.LogisticRegression", table="fine"
    ),
    "pairs of numbers, forest": _one("ensemble.RandomForestRegressor", "pairs", **_FEW),
    "pairs of numbers, linear": _one("linear_model.LinearRegression", "pairs"),
    "two labels": _one("tree.DecisionTreeClassifier", "two labels"),
    "gaps, tree": _one("tree.DecisionTreeClassifier", table="gaps", random_state=0),
    "gaps, forest": _one("ensemble.RandomForestClassifier", table="gaps", **_FEW),
    "gaps, hist_boosting": _one(
        "ensemble.HistGradientBoostingClassifier", table="gaps", max_iter=5
    ),
    "gaps, filled": _piped(_filled, "linear_model.LogisticRegression", table="gaps"),
    "gaps, lightgbm": _one("lightgbm.LGBMClassifier", table="gaps", **_LIGHT),
    "gaps, xgboost": _one("xgboost.XGBClassifier", "codes", "gaps", **_XG),
    "gaps, catboost": _one("catboost.CatBoostClassifier", table="gaps", **_CAT),
    "tenths, tree": _one("tree.DecisionTreeClassifier", table="tenths", random_state=0),
    "tenths, hist_boosting": _one(
        "ensemble.HistGradientBoostingClassifier", table="tenths", max_iter=5
    ),
    "tenths, lightgbm": _one("lightgbm.LGBMClassifier", table="tenths", **_LIGHT),
    "tenths, xgboost": _one("xgboost.XGBClassifier", "codes", "tenths", **_XG),
    "tenths, catboost": _one("catboost.CatBoostClassifier", table="tenths", **_CAT),
    "tenths, binned": _piped(
        lambda: _of("preprocessing.KBinsDiscretizer", encode="ordinal", strategy="uniform"),
        "linear_model.LogisticRegression",
        table="tenths",
    ),
    "tenths, categories": _piped(
        lambda: _of("preprocessing.OneHotEncoder", handle_unknown="ignore"),
        "linear_model.LogisticRegression",
        table="tenths",
    ),
    "words": _piped(
        lambda: _vectors(token_pattern=r"[a-zA-Z]+", lowercase=False),
        "linear_model.LogisticRegression",
        table="words",
    ),
    "lightgbm": _one("lightgbm.LGBMClassifier", **_LIGHT),
    "lightgbm, two classes": _one("lightgbm.LGBMClassifier", "two", **_LIGHT),
    "lightgbm_numbers": _one("lightgbm.LGBMRegressor", "number", **_LIGHT),
    "xgboost, codes": _one("xgboost.XGBClassifier", "codes", **_XG),
    "xgboost_numbers": _one("xgboost.XGBRegressor", "number", **_XG),
    "catboost": _one("catboost.CatBoostClassifier", **_CAT),
    "catboost, codes": _one("catboost.CatBoostClassifier", "codes", **_CAT),
    "catboost_numbers": _one("catboost.CatBoostRegressor", "number", **_CAT),
    "scaled lightgbm": _piped(
        "preprocessing.StandardScaler", lambda: _of("lightgbm.LGBMClassifier", **_LIGHT)
    ),
    "scaled catboost": _piped(
        "preprocessing.StandardScaler", lambda: _of("catboost.CatBoostClassifier", **_CAT)
    ),
}


def _of_estimators(name: str) -> Animal:
    target = "number" if name.endswith("numbers") else "two" if "two" in name else "three"
    return Animal(make=lambda: estimators.unfitted(name), target=target)


ZOO: Mapping[str, Animal] = {
    **{name: _of_estimators(name) for name in estimators.NAMES},
    **_OWN,
}


def _target(kind: str, table: Rows) -> Any:
    """Return what an estimator learns: which of three numbers of a row is the largest."""
    values = table.select_dtypes("number").fillna(0.0).to_numpy()
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    values = np.tile(values, 2)  # At least two columns.
    # Linear boundaries, and a little of what is not.
    known = np.stack([values[:, 0], values[:, 1], 0.5 - values[:, 0] * values[:, 1]])
    largest = known.argmax(axis=0)
    return {
        "three": np.array(["no", "perhaps", "yes"], dtype=object)[largest],
        "two": np.array(["no", "yes"], dtype=object)[(largest > 0).astype(int)],
        "codes": largest,
        "flags": largest > 0,
        "number": 10 + known[0] - 2 * known[1] + np.sin(known[2]),
        "pairs": np.stack([known[0] + 5, 1000 * known[1]], axis=1),
        "two labels": np.stack([largest, largest > 0], axis=1),
        "nothing": None,
    }[kind]


@lru_cache
def fitted(name: str) -> tuple[Any, Rows, Rows]:
    """Return an estimator of `ZOO` that has learned, its rows, and rows that it has not seen."""
    animal = ZOO[name]
    random = np.random.default_rng(0)
    table = _TABLES[animal.table](random, ROWS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Iterations end early, on purpose.
        estimator = animal.make().fit(table, _target(animal.target, table))
    fresh = _TABLES[animal.table](random, FRESH)
    if animal.table in ("numbers", "gaps"):  # Some are far from all that was learned.
        fresh.iloc[::4] *= 3
    return estimator, table, fresh
