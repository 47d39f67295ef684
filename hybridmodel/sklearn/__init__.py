"""A hybrid model as an estimator of scikit-learn, and an estimator as a hybrid model.

Class names of a model without a ``ZipMap`` are read from the metadata of its ONNX file: a property
`hybridmodel.sklearn.classes.CLASSES` with a JSON list of texts or whole numbers, in the order of
the columns.
"""

from __future__ import annotations

from hybridmodel.checks import needed_for

with needed_for("hybridmodel.sklearn", "hybridmodel[sklearn]"):
    import sklearn  # noqa: F401

from hybridmodel.sklearn.converting.agreement import Agreement
from hybridmodel.sklearn.converting.entry import (
    Conversion,
    ConversionDiffers,
    ConvertedModel,
    from_sklearn,
)
from hybridmodel.sklearn.estimators import HybridClassifier, HybridRegressor

__all__ = [
    "Agreement",
    "Conversion",
    "ConversionDiffers",
    "ConvertedModel",
    "HybridClassifier",
    "HybridRegressor",
    "from_sklearn",
]
