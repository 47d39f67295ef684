"""Models of three libraries of boosted trees, as their own converters write them.

Each is small, trained in milliseconds on rows of four features, and made once.
"""

from __future__ import annotations

import tempfile
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

_RANDOM = np.random.default_rng(0)
X = _RANDOM.normal(size=(80, 4)).astype(np.float32)
LABELS = np.argmax(X[:, :3], axis=1)
NAMES = (
    "lightgbm",
    "lightgbm_zipmap",
    "lightgbm_numbers",
    "xgboost",
    "xgboost_numbers",
    "catboost",
    "catboost_texts",
    "catboost_numbers",
)


@lru_cache
def made(name: str) -> bytes:
    """Train and convert the model of this name, one of `NAMES`."""
    library, _, what = name.partition("_")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The libraries' own, of what others deprecate.
        make = {"lightgbm": _lightgbm, "xgboost": _xgboost, "catboost": _catboost}[library]
        return make(what)


def _lightgbm(what: str) -> bytes:
    import lightgbm
    import onnxmltools

    options: dict[str, Any] = {"n_estimators": 3, "min_child_samples": 2, "verbose": -1}
    if what == "numbers":
        model = lightgbm.LGBMRegressor(**options).fit(X, X[:, 0])
    else:
        model = lightgbm.LGBMClassifier(**options).fit(X, LABELS)
    onnx_model = onnxmltools.convert_lightgbm(
        model, initial_types=_types(), zipmap=what == "zipmap", target_opset=15
    )
    return bytes(onnx_model.SerializeToString())


def _xgboost(what: str) -> bytes:
    import onnxmltools
    import xgboost

    kind = xgboost.XGBRegressor if what == "numbers" else xgboost.XGBClassifier
    model = kind(n_estimators=3, max_depth=2)
    model.fit(X, X[:, 0] if what == "numbers" else LABELS)
    onnx_model = onnxmltools.convert_xgboost(model, initial_types=_types(), target_opset=15)
    return bytes(onnx_model.SerializeToString())


def _catboost(what: str) -> bytes:
    import catboost

    kind = catboost.CatBoostRegressor if what == "numbers" else catboost.CatBoostClassifier
    texts = np.array(["no", "perhaps", "yes"])[LABELS]
    wanted = {"numbers": X[:, 0], "texts": texts, "": LABELS}[what]
    model = kind(iterations=3, depth=2, verbose=False, allow_writing_files=False).fit(X, wanted)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        model.save_model(str(path), format="onnx")
        return path.read_bytes()


def _types() -> list[Any]:
    from onnxmltools.convert.common.data_types import FloatTensorType

    return [("input", FloatTensorType([None, 4]))]
