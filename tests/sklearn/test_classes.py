"""Which classes a classifier has, and which column of an output belongs to each."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import get_scorer
from sklearn.utils.validation import check_is_fitted

from hybridmodel import ConfigurationError, HybridOnnxModel, InputMismatch
from hybridmodel.exceptions import SpecMismatch
from hybridmodel.sklearn import HybridClassifier
from hybridmodel.sklearn.classes import Classes, settle
from hybridmodel.sklearn.outputs import column
from tests.support import estimators, models
from tests.support.sklearn_models import X, Y, graded, probabilities, with_classes

TEXTS = np.array(["no", "perhaps", "yes"])
ZIPMAP = models.classifier(zipmap=True)
ROWS = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("graph", "options", "y", "classes"),
    [
        pytest.param(ZIPMAP, {}, None, list(TEXTS), id="ZipMap, no y"),
        pytest.param(ZIPMAP, {}, TEXTS[Y], list(TEXTS), id="ZipMap"),
        pytest.param(ZIPMAP, {"classes": TEXTS}, None, list(TEXTS), id="ZipMap and the same given"),
        pytest.param(models.graded(), {}, Y, [0, 1, 2], id="y"),
        pytest.param(models.graded(), {"classes": [0, 1, 2]}, None, [0, 1, 2], id="given"),
        pytest.param(probabilities(), {}, TEXTS[Y], list(TEXTS), id="y of texts"),
        pytest.param(probabilities(["a", "b", "c"]), {}, None, ["a", "b", "c"], id="metadata"),
        pytest.param(probabilities(["c", "a", "b"]), {}, None, ["a", "b", "c"], id="unsorted"),
        pytest.param(ZIPMAP, {"classes": "encoded"}, Y, [0, 1, 2], id="ZipMap encoded"),
        pytest.param(probabilities(), {"classes": "encoded"}, Y, [0, 1, 2], id="encoded"),
    ],
)
def test_classes_come_from_the_model_or_the_caller_or_y(
    graph: bytes, options: dict[str, Any], y: Any, classes: list[Any]
) -> None:
    """`classes_` is what the model names, else what is given, else what `y` has, sorted."""
    rows = ROWS[: len(X)] if graph is ZIPMAP else X[:40]
    classifier = HybridClassifier(HybridOnnxModel(graph), **options)
    classifier.fit(rows, None if y is None else y[:40])
    assert classifier.classes_.tolist() == classes
    assert set(classifier.predict(rows).tolist()) <= set(classes)
    best = classifier.classes_[classifier.predict_proba(rows).argmax(axis=1)]
    np.testing.assert_array_equal(best, classifier.predict(rows))


def test_columns_are_in_the_order_of_the_classes() -> None:
    """Columns of a model whose classes are not sorted are sorted, as scikit-learn's scorers need.

    log_loss and roc_auc take the sorted order for granted, and would be silently wrong.
    """
    names = np.array(["c", "a", "b"])
    y = names[Y]
    classifier = HybridClassifier(HybridOnnxModel(probabilities(names.tolist()))).fit(X, y)
    raw = HybridOnnxModel(probabilities()).predict(X)
    np.testing.assert_array_equal(classifier.predict_proba(X), raw[:, [1, 2, 0]])
    assert get_scorer("roc_auc_ovr")(classifier, X, y) > 0.95
    assert get_scorer("neg_log_loss")(classifier, X, y) > -1.0


@pytest.mark.parametrize("two", [False, True], ids=["three classes", "two classes"])
@pytest.mark.parametrize("texts", [False, True], ids=["numbers", "texts"])
@pytest.mark.parametrize("name", ["LinearSVC", "SVC", "RidgeClassifier"])
def test_decision_values_are_those_of_scikit_learn(name: str, texts: bool, two: bool) -> None:
    """They come where there are no probabilities, with scikit-learn's sign for two classes.

    The converted SVC of two classes has its columns the other way round.
    """
    import skl2onnx
    from sklearn import linear_model, svm

    y = estimators.TEXTS if texts else estimators.NUMBERS
    y = np.where(y == y[0], y[0], y[y != y[0]][0]) if two else y
    kind: Any = getattr(svm, name, None) or getattr(linear_model, name)
    theirs = kind().fit(estimators.X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skl2onnx asks for what scikit-learn has deprecated.
        made = skl2onnx.to_onnx(theirs, estimators.X[:1], target_opset=17)
    quiet = {"log_severity_level": 3}  # onnxruntime's warning about a wrongly declared shape.
    ours = HybridClassifier(HybridOnnxModel(made, session_options=quiet)).fit(estimators.X, y)
    assert not hasattr(ours, "predict_proba")
    wanted = theirs.decision_function(estimators.X)
    np.testing.assert_allclose(ours.decision_function(estimators.X), wanted, atol=1e-5)
    np.testing.assert_array_equal(ours.predict(estimators.X), theirs.predict(estimators.X))


def test_probabilities_are_no_decision_values() -> None:
    """A classifier with probabilities has no `decision_function`."""
    classifier = graded_classifier().fit(X, Y)
    assert hasattr(classifier, "predict_proba")
    assert not hasattr(classifier, "decision_function")


def graded_classifier(**options: Any) -> HybridClassifier:
    """Make a classifier that has to learn its classes from y."""
    return HybridClassifier(graded(), **options)


def test_what_the_model_tells_is_known_without_fit() -> None:
    """Classes, columns and answers are there before `fit` where the model has them."""
    named = HybridOnnxModel(ZIPMAP, feature_names=list("abcd"))
    classifier = HybridClassifier(named)
    check_is_fitted(classifier)
    assert classifier.classes_.tolist() == list(TEXTS)
    assert classifier.n_features_in_ == 4
    assert classifier.feature_names_in_.tolist() == list("abcd")
    answers = classifier.predict_proba(pd.DataFrame(ROWS, columns=list("abcd")))
    np.testing.assert_array_equal(answers, classifier.fit(ROWS).predict_proba(ROWS))


def test_labels_need_no_fit_and_probabilities_do() -> None:
    """Without names of classes labels are answered, and the order of columns is not known."""
    classifier = graded_classifier()
    check_is_fitted(classifier)
    np.testing.assert_array_equal(classifier.predict(X), Y)
    assert not hasattr(classifier, "classes_")
    with pytest.raises(NotFittedError, match=r"does not know its classes.*call fit\(X, y\)"):
        classifier.predict_proba(X)
    unknown = HybridClassifier(HybridOnnxModel(probabilities()))
    with pytest.raises(NotFittedError):
        check_is_fitted(unknown)
    with pytest.raises(NotFittedError, match="classes="):
        unknown.predict(X)


@pytest.mark.parametrize(
    "y",
    [
        pytest.param(pd.Series(TEXTS[Y]), id="Series of texts"),
        pytest.param(pd.Series(TEXTS[Y], dtype="category"), id="categories"),
        pytest.param(pd.Series(TEXTS[Y], dtype=object), id="objects"),
        pytest.param(TEXTS[Y].tolist(), id="list"),
    ],
)
def test_y_comes_in_any_container(y: Any) -> None:
    """A column of pandas, a list and an array of texts are the same classes."""
    classifier = HybridClassifier(HybridOnnxModel(probabilities())).fit(X, y)
    assert classifier.classes_.tolist() == list(TEXTS)
    assert classifier.score(X, y) == 1.0


def test_true_and_false_are_one_and_zero() -> None:
    """Labels of 0 and 1 are scored against booleans, which converters turn into them."""
    graph = estimators.made("two_classes")
    wanted = estimators.TEXTS == "no"
    classifier = HybridClassifier(HybridOnnxModel(graph)).fit(estimators.X, wanted)
    share = float((classifier.predict(estimators.X) == wanted).mean())
    for scoring in ("accuracy", "f1", "roc_auc"):
        assert get_scorer(scoring)(classifier, estimators.X, wanted) > 0.5
    assert classifier.score(estimators.X, wanted) == share


BAD = [
    pytest.param(graded, {}, TEXTS[Y], "answers 0, 1, 2 .* none of the classes", id="texts"),
    pytest.param(graded, {}, Y % 2, "y has 2 classes .* answers with 3 columns", id="two of three"),
    pytest.param(graded, {}, None, "requires y to be passed", id="no y"),
    pytest.param(graded, {"classes": [0, 1]}, Y, "there are 2 classes", id="too few given"),
    pytest.param(graded, {"classes": [2, 0, 1]}, Y, "0 of 60 rows", id="given in another order"),
    pytest.param(graded, {"classes": [0, 1, 3]}, Y, r"y has the classes 2, which", id="others"),
    pytest.param(graded, {"classes": "all"}, Y, "classes is a list of at least two", id="a word"),
    pytest.param(graded, {"classes": [1, 1, 2]}, Y, "different classes", id="twice"),
    pytest.param(graded, {"classes": 3}, Y, "classes is a list", id="a number"),
    pytest.param(graded, {"label_output": "oops"}, Y, "no output 'oops'", id="no such label"),
    pytest.param(graded, {"label_output": "probabilities"}, Y, "shape", id="a table as label"),
    pytest.param(
        graded, {"proba_output": "label"}, Y, "proba_output is an output of floats", id="label"
    ),
    pytest.param(
        graded, {"model": "model.onnx"}, Y, "model is a HybridOnnxModel, not a str", id="path"
    ),
]


@pytest.mark.parametrize(("made", "options", "y", "message"), BAD)
def test_what_does_not_go_together_is_refused(
    made: Any, options: dict[str, Any], y: Any, message: str
) -> None:
    """`fit` says what the model has, what came and what to do."""
    given = {"model": made(), **options}
    with pytest.raises((ConfigurationError, InputMismatch), match=re.compile(message, re.DOTALL)):
        HybridClassifier(**given).fit(X, y)


@pytest.mark.parametrize(
    ("graph", "classes", "message"),
    [
        pytest.param(
            ZIPMAP, ["no", "yes"], "but the model's are 'no', 'perhaps', 'yes'", id="given"
        ),
        pytest.param(with_classes(ZIPMAP, "["), None, None, id="ZipMap wins"),
    ],
)
def test_given_classes_are_the_models(graph: bytes, classes: Any, message: str | None) -> None:
    """Those that are given must be those that a ZipMap has, which nothing overrules."""
    classifier = HybridClassifier(HybridOnnxModel(graph), classes=classes)
    if message is None:
        assert classifier.fit(ROWS).classes_.tolist() == list(TEXTS)
        return
    with pytest.raises(ConfigurationError, match=message):
        classifier.fit(ROWS)


STORED = {
    "cut": "[",
    "object": "{}",
    "null": '[1, "a", null]',
    "truth values": "[true, false, 1]",
    "none": "[]",
    "twice": '["a", "a", "b"]',
    "mixed": '[1, "a", 2]',
    "deep": "[" * 100_000,
    "long number": f"[0, 1, {'9' * 5000}]",
}


@pytest.mark.parametrize("text", STORED.values(), ids=STORED)
def test_stored_classes_are_checked(text: str) -> None:
    """Metadata that is no list of texts or whole numbers is refused, since a file is data."""
    classifier = HybridClassifier(HybridOnnxModel(with_classes(probabilities(), text)))
    with pytest.raises(ConfigurationError, match=r"metadata 'hybridmodel.classes'"):
        classifier.fit(X, Y)


def test_encoded_labels_are_hinted_at() -> None:
    """Numbers from 0 for a model with texts are refused, and the way to have them is said."""
    with pytest.raises(InputMismatch, match="classes='encoded' where another estimator encodes"):
        HybridClassifier(HybridOnnxModel(ZIPMAP)).fit(ROWS, Y[:40])


def test_a_model_without_classes_is_no_classifier() -> None:
    """Where no output can be labels or probabilities, all outputs are named."""
    classifier = HybridClassifier(HybridOnnxModel(models.two_outputs()), proba_output="total")
    assert classifier.fit(X, Y > 0).classes_.tolist() == [False, True]
    nothing = HybridOnnxModel(models.passthrough(a=("FP32", ("N", 2)), b=("FP32", ("N", 2))))
    frame = pd.DataFrame({"a": [[1.0, 2.0]], "b": [[3.0, 4.0]]})
    with pytest.raises(ConfigurationError, match=r"label_output='NAME'.*a_out.*b_out"):
        HybridClassifier(nothing).fit(frame, [0])


def test_one_column_of_texts_is_a_table_as_well() -> None:
    """A model of one text a row takes a frame of one column, and its answers are classes."""
    classifier = HybridClassifier(HybridOnnxModel(models.strings()), label_output="shout")
    frame = pd.DataFrame({"text": ["a", "b", "a"]})
    assert classifier.n_features_in_ == 1
    assert classifier.fit(frame, ["a!", "b!", "a!"]).classes_.tolist() == ["a!", "b!"]
    assert classifier.predict(frame).tolist() == ["a!", "b!", "a!"]


ENCODED = Classes(np.arange(3), labels=TEXTS, is_encoded=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(
            lambda: ENCODED.sort(np.zeros((2, 4))),
            SpecMismatch,
            "has 4 columns for the 3 classes 0, 1, 2",
            id="columns",
        ),
        pytest.param(
            lambda: ENCODED.answer(np.array(["yes", "oh"])),
            SpecMismatch,
            "answered 'oh', which is none of its classes 'no', 'perhaps', 'yes'",
            id="label",
        ),
        pytest.param(
            lambda: column(np.zeros((2, 3)), "label"),
            SpecMismatch,
            r"output 'label' has the shape \[2, 3\]",
            id="shape",
        ),
        pytest.param(
            lambda: settle(None, "encoded", None, None),
            ConfigurationError,
            "names its classes, or has probabilities",
            id="nothing known",
        ),
    ],
)
def test_answers_that_are_not_the_classes(call: Any, error: type[Exception], message: str) -> None:
    """An endpoint may answer what the local model does not: that is an error, and no class."""
    with pytest.raises(error, match=message):
        call()
