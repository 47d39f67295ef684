"""Environment variables, looked up in a fraction of a microsecond also where they are not set."""

from __future__ import annotations

import os

AZURE_ML_SCOPE = "https://ml.azure.com/.default"
"""Scope of Entra ID tokens for calling (not managing) Azure Machine Learning endpoints."""


def is_set(name: str) -> bool:
    """Tell whether a variable is set.

    ``name in os.environ`` does the same by an exception, which takes ten times as long; it stands
    in where the mapping is another than CPython's.
    """
    held = getattr(os.environ, "_data", None)
    if held is None:
        return name in os.environ
    return os.environ.encodekey(name) in held


def value_of(name: str) -> str | None:
    """Return what a variable holds, None where it is not set."""
    return os.environ.get(name) if is_set(name) else None
