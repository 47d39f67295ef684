"""A hybrid model where scikit-learn has estimators: pipelines, searches, scorers, ensembles."""

from __future__ import annotations

import pickle
import timeit
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
from scipy.sparse import csr_array
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, get_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from hybridmodel import ConfigurationError, HybridOnnxModel, InputMismatch
from hybridmodel.routing import Cascade
from hybridmodel.serving import serve
from hybridmodel.sklearn import HybridClassifier, HybridRegressor, from_sklearn
from tests.support import models, two_routes
from tests.support.sklearn_models import X, Y, any_width_regressor, graded, probabilities

FRAME = pd.DataFrame(X, columns=list("abc"), index=range(100, 160))
TEXTS = np.array(["no", "perhaps", "yes"])


@pytest.fixture(scope="module")
def model() -> Iterator[HybridOnnxModel]:
    """Make a model whose local answers are all right, and whose endpoint's are all wrong."""
    with serve({"remote": two_routes.REMOTE}, auth_key="key") as server:
        endpoint = server.endpoint("remote", auth_key_env=None)
        with graded(endpoint=endpoint, credential=lambda: "key") as made:
            yield made


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(X, id="array"),
        pytest.param(X.tolist(), id="lists"),
        pytest.param(FRAME, id="frame"),
        pytest.param(pl.DataFrame(FRAME.to_dict("list")), id="polars"),
        pytest.param(pa.Table.from_pandas(FRAME, preserve_index=False), id="arrow"),
    ],
)
def test_both_routes_answer(model: HybridOnnxModel, rows: Any) -> None:
    """Labels and probabilities are arrays, and those of the model itself, by either route."""
    classifier = HybridClassifier(model).fit(rows, Y)
    assert is_classifier(classifier)
    for use_azure, wanted in ((False, two_routes.local_outputs), (True, two_routes.remote_outputs)):
        labels = classifier.predict(rows, use_azure=use_azure)
        np.testing.assert_array_equal(labels, wanted(X)["label"])
        found = classifier.predict_proba(rows, use_azure=use_azure)
        np.testing.assert_allclose(found, wanted(X)["probabilities"], rtol=1e-6)
    assert classifier.score(rows, Y) == 1.0
    assert classifier.score(rows, Y, use_azure=True) == 0.0
    assert classifier.score(rows, Y, Y == 0, use_azure=True) == 0.0


def test_parameters_count_when_a_method_is_called(model: HybridOnnxModel) -> None:
    """The route can be changed after `fit`; an argument of the call counts more."""
    classifier = HybridClassifier(model, use_azure=True).fit(X, Y)
    assert classifier.score(X, Y) == 0.0
    assert classifier.score(X, Y, use_azure=False) == 1.0
    classifier.set_params(use_azure=None, mode=Cascade(threshold=0.4))
    wanted = model.predict(X, mode=Cascade(threshold=0.4))["label"]
    np.testing.assert_array_equal(classifier.predict(X), wanted)
    assert 0.0 < classifier.score(X, Y) < 1.0
    assert classifier.score(X, Y, use_azure=True) == 0.0
    with pytest.raises(ConfigurationError, match="pass use_azure or mode, not both"):
        classifier.set_params(use_azure=True).predict(X)
    with pytest.raises(ConfigurationError, match="timeout"):
        HybridClassifier(model, timeout=-1).predict(X)


def test_fit_sends_nothing(model: HybridOnnxModel) -> None:
    """`fit` asks the local model only, whatever the route."""
    before = model.stats()
    HybridClassifier(model, mode="azure_first").fit(X, Y)
    assert model.stats() == before


def test_clones_share_the_model(model: HybridOnnxModel) -> None:
    """A clone has the same model, with its credential, all parameters, and nothing of `fit`."""
    mode = Cascade(threshold=0.4)
    classifier = HybridClassifier(model, mode=mode, timeout=3.0).fit(X, Y)
    made = clone(classifier)
    assert made is not classifier
    assert made.model is model
    assert made.get_params() == classifier.get_params()
    assert not hasattr(made, "classes_")
    assert made.score(X, Y, use_azure=True) == 0.0
    with sklearn.config_context(enable_metadata_routing=True):
        asking = HybridClassifier(model).set_score_request(use_azure=True)
        assert clone(asking).get_metadata_routing().score.requests == {
            "sample_weight": None,
            "use_azure": True,
        }


