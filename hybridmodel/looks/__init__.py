"""What objects show of themselves in a notebook, and the pictures of pages.

Each room describes its own objects in a module ``looks``, as a `hybridmodel.looks.card.Card`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from hybridmodel.exceptions import MissingDependency

__all__ = ["shown_by"]


def shown_by(module: str) -> Callable[[Any], str | None]:
    """Return a ``_repr_html_`` that asks ``html_of`` of a module, which is imported only then.

    Where jinja2 is not installed it returns None, for which a notebook shows the text.
    """

    def _repr_html_(self: Any) -> str | None:
        try:
            found: str = import_module(module).html_of(self)
        except MissingDependency:
            return None
        return found

    return _repr_html_
