"""What a notebook shows of an estimator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hybridmodel.looks.card import Card, listed, render
from hybridmodel.model import HybridOnnxModel


def html_of(estimator: Any) -> str:
    """Return an estimator as a piece of HTML; names and addresses in it are escaped and cut."""
    state = "fitted" if "n_features_in_" in vars(estimator) else "not fitted"
    name, facts = type(estimator).__name__, tuple(_rows(estimator))
    return render(Card(name=name, state=state, facts=facts))


def _rows(estimator: Any) -> Iterator[tuple[str, str]]:
    """Yield what is told, with its heading."""
    model = estimator.model
    if not isinstance(model, HybridOnnxModel):
        yield "model", f"a {type(model).__name__}, not a HybridOnnxModel"
        return
    yield "who answers", _route(estimator)
    yield "local", f"{listed(model.inputs)} → {listed(model.outputs)}"
    endpoint = model.endpoint
    told = "none" if endpoint is None else f"{endpoint.served_name} at {endpoint.uri}"
    yield "endpoint", told
    for head in ("feature_names_in_", "classes_"):
        found = vars(estimator).get(head)
        if found is not None:
            yield head, listed(found.tolist())
    for head, value in estimator.get_params(deep=False).items():
        if head not in ("model", "use_azure", "mode") and value is not None:
            yield head, str(value)


def _route(estimator: Any) -> str:
    """Say who answers when a call does not say it."""
    if estimator.mode is not None:
        return _mode(estimator.mode)
    if estimator.use_azure is not None:
        return f"use_azure={estimator.use_azure!r}"
    return f"{_mode(estimator.model.routing)}, as the model was made"


def _mode(mode: Any) -> str:
    is_function = callable(mode) and not hasattr(mode, "mode")
    return "a function" if is_function else str(getattr(mode, "mode", mode))
