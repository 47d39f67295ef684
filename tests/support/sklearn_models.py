"""Models and data for the estimators of `hybridmodel.sklearn`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from onnx import helper

from hybridmodel import HybridOnnxModel
from hybridmodel.sklearn.classes import CLASSES
from tests.support import models

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
Y = X.argmax(axis=1)
"""What `models.graded` answers to `X`; the endpoint's `two_routes.REMOTE` answers the least."""


def any_width_classifier() -> bytes:
    """Make ``probability`` [N, 1] of the second class, from as many columns as there are."""
    return models.build(
        [
            helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=1),
            helper.make_node("Sigmoid", ["sum"], ["probability"]),
        ],
        [models.tensor("x", "FP32", ("N", "K"))],
        [models.tensor("probability", "FP32", ("N", 1))],
        {"axes": np.array([1])},
    )


def any_width_regressor() -> bytes:
    """Make ``y`` [N, 1] = the sum of as many columns as there are."""
    return models.build(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)],
        [models.tensor("x", "FP32", ("N", "K"))],
        [models.tensor("y", "FP32", ("N", 1))],
        {"axes": np.array([1])},
    )


def probabilities(classes: Any = None) -> bytes:
    """Make ``probabilities`` [N, 3] = softmax of ``x`` [N, 3], with classes in the metadata."""
    made = models.build(
        [helper.make_node("Softmax", ["x"], ["probabilities"])],
        [models.tensor("x", "FP32", ("N", 3))],
        [models.tensor("probabilities", "FP32", ("N", 3))],
    )
    return made if classes is None else with_classes(made, json.dumps(classes))


def with_classes(made: bytes, text: str) -> bytes:
    """Put a text where the metadata names the classes."""
    model = onnx.load_from_string(made)
    helper.set_model_props(model, {CLASSES: text})
    return model.SerializeToString()


def graded(**options: Any) -> HybridOnnxModel:
    """Make a model with numbers 0, 1, 2 as labels, and their probabilities."""
    return HybridOnnxModel(models.graded(), **options)
