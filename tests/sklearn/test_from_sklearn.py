"""`from_sklearn`: containers, both sides, what is kept in the file, and what is refused."""

from __future__ import annotations

import pickle
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from hybridmodel import InputMismatch, SpecMismatch, load_model, save_model
from hybridmodel.exceptions import ConfigurationError, MissingDependency
from hybridmodel.serving import serve
from hybridmodel.sklearn import ConversionDiffers, HybridClassifier, from_sklearn
from hybridmodel.sklearn.converting.refusals import does_not_run
from tests.support.zoo import fitted

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = np.random.default_rng(0)
X = pd.DataFrame(RANDOM.normal(size=(150, 3)), columns=["width", "height", "age"])
Y = np.where(X["width"] + 0.1 * RANDOM.normal(size=150) > 0, "yes", "no").astype(object)
SMALL = LogisticRegression().fit(X, Y)
BIG = RandomForestClassifier(n_estimators=5, random_state=0).fit(X, Y)


def test_a_frame_of_mixed_columns_works_at_once() -> None:
    """Columns of texts, whole numbers, gaps and truth values go in as the estimator takes them."""
    estimator, rows, fresh = fitted("mixed columns")
    model = from_sklearn(estimator, rows)
    assert model.spec.input_names == tuple(rows.columns)
    answer = model.predict(fresh[list(rows.columns)[::-1]], output="label")
    assert answer.tolist() == estimator.predict(fresh).tolist()
    assert answer.index.equals(fresh.index)


def test_columns_of_numbers_are_one_input_with_names() -> None:
    """Numbers become one tensor, and a frame in another order is read by name."""
    model = from_sklearn(SMALL, X)
    assert [str(item) for item in model.inputs] == ["X: FP32[?, 3]"]
    assert model.feature_names == list(X)
    found = model.predict(X[["age", "width", "height"]], output="label")
    assert found.tolist() == SMALL.predict(X).tolist()


def test_texts_alone_are_one_input() -> None:
    """A table of texts becomes one tensor of strings."""
    rows = pd.DataFrame({"town": list("abc") * 30, "plan": list("xyz") * 30})
    estimator = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, rows["town"] == "a")
    model = from_sklearn(estimator, rows)
    assert [str(item) for item in model.inputs] == ["X: BYTES[?, 2]"]


def test_arrays_need_no_names() -> None:
    """An estimator that was fitted to an array makes a model without names of columns."""
    estimator = LinearRegression().fit(X.to_numpy(), X["age"])
    model = from_sklearn(estimator, X.to_numpy())
    assert model.feature_names is None
    np.testing.assert_allclose(model.predict(X.to_numpy())[:, 0], X["age"], atol=1e-5)


def test_an_array_gets_the_names_of_the_estimator() -> None:
    """`feature_names_in_` is taken over where X itself has no names."""
    assert from_sklearn(SMALL, X.to_numpy()).feature_names == list(X)


def test_the_proof_says_what_was_compared() -> None:
    """Rows, equal labels and the largest difference are told, in words and as JSON."""
    found = from_sklearn(SMALL, X).small
    assert found.estimator == "LogisticRegression"
    assert (found.agreement.rows, found.agreement.differing) == (150, 0)
    assert found.agreement.equal_labels == 1.0
    assert 0 < found.agreement.largest["probabilities"] < 1e-6
    assert str(found.agreement).startswith("300 of 300 rows agree, all labels are equal")
    assert found.agreement.to_dict()["positions"] == []


def test_both_sides_answer_as_their_estimators(tmp_path: Path) -> None:
    """The big model is written, served, and answers remotely what its estimator predicts."""
    prepared = from_sklearn(SMALL, X, big=BIG)
    assert prepared.big is not None
    with serve({"big": prepared.big.write(tmp_path / "big.onnx")}) as server:
        model = from_sklearn(SMALL, X, BIG, server.endpoint("big"), output="label")
        model.check_endpoint()
        assert model.predict(X).tolist() == SMALL.predict(X).tolist()
        assert model.predict(X, use_azure=True).tolist() == BIG.predict(X).tolist()


def test_class_names_are_kept_without_a_zipmap() -> None:
    """Probabilities are an array, and the estimator of the model knows its classes."""
    model = from_sklearn(SMALL, X)
    assert b"ZipMap" not in model.small.onnx
    hybrid = HybridClassifier(model).fit(X, Y)
    assert hybrid.classes_.tolist() == ["no", "yes"]
    np.testing.assert_allclose(hybrid.predict_proba(X), SMALL.predict_proba(X), atol=1e-6)