def test_a_search_finds_the_better_mode(model: HybridOnnxModel) -> None:
    """GridSearchCV compares modes over folds, in a pipeline, and asks the endpoint for it."""
    before = model.stats().get("azure.rows", 0)
    pipeline = make_pipeline(FunctionTransformer(), HybridClassifier(model))
    search = GridSearchCV(pipeline, {"hybridclassifier__mode": ["azure", "local"]}, cv=3)
    search.fit(X, Y)
    assert search.best_params_ == {"hybridclassifier__mode": "local"}
    assert search.cv_results_["mean_test_score"].tolist() == [0.0, 1.0]
    assert model.stats()["azure.rows"] - before == len(X)
    assert search.best_estimator_[-1].model is model


def test_other_processes_search_as_well() -> None:
    """GridSearchCV with n_jobs=2 pickles the estimator, and finds the same."""
    pipeline = make_pipeline(StandardScaler(), HybridClassifier(graded()))
    scores = [cross_val_score(pipeline, X, Y, cv=3, n_jobs=jobs).tolist() for jobs in (None, 2)]
    assert scores[0] == scores[1]


def test_pickles_answer_the_same(model: HybridOnnxModel) -> None:
    """A pickle is fitted, and holds no credential."""
    classifier = HybridClassifier(model).fit(FRAME, Y)
    made = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(made.predict(FRAME), Y)
    assert made.classes_.tolist() == [0, 1, 2]
    assert made.feature_names_in_.tolist() == list("abc")


@pytest.mark.parametrize(
    "scoring", ["accuracy", "f1_macro", "roc_auc_ovr", "neg_log_loss", "balanced_accuracy"]
)
def test_scorers_score(scoring: str) -> None:
    """A scorer gives what it gives for an equal estimator of scikit-learn."""
    theirs = LogisticRegression(C=100).fit(X, Y)
    from skl2onnx import to_onnx

    ours = HybridClassifier(HybridOnnxModel(to_onnx(theirs, X[:1], target_opset=17))).fit(X, Y)
    score = get_scorer(scoring)
    assert score(ours, X, Y) == pytest.approx(score(theirs, X, Y), abs=1e-5)


def test_inspection() -> None:
    """Permutation importance sees all three columns, a confusion matrix is drawn."""
    classifier = HybridClassifier(graded()).fit(FRAME, Y)
    found = permutation_importance(classifier, FRAME, Y, n_repeats=2, random_state=0)
    assert (found.importances_mean > 0.2).all()
    mpl.use("Agg")
    display = ConfusionMatrixDisplay.from_estimator(classifier, FRAME, Y)
    assert display.confusion_matrix.trace() == len(X)
    mpl.pyplot.close(display.figure_)


@pytest.mark.parametrize("texts", [False, True], ids=["numbers", "texts"])
@pytest.mark.parametrize("kind", ["calibrated", "single", "hard", "soft", "stacking", "bagging"])
def test_ensembles_take_it(kind: str, texts: bool) -> None:
    """Calibration and ensembles take it for one of theirs; where they encode y, it is told so."""
    graph = probabilities(TEXTS.tolist()) if texts else models.graded()
    y = TEXTS[Y] if texts else Y
    encodes = texts and kind != "calibrated"
    ours = HybridClassifier(HybridOnnxModel(graph), classes="encoded" if encodes else None)
    both = [("ours", ours), ("theirs", LogisticRegression())]
    ensembles: dict[str, Any] = {
        "calibrated": lambda: CalibratedClassifierCV(ours, cv=3),
        "single": lambda: CalibratedClassifierCV(ours, ensemble=False, cv=3),
        "hard": lambda: VotingClassifier(both, weights=[2, 1]),
        "soft": lambda: VotingClassifier(both, voting="soft"),
        "stacking": lambda: StackingClassifier(both, cv=3),
        "bagging": lambda: BaggingClassifier(ours, n_estimators=2, random_state=0),
    }
    ensemble = ensembles[kind]().fit(X, y)
    assert ensemble.classes_.tolist() == np.unique(y).tolist()
    assert ensemble.score(X, y) > 0.9


