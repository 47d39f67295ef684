"""What pages say of names and extras is true of the code."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from hybridmodel import HybridOnnxModel, TritonEndpoint, calibrating, routing
from tests.support import models
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMING_FROM = (ROOT / "docs" / "coming_from.md").read_text()

POLICIES = re.findall(r"`((?:Budget|Split|Cascade|Hedge|Shadow)\([^`…]*\))`", COMING_FROM)
MODES = sorted(set(re.findall(r'`mode="(\w+)"`', COMING_FROM)))


@pytest.mark.parametrize("code", POLICIES)
def test_a_policy_of_the_page_can_be_made(code: str) -> None:
    """What "Coming from" names with all its arguments is a policy."""
    assert isinstance(eval(code, vars(routing)), routing.Policy)


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_of_the_page_is_one(mode: str) -> None:
    """What "Coming from" names is a mode of a model."""
    endpoint = TritonEndpoint(uri="http://localhost:8000", model_name="m", auth_key_env=None)
    assert HybridOnnxModel(models.linear(), endpoint=endpoint, routing=mode).routing.mode == mode


def test_names_of_the_page_are_imported_from_where_it_says() -> None:
    """Dotted names of "Coming from" that begin with a room of the package are in it."""
    names = re.findall(r"`hybridmodel\.calibrating\.(\w+)`", COMING_FROM)
    assert names == [name for name in names if hasattr(calibrating, name)] != []


@pytest.mark.parametrize("page", ["README.md", "docs/sklearn.md", "docs/conversion.md"])
def test_the_extra_of_a_page_brings_what_its_code_imports(page: str) -> None:
    """Whoever installs as the page says can run the Python on it."""
    text = (ROOT / page).read_text()
    extras = re.findall(r'^pip install "\.\[(\w+)\]"$', text, re.MULTILINE)
    listed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extras[0]]]
    brought = {re.split(r"[^\w-]", item)[0] for item in listed} | {"hybridmodel"}
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    imported = set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE))
    found = packages_distributions()
    others = imported - sys.stdlib_module_names - {"hybridmodel"}
    assert [name for name in others if not brought & set(found[name])] == []
