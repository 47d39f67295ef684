"""The API reference has every public name."""

from __future__ import annotations

import importlib
import re

import pytest

import hybridmodel
from tests.support.paths import ROOT

PAGES = "\n".join(page.read_text() for page in sorted((ROOT / "docs" / "api").glob("*.md")))
MODULES = re.findall(r"automodule:: (\S+)", PAGES)


@pytest.mark.parametrize("name", [name for name in hybridmodel.__all__ if name[0].isupper()])
def test_a_class_of_the_package_is_described(name: str) -> None:
    """By itself, or with the module that it stands in."""
    stands_in = getattr(hybridmodel, name).__module__
    modules = map(importlib.import_module, MODULES)
    by_module = any(name in getattr(module, "__all__", dir(module)) for module in modules)
    assert re.search(rf"autoclass:: {name}$", PAGES, re.MULTILINE) or by_module, stands_in


@pytest.mark.parametrize("module", MODULES)
def test_what_a_page_lists_has_a_docstring(module: str) -> None:
    """Each public name of a module that a page lists says what it is."""
    found = importlib.import_module(module)
    for name in getattr(found, "__all__", ()):
        value = getattr(found, name)
        if callable(value):
            assert (value.__doc__ or "").strip(), name