def test_scores_of_two_classes_are_those_of_the_estimator() -> None:
    """Without probabilities the decision function is kept, whatever columns its converter has."""
    estimator, rows, fresh = fitted("svc, two classes")
    model = from_sklearn(estimator, rows)
    assert [str(item) for item in model.outputs] == ["label: BYTES[?]", "scores: FP32[?, 1]"]
    expected = estimator.decision_function(fresh)
    found = model.infer(fresh).outputs["scores"][:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_it_is_saved_and_pickled_as_any_model(tmp_path: Path) -> None:
    """A saved one is a plain hybrid model; a pickled one keeps its proof."""
    model = from_sklearn(SMALL, X)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.predict(X).equals(model.predict(X))
    again = pickle.loads(pickle.dumps(model))
    assert again.small == model.small
    assert again.predict(X).equals(model.predict(X))


def test_float64_is_proposed_where_it_helps() -> None:
    """A refusal names rows, and the dtype with which all of them agree, which then is taken."""
    estimator, rows, _ = fitted("fine numbers, scaled tree")
    with pytest.raises(ConversionDiffers, match="pass dtype='float64', with which 240 of 240 rows"):
        from_sklearn(estimator, rows)
    model = from_sklearn(estimator, rows, dtype="float64")
    assert model.inputs[0].datatype == "FP64"
    assert model.small.agreement.differing == 0


def test_a_difference_is_refused_unless_it_is_allowed() -> None:
    """Rows with another label are refused with their positions; `differing` allows a share."""
    estimator, rows, _ = fitted("sgd_huber")
    with pytest.raises(ConversionDiffers, match="rows 4, 12, 20") as caught:
        from_sklearn(estimator, rows)
    found = caught.value.agreement
    assert found is not None
    assert found.equal_labels is not None
    assert found.equal_labels < 0.95
    model = from_sklearn(estimator, rows, differing=0.5)
    assert model.small.agreement.differing == found.differing


def test_an_output_that_differs_may_be_left_out() -> None:
    """Where only the scores differ, the labels alone are proposed, and are proven."""
    estimator, rows, fresh = fitted("one_vs_rest of linear_svc")
    with pytest.raises(ConversionDiffers, match=r"pass outputs=\['label'\]"):
        from_sklearn(estimator, rows)
    model = from_sklearn(estimator, rows, outputs=["label"])
    assert model.predict(fresh).tolist() == estimator.predict(fresh).tolist()


def test_other_outputs_on_both_sides_are_refused() -> None:
    """One side with probabilities and one with scores cannot stand in for each other."""
    big = LinearSVC().fit(X, Y)
    with pytest.raises(SpecMismatch, match=r"output 'probabilities': .*pass outputs=\['label'\]"):
        from_sklearn(SMALL, X, big)
    assert from_sklearn(SMALL, X, big, outputs=["label"]).big is not None


def test_other_classes_on_both_sides_are_refused() -> None:
    """Both sides must know the same classes."""
    big = LogisticRegression().fit(X, np.where(Y == "yes", "yes", "never"))
    with pytest.raises(SpecMismatch, match=r"small has the classes \['no', 'yes'\]"):
        from_sklearn(SMALL, X, big)


def _doubled(values: Any) -> Any:
    return values * 2


def _function() -> Any:
    return make_pipeline(FunctionTransformer(_doubled), LogisticRegression()).fit(X, Y)


REFUSED = {
    "no estimator": (lambda: "a.pkl", "from_sklearn takes fitted estimators, not 'a.pkl'"),
    "a class": (lambda: LogisticRegression, "takes fitted estimators"),
    "not fitted": (LogisticRegression, "LogisticRegression: is not fitted; fit it before"),
    "no predict": (lambda: StandardScaler().fit(X), "StandardScaler: has no predict"),
    "no converter": (lambda: fitted("centroid")[0], "it has no converter to ONNX; replace it"),
    "a step without": (lambda: fitted("splines")[0], "step 'splinetransformer', SplineTransformer"),
    "catboost as a step": (lambda: fitted("scaled catboost")[0], "CatBoost converts alone"),
    "a function": (_function, "its converter fails: .*apply its function before the call"),
    "sparse bins": (lambda: fitted("binned, sparse")[0], "pass encode='onehot-dense'"),
    "several labels": (lambda: fitted("two labels")[0], "predicts 2 labels for each row"),
    "no end of gaps": (lambda: fitted("gaps, tree")[0], "has learned from missing values"),
    "no kernel": (
        lambda: fitted("gaussian_process, truth values")[0],
        "onnxruntime cannot run what its converter wrote",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_is_refused(name: str) -> None:
    """The error names the estimator, the step and what to do."""
    make, message = REFUSED[name]
    estimator = make()
    names = getattr(estimator, "feature_names_in_", list(X))
    rows = X.set_axis(names, axis=1) if len(names) == 3 else fitted("logistic")[1]
    with pytest.raises(ConfigurationError, match=message):
        from_sklearn(estimator, rows)


REASONS = {
    "a locale": ("Failed to construct locale with name:en_US.UTF-8", "pass lowercase=False"),
    "a type": ("Could not find an implementation for Imputer(1)", "keep dtype='float32'"),
    "another": ("Type Error", "try classes that are whole numbers instead of texts"),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_onnxruntime_says_leads_to_advice(name: str) -> None:
    """The reason is told, on one line, with what to do about it."""
    reason, advice = REASONS[name]
    said = str(does_not_run(SMALL, RuntimeError(f"[ONNXRuntimeError]\n{reason}")))
    assert said.startswith("LogisticRegression: onnxruntime cannot run what its converter wrote")
    assert reason in said
    assert advice in said
    assert "\n" not in said


OTHER_ROWS = {
    "other columns": (X.rename(columns={"age": "years"}), "missing 'age'; unexpected 'years'"),
    "too few": (X.to_numpy()[:, :2], "X has 2 columns, the estimator was fitted to 3"),
    "none": (X[:0], "rows to prove the conversion on"),
    "one row": (X.iloc[0], "rows to prove the conversion on"),
    "objects": (X.assign(age=object()), r"column 'age': holds Python objects \(object\)"),
    "words": (X.assign(age=["a", 1.0] * 75), "column 'age': holds texts and float"),
    "gaps in texts": (
        X.assign(age=["a", None] * 75),
        "column 'age': holds texts and missing values",
    ),
    "categories": (X.assign(age=pd.Categorical(Y)), r"pass X.astype\(\{'age': 'str'\}\)"),
    "dates": (X.assign(age=pd.Timestamp("2026-01-01")), "column 'age': is of dtype datetime64"),
}


@pytest.mark.parametrize("name", OTHER_ROWS)
def test_other_rows_than_the_estimators_are_refused(name: str) -> None:
    """The error names the column, what it holds and what is taken."""
    rows, message = OTHER_ROWS[name]
    with pytest.raises(InputMismatch, match=message):
        from_sklearn(SMALL, rows)


def test_arguments_are_checked() -> None:
    """A dtype, an output or a bound that there is not is refused with what there is."""
    with pytest.raises(ConfigurationError, match="dtype is one of 'float32', 'float64'"):
        from_sklearn(SMALL, X, dtype="float16")
    with pytest.raises(ConfigurationError, match="no output 'scores'; it has 'label', 'prob"):
        from_sklearn(SMALL, X, outputs=["scores"])
    with pytest.raises(ConfigurationError, match="differing"):
        from_sklearn(SMALL, X, differing=2)
    for outputs in ("label", []):
        with pytest.raises(ConfigurationError, match=r"names such as \['label'\]"):
            from_sklearn(SMALL, X, outputs=outputs)
    with pytest.raises(ConfigurationError, match="takes fitted estimators, not None"):
        from_sklearn(None, X)


def test_two_columns_of_one_name_are_refused() -> None:
    """They are named, also where the estimator was fitted to an array."""
    unnamed = LogisticRegression().fit(X.to_numpy(), Y)
    with pytest.raises(InputMismatch, match="X: column names: repeated 'a'"):
        from_sklearn(unnamed, X.set_axis(list("aab"), axis=1))


def test_columns_in_another_order_on_both_sides_are_refused() -> None:
    """The endpoint would take one column for another; both orders are told."""
    turned = LogisticRegression().fit(X[["age", "height", "width"]], Y)
    with pytest.raises(InputMismatch, match="in another order: 'age', 'height', 'width'; fit both"):
        from_sklearn(SMALL, X, turned)


def test_a_column_with_the_name_of_an_output_is_refused() -> None:
    """Where each column is an input, none may be called as an output is."""
    rows = pd.DataFrame({"label": ["a", "b"] * 20, "age": np.arange(40.0)})
    estimator = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, rows["label"])
    with pytest.raises(ConfigurationError, match="the columns 'label' have the names of outputs"):
        from_sklearn(estimator, rows)


def test_without_a_converter_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where skl2onnx is not installed, the error says what brings it."""
    monkeypatch.setitem(__import__("sys").modules, "skl2onnx", None)
    with pytest.raises(MissingDependency, match=r"hybridmodel\[convert\]"):
        from_sklearn(SMALL, X)


def test_nothing_is_warned_of() -> None:
    """Neither the converters' warnings nor the estimator's reach the caller."""
    estimator = SGDClassifier(random_state=0).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_sklearn(estimator, X)
