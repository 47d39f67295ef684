"""The fields of an endpoint stand in its class; command line and docs follow."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from hybridmodel import TritonEndpoint
from hybridmodel.cli.options import read_config
from hybridmodel.flavor.artifact import CONFIG_KEYS
from hybridmodel.remote.endpoint import FIELDS
from tests.support.paths import ROOT

DEFAULTS = TritonEndpoint(uri="https://a.example", model_name="m").to_dict()
TEXTS = {"binary": "true", "max_batch_size": "64", "model_version": "2"}
TEXTS |= dict.fromkeys(("secondary_key_env", "deployment", "ca_bundle"), "a_name")
READ = {"binary": True, "max_batch_size": 64}


@pytest.mark.parametrize("name", FIELDS)
def test_the_command_line_reads_every_field(name: str) -> None:
    """A text becomes what the class takes, and an empty one None."""
    text = TEXTS.get(
        name, re.sub("^(True|False)$", lambda found: found[0].lower(), str(DEFAULTS[name]))
    )
    expected: Any = READ.get(name, text if name in TEXTS else DEFAULTS[name])
    (found,) = read_config([f"{name}={text}"]).values()
    assert (found, type(found)) == (expected, type(expected))
    assert read_config([f"{name}="]) == {name: None}


def test_the_page_on_routes_names_every_field() -> None:
    """docs/routes.md shows a constructor with each field, and its default where there is one."""
    page = (ROOT / "docs" / "routes.md").read_text(encoding="utf-8")
    (call,) = ast.parse(page[page.index("\nTritonEndpoint(") :].partition("\n)")[0] + "\n)").body
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    given = {item.arg: ast.unparse(item.value) for item in call.value.keywords}
    assert given.keys() == set(FIELDS)
    for name in set(FIELDS) - {"uri", "model_name"}:
        assert eval(given[name], {}) == DEFAULTS[name]


def test_the_page_on_the_command_line_names_every_key() -> None:
    """docs/command_line.md lists what --model-config takes."""
    page = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    listed = re.search(
        r"loads the model with other settings: (.+?) An empty value", page, re.DOTALL
    )
    assert listed is not None
    assert set(re.findall(r"`(\w+)`", listed[1])) == set(CONFIG_KEYS)