def test_frames_between_steps_are_read_by_name() -> None:
    """With set_output("pandas") a step may reorder columns for a model that knows their names."""
    named = graded(feature_names=["a", "b", "c"])
    turned = ColumnTransformer(
        [(name, "passthrough", [name]) for name in "cab"], verbose_feature_names_out=False
    )
    pipeline = make_pipeline(turned, HybridClassifier(named)).set_output(transform="pandas")
    assert pipeline.fit(FRAME, Y).score(FRAME, Y) == 1.0
    assert pipeline[-1].feature_names_in_.tolist() == ["a", "b", "c"]
    pipeline.set_output(transform="default")
    assert pipeline.fit(FRAME, Y).score(FRAME, Y) < 1.0


def test_metadata_is_routed(model: HybridOnnxModel) -> None:
    """`use_azure` reaches the model through a pipeline, and through cross_validate where asked."""
    classifier = HybridClassifier(model)
    pipeline = make_pipeline(FunctionTransformer(), classifier).fit(X, Y)
    wrong = two_routes.remote_outputs(X)["label"]
    np.testing.assert_array_equal(pipeline.predict(X, use_azure=True), wrong)
    with sklearn.config_context(enable_metadata_routing=True):
        classifier.set_predict_request(use_azure=True).set_score_request(use_azure=True)
        np.testing.assert_array_equal(pipeline.predict(X, use_azure=True), wrong)
        np.testing.assert_array_equal(pipeline.predict(X), Y)
        found = cross_validate(pipeline, X, Y, cv=2, params={"use_azure": True})
        assert found["test_score"].tolist() == [0.0, 0.0]


def test_regressors_answer() -> None:
    """One number a row is an array of shape (n,), several are (n, m)."""
    y = X.sum(axis=1)
    regressor = HybridRegressor(HybridOnnxModel(any_width_regressor())).fit(X, y)
    assert is_regressor(regressor)
    assert regressor.predict(X).shape == (len(X),)
    assert regressor.score(X, y) == pytest.approx(1.0)
    assert cross_val_score(make_pipeline(regressor), X, y, cv=2).tolist() == [1.0, 1.0]
    several = HybridRegressor(HybridOnnxModel(models.two_outputs()), output="double")
    np.testing.assert_array_equal(several.fit(X, 2 * X).predict(X), 2 * X)
    assert several.score(X, 2 * X, use_azure=False) == 1.0


def test_a_regressors_output_has_to_be_known() -> None:
    """Several outputs of numbers, or texts, are refused with the list of all outputs."""
    with pytest.raises(ConfigurationError, match=r"name one with output='NAME'.*total.*double"):
        HybridRegressor(HybridOnnxModel(models.two_outputs())).fit(X)
    with pytest.raises(ConfigurationError, match="an output of numbers"):
        HybridRegressor(HybridOnnxModel(models.strings()), output="shout").fit([["a"]])
    preferred = HybridRegressor(HybridOnnxModel(models.two_outputs(), output="total"))
    assert preferred.fit(X).predict(X).shape == (len(X),)


def test_columns_of_several_inputs_are_one_frame() -> None:
    """A model with an input for each column, of any dtype, takes the frame in any order."""
    graph = models.passthrough(age=("FP32", ("N", 1)), name=("BYTES", ("N", 1)))
    frame = pd.DataFrame({"name": ["a", "b", "a"], "age": [1.0, 2.0, 3.0]})
    regressor = HybridRegressor(HybridOnnxModel(graph)).fit(frame, frame["age"])
    assert regressor.feature_names_in_.tolist() == ["age", "name"]
    assert regressor.n_features_in_ == 2
    assert regressor.predict(frame[["age", "name"]]).tolist() == [1.0, 2.0, 3.0]


