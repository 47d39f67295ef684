"""The pair that the gallery asks: two classifiers of scikit-learn's digits, as ONNX files."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from hybridmodel.sklearn import from_sklearn


def rows() -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series]:
    """Return pictures to train with and others, 64 columns of float32 each, and their digits."""
    X, y = load_digits(return_X_y=True, as_frame=True)
    X = (X / 16).astype(np.float32)
    return train_test_split(X, y, test_size=0.6, random_state=0, stratify=y)


def pair() -> tuple[bytes, bytes]:
    """Train a small model and a big one; return their ONNX files."""
    X, _, y, _ = rows()
    small, big = LogisticRegression(), CalibratedClassifierCV(SVC(C=10), ensemble=False)
    both = from_sklearn(small.fit(X, y), X, big.fit(X, y))
    return both.small.onnx, both.big.onnx
