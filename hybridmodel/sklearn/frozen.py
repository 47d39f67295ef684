"""What the estimators have in common: parameters, copies, and how they ask the model."""

from __future__ import annotations

import copy
from typing import Any

from sklearn import get_config
from sklearn.base import BaseEstimator

from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.model import HybridOnnxModel
from hybridmodel.sklearn.columns import check_columns, known_names, known_width
from hybridmodel.sklearn.looks import html_of

_KNOWN = {"n_features_in_": known_width, "feature_names_in_": known_names}
"""What `fit` sets, and how it is read from a model that tells it."""


class Frozen(BaseEstimator):  # type: ignore[misc] # untyped
    """An estimator around a model that is trained already, as ``FrozenEstimator`` is one.

    A copy by ``sklearn.base.clone`` has the same model, with its sessions, connections and
    credential.
    """

    model: HybridOnnxModel
    use_azure: Any
    mode: Any
    timeout: float | None

    def __sklearn_clone__(self) -> Any:
        made = type(self)(**self.get_params(deep=False))
        if "_metadata_request" in vars(self):
            made._metadata_request = copy.deepcopy(self._metadata_request)
        return made

    def __sklearn_tags__(self) -> Any:
        self._check_model()
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = any(item.dtype.kind == "O" for item in self.model.inputs)
        return tags

    def _repr_html_inner(self) -> str:
        return html_of(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return what notebooks show; scikit-learn's own diagram has a script."""
        plain = {"text/plain": repr(self)}
        is_wanted = get_config()["display"] == "diagram"
        return {**plain, "text/html": html_of(self)} if is_wanted else plain

    def __getattr__(self, name: str) -> Any:
        """Return what `fit` sets, where the model alone tells it."""
        read = _KNOWN.get(name)
        found = None if read is None or "model" not in vars(self) else read(self.model)
        if found is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return found

    def _ask(self, X: Any, output: str, use_azure: Any) -> Array:
        """Return one output, by the route of the call, or else of the parameters."""
        check_columns(self, X)
        mode = self.mode if use_azure is None else None
        route = self.use_azure if use_azure is None else use_azure
        answer = self.model.infer(
            X, use_azure=route, mode=mode, output=output, timeout=self.timeout
        )
        return answer.outputs[output]

    def _check_model(self) -> None:
        if not isinstance(self.model, HybridOnnxModel):
            raise ConfigurationError(
                f"model is a HybridOnnxModel, not a {type(self.model).__name__}; make one with "
                "HybridOnnxModel('model.onnx'), or load one with hybridmodel.load_model(uri)"
            )