def test_what_from_sklearn_makes_is_an_estimator_at_once() -> None:
    """A pipeline of mixed columns, converted, answers as before, and knows its classes unfitted."""
    frame = FRAME.assign(city=np.where(Y == 1, "a", "b"))
    steps = ColumnTransformer([("of texts", OneHotEncoder(), ["city"])], remainder="passthrough")
    theirs = make_pipeline(steps, LogisticRegression()).fit(frame, TEXTS[Y])
    ours = HybridClassifier(from_sklearn(theirs, frame))
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    assert ours.feature_names_in_.tolist() == ["a", "b", "c", "city"]
    np.testing.assert_array_equal(ours.predict(frame), theirs.predict(frame))
    np.testing.assert_allclose(ours.predict_proba(frame), theirs.predict_proba(frame), atol=1e-5)
    assert cross_val_score(ours, frame, TEXTS[Y], cv=2).min() > 0.9


NAMED, UNNAMED = {"feature_names": list("abc")}, dict[str, Any]()
BAD_COLUMNS = [
    pytest.param(NAMED, FRAME.rename(columns={"a": "d"}), "'d'", id="other names"),
    pytest.param(NAMED, FRAME[["a", "b"]], "'c'", id="too few"),
    pytest.param(NAMED, X[:, :2], r"expected shape \[\?, 3\]", id="array, too few"),
    pytest.param(UNNAMED, X[:, :2], r"expected shape \[\?, 3\]", id="no names, too few"),
    pytest.param(UNNAMED, X[0], "Reshape your data", id="one dimension"),
    pytest.param(UNNAMED, X[:0], "0 sample", id="no rows"),
    pytest.param(UNNAMED, FRAME[:0], "at least one row", id="no rows in a frame"),
    pytest.param(UNNAMED, FRAME.assign(a="x"), "column 'a': expected float32, got str", id="texts"),
    pytest.param(
        NAMED, FRAME.set_axis(list("aab"), axis=1), "column names: repeated 'a'", id="a name twice"
    ),
    pytest.param(UNNAMED, X.astype(complex), "Complex data not supported", id="complex"),
]


@pytest.mark.parametrize(("options", "rows", "message"), BAD_COLUMNS)
def test_fit_refuses_rows_that_do_not_fit(options: dict[str, Any], rows: Any, message: str) -> None:
    """Columns that are not the model's are an error of `fit`, and not of the first prediction."""
    with pytest.raises(ValueError, match=message):
        HybridClassifier(graded(**options)).fit(rows, Y[: len(rows)])


def test_later_columns_are_those_of_fit() -> None:
    """A model without names of columns gets them from `fit`: order and names must stay."""
    classifier = HybridClassifier(graded()).fit(FRAME, Y)
    with pytest.raises(ValueError, match="must be in the same order"):
        classifier.predict(FRAME[["c", "b", "a"]])
    with pytest.raises(ValueError, match="unseen at fit time"):
        classifier.predict(FRAME.rename(columns={"a": "d"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        classifier.predict(X)
    classifier.fit(X, Y)
    assert not hasattr(classifier, "feature_names_in_")
    with pytest.raises(ValueError, match="X has 2 features"):
        classifier.predict(X[:, :2])
    with pytest.raises(InputMismatch, match="Reshape your data"):
        classifier.predict(X[0])
    with pytest.raises(InputMismatch, match=r"X is sparse.*pass X.toarray\(\)"):
        classifier.predict(csr_array(X))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier.fit(X, Y[:3])


def test_what_an_estimator_costs() -> None:
    """One row takes at most 30 µs more than `predict` of the model."""
    named = graded(feature_names=list("abc"))
    classifier = HybridClassifier(named).fit(X, Y)
    for row in (X[:1], FRAME[:1]):
        best = [
            min(timeit.repeat(call, number=100, repeat=20)) / 100
            for call in (
                lambda row=row: named.predict(row, output="label"),
                lambda row=row: classifier.predict(row),
            )
        ]
        assert best[1] - best[0] < 30e-6
