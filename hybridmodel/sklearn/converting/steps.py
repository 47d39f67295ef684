"""The estimators inside of an estimator, each with the path that leads to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def steps(estimator: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield an estimator and all that its parameters hold, such as the steps of a pipeline.

    A path is made of parameters and names of steps, as in ``prepare.scale``; it is empty for the
    estimator itself.
    """
    yield path, estimator
    for name, child in _children(estimator):
        yield from steps(child, f"{path}.{name}" if path else name)


def fitted_parts(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """Yield an estimator and all that it has made when it was fitted, such as a forest's trees."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, (list, tuple)) or _holds_objects(value):
        for item in value:
            yield from fitted_parts(item, seen)
    elif type(value).__module__.startswith("sklearn.") and hasattr(value, "__dict__"):
        yield value
        for item in vars(value).values():
            yield from fitted_parts(item, seen)


def is_estimator(value: Any) -> bool:
    """Return whether a value is a fitted or unfitted estimator, and no class."""
    return not isinstance(value, type) and hasattr(value, "fit") and hasattr(value, "get_params")


def _children(estimator: Any) -> Iterator[tuple[str, Any]]:
    for name, value in estimator.get_params(deep=False).items():
        if is_estimator(value):
            yield name, value
        elif isinstance(value, (list, tuple)):
            yield from (
                (item[0], item[1])
                for item in value
                if isinstance(item, tuple) and len(item) > 1 and is_estimator(item[1])
            )


def _holds_objects(value: Any) -> bool:
    is_array = isinstance(value, np.ndarray) and value.ndim > 0
    return is_array and value.dtype == object and value.size > 0 and hasattr(value.flat[0], "fit")
