"""`hybridmodel.azure_ep` is onnxruntime to whoever imports it: its names, sessions and errors."""

from __future__ import annotations

import inspect
import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from hybridmodel import azure_ep
from hybridmodel.azure_ep import InferenceSession
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.azure_ep_cases import KEY
from tests.support.azure_ep_sessions import MODEL, X, session
from tests.support.paths import ROOT

DOCS = ROOT / "docs" / "migration.md"
PUBLIC = [name for name in dir(onnxruntime.InferenceSession) if not name.startswith("_")]


def test_the_example_of_the_migration_page_runs(
    embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quiet: logging.Logger
) -> None:
    """What the page shows as new code is the old code with another import, and gives the sum."""
    before, after = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[:2]
    assert after == before.replace(
        "from onnxruntime import *", "from hybridmodel.azure_ep import *"
    )
    (tmp_path / "pair.onnx").write_bytes(pair())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAIR_KEY", KEY)
    with serve({"pair": pair()}, auth_key=KEY) as server:
        names: dict[str, Any] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(after.replace("https://pair.westeurope.inference.ml.azure.com", server.uri), names)
    np.testing.assert_array_equal(names["total"], [5, 5, 5, 5])


def pair() -> bytes:
    """Make ``Z`` [N] = ``X`` [N] + ``Y`` [N]."""
    ends = [models.tensor(name, "FP32", ("N",)) for name in "XYZ"]
    return models.build([helper.make_node("Add", ["X", "Y"], ["Z"])], ends[:2], ends[2:])


@pytest.mark.parametrize(
    "name", ["RunOptions", "SessionOptions", "OrtValue", "GraphOptimizationLevel"]
)
def test_other_names_are_those_of_onnxruntime(name: str) -> None:
    """The module stands in for onnxruntime, whatever is imported from it."""
    assert getattr(azure_ep, name) is getattr(onnxruntime, name)


def test_a_star_import_brings_what_that_of_onnxruntime_brings() -> None:
    """No name is missing, and only the session is another."""
    theirs: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    exec("from onnxruntime import *", theirs)
    exec("from hybridmodel.azure_ep import *", ours)
    assert theirs.keys() == ours.keys()
    changed = {name for name in theirs if theirs[name] is not ours[name]} - {"__builtins__"}
    assert changed == {"InferenceSession"}
    assert {"InferenceSession", "RunOptions"} <= set(dir(azure_ep))
    assert azure_ep.__version__ == onnxruntime.__version__
    assert not hasattr(azure_ep, "nothing_of_the_kind")


def test_importing_it_loads_nothing_heavy() -> None:
    """The first session or name loads onnxruntime, not the import."""
    code = (
        "import sys, hybridmodel.azure_ep; "
        "print({'onnxruntime', 'pandas', 'mlflow', 'requests'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", PUBLIC)
def test_it_has_everything_that_a_session_has(name: str) -> None:
    """Each public attribute of onnxruntime's session is there, and listed."""
    ours = session()
    assert callable(getattr(ours, name))
    assert name in dir(ours)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_method_is_its_own(name: str) -> None:
    """Each public method of onnxruntime's session is defined on the class, with its parameters."""
    ours, theirs = (getattr(one, name) for one in (InferenceSession, onnxruntime.InferenceSession))
    known = inspect.signature(ours).parameters
    if not any(item.kind is item.VAR_POSITIONAL for item in known.values()):
        assert list(known) == list(inspect.signature(theirs).parameters)


def test_it_can_be_subclassed() -> None:
    """A subclass finds every method of its base by `super`, as one of onnxruntime's session."""

    class Named(InferenceSession):
        def get_inputs(self) -> list[str]:
            return [item.name for item in super().get_inputs()]

        def run(self, *args: Any, **options: Any) -> list[Any]:
            return [super().get_modelmeta().graph_name, *super().run(*args, **options)]

    made = Named(MODEL)
    assert made.get_inputs() == ["x"]
    np.testing.assert_array_equal(made.run(None, {"x": X})[1], X)
    assert isinstance(made, Named)


@pytest.mark.parametrize("name", PUBLIC)
def test_it_can_be_imitated(name: str) -> None:
    """A mock that takes the class as its specification has each method, and no other."""
    imitation = mock.create_autospec(InferenceSession, instance=True)
    assert callable(getattr(imitation, name))
    imitation.run.return_value = [1]
    assert imitation.run(None, {"x": X}) == [1]
    with pytest.raises(TypeError):
        imitation.run()
    with pytest.raises(AttributeError):
        _ = imitation.no_method_of_it


def test_it_passes_for_a_session_of_onnxruntime(tmp_path: Path) -> None:
    """Libraries that check the type accept it, and local answers are onnxruntime's own."""
    (tmp_path / "m.onnx").write_bytes(MODEL)
    ours = InferenceSession(tmp_path / "m.onnx", disabled_optimizers=["ConstantFolding"])
    theirs = onnxruntime.InferenceSession(MODEL)
    assert isinstance(ours, onnxruntime.InferenceSession)
    assert isinstance(ours, InferenceSession)
    for describe in ("get_inputs", "get_outputs", "get_overridable_initializers"):
        ends = [
            [(end.name, end.type, end.shape) for end in getattr(s, describe)()]
            for s in (ours, theirs)
        ]
        assert ends[0] == ends[1]
    assert ours.get_modelmeta().graph_name == theirs.get_modelmeta().graph_name
    assert ours.get_session_options().intra_op_num_threads == 0
    np.testing.assert_array_equal(ours.run(None, {"x": X})[0], theirs.run(None, {"x": X})[0])
    assert repr(ours) == f"InferenceSession({tmp_path / 'm.onnx'})"
    assert repr(session()) == "InferenceSession(bytes)"


def test_errors_of_loading_are_those_of_onnxruntime(tmp_path: Path) -> None:
    """A missing or broken file fails as it does there."""
    for source in (tmp_path / "none.onnx", b"nothing", 3):
        with pytest.raises(Exception) as theirs:
            onnxruntime.InferenceSession(source)
        with pytest.raises(type(theirs.value)):
            InferenceSession(source)


@pytest.mark.parametrize(
    ("asked", "options", "expected"),
    [
        (None, None, ["CPUExecutionProvider"]),
        (["CloudExecutionProvider"], None, ["CPUExecutionProvider"]),
        ([("azureExecutionProvider", {}), "CPUExecutionProvider"], None, ["CPUExecutionProvider"]),
        (
            ["AzureExecutionProvider", "CPUExecutionProvider"],
            [{}, {"arena_extend_strategy": "kSameAsRequested"}],
            ["AzureExecutionProvider", "CPUExecutionProvider"],
        ),
    ],
)
def test_providers(
    asked: Any, options: Any, expected: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """No spelling of the dead provider reaches onnxruntime; its right name is reported back."""
    made = InferenceSession(MODEL, None, asked, options)
    assert made.get_providers() == expected
    assert sorted(made.get_provider_options()) == sorted(expected)
    made.set_providers(["CPUExecutionProvider", "azureExecutionProvider"])
    assert made.get_providers() == ["CPUExecutionProvider"]
    made.set_providers(["AzureExecutionProvider"])
    assert made.get_providers() == ["AzureExecutionProvider", "CPUExecutionProvider"]
    assert capfd.readouterr() == ("", "")
