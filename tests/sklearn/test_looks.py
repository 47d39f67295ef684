"""What a notebook shows of an estimator."""

from __future__ import annotations

from typing import Any

import pytest
import sklearn

from hybridmodel import ConfigurationError, HybridOnnxModel, TritonEndpoint
from hybridmodel.routing import Cascade
from hybridmodel.sklearn import HybridClassifier, HybridRegressor
from tests.support.cards import card
from tests.support.sklearn_models import X, Y, any_width_regressor, graded, probabilities

ENDPOINT = TritonEndpoint(
    uri="https://digits.westeurope.inference.ml.azure.com", model_name="digits"
)
HOSTILE = "<script>alert(1)</script>"


CASES = [
    pytest.param(
        lambda: HybridClassifier(graded()), ["local, as the model was made", "none"], id="local"
    ),
    pytest.param(
        lambda: HybridClassifier(graded(endpoint=ENDPOINT), mode=Cascade(threshold=0.4)).fit(X, Y),
        ["cascade", f"digits at {ENDPOINT.uri}", "0, 1, 2"],
        id="cascade",
    ),
    pytest.param(
        lambda: HybridClassifier(graded(endpoint=ENDPOINT), use_azure=True, timeout=3.0),
        ["use_azure=True", "3.0"],
        id="use_azure",
    ),
    pytest.param(
        lambda: HybridClassifier(graded(), mode=lambda _: True), ["a function"], id="function"
    ),
    pytest.param(
        lambda: HybridClassifier(HybridOnnxModel(probabilities([HOSTILE, "b", "c"]))).fit(X),
        [f"{HOSTILE}, b, c"],
        id="hostile names",
    ),
    pytest.param(
        lambda: HybridRegressor(HybridOnnxModel(any_width_regressor())),
        ["x: FP32[?, ?] → y: FP32[?, 1]"],
        id="regressor",
    ),
]


@pytest.mark.parametrize(("made", "told"), CASES)
def test_a_notebook_shows_routes_and_classes(made: Any, told: list[str]) -> None:
    """The page is a table of plain text: no script, no address to load from, all of it escaped."""
    estimator = made()
    bundle = estimator._repr_mimebundle_()
    page = card(bundle["text/html"])
    assert set(told) <= set(page.texts)
    assert bundle["text/plain"] == repr(estimator)
    assert estimator._repr_html_() == bundle["text/html"]
    with sklearn.config_context(display="text"):
        assert estimator._repr_mimebundle_() == {"text/plain": repr(estimator)}


def test_a_wrong_model_is_shown_and_not_used() -> None:
    """An estimator around something else is shown all the same; its tags and answers refuse it."""
    estimator = HybridClassifier("digits.onnx")  # type: ignore[arg-type]
    assert "a str, not a HybridOnnxModel" in estimator._repr_html_()
    for call in (lambda: estimator.predict(X), lambda: sklearn.utils.get_tags(estimator)):
        with pytest.raises(ConfigurationError, match="model is a HybridOnnxModel, not a str"):
            call()
