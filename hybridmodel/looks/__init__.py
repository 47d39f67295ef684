"""What objects show of themselves in a notebook, and the pictures of pages.

Each room describes its own objects in a module ``looks``, as a `hybridmodel.looks.card.Card`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["shown_by"]


def shown_by(module: str) -> Callable[[Any], str]:
    """Return a ``_repr_html_`` that asks ``html_of`` of a module, which is imported only then."""

    def _repr_html_(self: Any) -> str:
        found: str = import_module(module).html_of(self)
        return found

    return _repr_html_
