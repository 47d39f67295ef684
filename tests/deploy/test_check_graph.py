"""config.pbtxt beside its ONNX file, folders of versions, and what a real Triton says to them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from hybridmodel.deploy import check, export
from hybridmodel.deploy.checking.graph import FREE, read_graph
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.serving import TritonServer
from hybridmodel.serving.triton_files import unsupported
from tests.support import models
from tests.support.deploy_mistakes import CONFIG

LINEAR = """\
name: "m"
max_batch_size: 0
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1, 2 ] } ]
"""
BATCHED = LINEAR.replace("size: 0", "size: 8").replace("-1, ", "")


def found(
    folder: Path, config: str | None, model: bytes | None, version: str = "1"
) -> set[tuple[str, int | None, str]]:
    """Write the folder of a model and return what check finds: file, line and rule."""
    (folder / "models" / "m" / version).mkdir(parents=True)
    if config is not None:
        (folder / "models" / "m" / "config.pbtxt").write_text(config)
    if model is not None:
        (folder / "models" / "m" / version / "model.onnx").write_bytes(model)
    place = "models/m/"
    return {(item.file.removeprefix(place), item.line, item.rule) for item in check(folder)}


def test_what_fits(tmp_path: Path) -> None:
    """A configuration of the graph's own tensors is right, with and without max_batch_size."""
    assert found(tmp_path / "a", LINEAR, models.linear()) == set()
    assert found(tmp_path / "b", BATCHED, models.linear()) == set()


@pytest.mark.parametrize(
    ("old", "new", "line", "rule"),
    [
        ('name: "x"', 'name: "z"', 3, "graph-input"),
        ('name: "y"', 'name: "z"', 4, "graph-output"),
        ("TYPE_FP32 dims: [ -1, 4", "TYPE_FP64 dims: [ -1, 4", 3, "graph-datatype"),
        ("TYPE_FP32 dims: [ -1, 2", "TYPE_FP16 dims: [ -1, 2", 4, "graph-datatype"),
        ("[ -1, 4 ]", "[ -1, 5 ]", 3, "graph-dims"),
        ("[ -1, 4 ]", "[ 4 ]", 3, "graph-dims"),
        ("[ -1, 2 ]", "[ 1, 2 ]", 4, "graph-dims"),
        ("max_batch_size: 0", "max_batch_size: 8", 3, "graph-dims"),
        ("[ -1, 4 ]", "[ -1, 2 ] reshape { shape: [ -1, 3 ] }", 3, "graph-dims"),
    ],
)
def test_what_does_not_fit(old: str, new: str, line: int, rule: str, tmp_path: Path) -> None:
    """Names, datatypes and dims that are not the graph's are found on their line."""
    assert old in LINEAR
    seen = found(tmp_path, LINEAR.replace(old, new), models.linear())
    assert ("config.pbtxt", line, rule) in seen


def test_inputs_accept_what_the_graph_leaves_open(tmp_path: Path) -> None:
    """An input may be fixed where the graph leaves a size open; an output has to be the same."""
    config = LINEAR.replace("[ -1, 4 ]", "[ 7, 4 ]")
    assert found(tmp_path, config, models.linear()) == set()


def test_all_inputs_are_needed_and_not_all_outputs(tmp_path: Path) -> None:
    """Triton wants each input of the graph in the list, and serves the outputs that are listed."""
    two = models.two_inputs()
    graph = onnx.load_from_string(two).graph
    one_input = [item.name for item in graph.input][:1]
    config = f'input {{ name: "{one_input[0]}" data_type: TYPE_FP32 dims: -1 }}'
    assert "graph-input" in {rule for _, _, rule in found(tmp_path / "a", config, two)}
    assert found(tmp_path / "b", _without_label(), models.classifier()) == set()


def _without_label() -> str:
    lines = CONFIG.replace('"digits"', '"m"').splitlines()
    return "\n".join(line for line in lines if '"label"' not in line)


def test_rows_that_are_fixed(tmp_path: Path) -> None:
    """A model with a fixed first size cannot have a max_batch_size."""
    seen = found(tmp_path, BATCHED.replace('"y"', '"y"'), _fixed_rows())
    assert {("config.pbtxt", 3, "graph-batch"), ("config.pbtxt", 4, "graph-batch")} <= seen


def _fixed_rows() -> bytes:
    return models.build(
        [helper.make_node("Gemm", ["x", "W"], ["y"])],
        [models.tensor("x", "FP32", (1, 4))],
        [models.tensor("y", "FP32", (1, 2))],
        {"W": np.ones((4, 2), np.float32)},
    )


@pytest.mark.parametrize(
    ("config", "is_found"),
    [
        ("max_batch_size: 0", True),
        (None, True),
        (LINEAR.partition("output")[0], True),
        ("max_batch_size: 8", False),
        (LINEAR, False),
    ],
    ids=["zero", "no file", "no output", "eight", "whole"],
)
def test_the_trap_of_auto_complete(config: str | None, is_found: bool, tmp_path: Path) -> None:
    """Where Triton would set max_batch_size to 4 by itself, a warning says so."""
    rules = {rule for _, _, rule in found(tmp_path, config, models.linear())}
    assert rules == ({"auto-complete"} if is_found else set())


def test_models_that_triton_does_not_serve(tmp_path: Path) -> None:
    """Maps are no tensors, and are told with the way out."""
    config = CONFIG.replace('"digits"', '"m"')
    seen = found(tmp_path, config, models.classifier(zipmap=True))
    assert {rule for _, _, rule in seen} >= {"graph-not-tensor"}


@pytest.mark.parametrize(
    ("version", "rule"), [("v1", "version-folder"), ("01", "version-folder"), ("3", None)]
)
def test_folders_of_versions(version: str, rule: str | None, tmp_path: Path) -> None:
    """A version is a number without leading zeros."""
    rules = {rule for _, _, rule in found(tmp_path, LINEAR, models.linear(), version)}
    assert rules == ({rule} if rule else set())


def test_files_of_versions(tmp_path: Path) -> None:
    """A version without its file, and a file that is no model, are found."""
    assert ("1/model.onnx", None, "model-file") in found(tmp_path / "a", LINEAR, None)
    assert ("1/model.onnx", None, "onnx-unreadable") in found(tmp_path / "b", LINEAR, b"no model")
    assert ("1/model.onnx", None, "onnx-unreadable") in found(tmp_path / "c", LINEAR, b"")
    named = LINEAR + 'default_model_filename: "other.onnx"'
    assert ("1/other.onnx", None, "model-file") in found(tmp_path / "d", named, models.linear())
    away = LINEAR + 'default_model_filename: "../../../secret"'
    assert "model-file" in {rule for _, _, rule in found(tmp_path / "e", away, models.linear())}


def test_weights_in_other_files(tmp_path: Path) -> None:
    """Files with weights are looked for beside the model, also where it is a folder."""
    model = onnx.load_from_string(models.linear())
    onnx.external_data_helper.convert_model_to_external_data(model, size_threshold=0)
    folder = tmp_path / "models" / "m" / "1" / "model.onnx"
    folder.mkdir(parents=True)
    (tmp_path / "models" / "m" / "config.pbtxt").write_text(LINEAR)
    onnx.save(model, folder / "model.onnx")
    assert check(tmp_path) == ()
    for file in folder.iterdir():
        if file.name != "model.onnx":
            file.unlink()
    assert {item.rule for item in check(tmp_path)} == {"external-data"}


def test_what_is_read_of_a_graph(tmp_path: Path) -> None:
    """Inputs with a value are none, and sizes are free where no number is declared."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["c"])],
        "g",
        [
            helper.make_tensor_value_info("a", TensorProto.INT64, ["N", None, 3]),
            helper.make_tensor_value_info("b", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info("c", TensorProto.INT64, None)],
        [helper.make_tensor("b", TensorProto.INT64, [1], [5])],
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    read = read_graph(path)
    assert [(item.name, item.shape) for item in read.inputs] == [("a", (FREE, FREE, 3))]
    assert [(item.name, item.shape) for item in read.outputs] == [("c", None)]
    assert read.inputs[0].data_type == "TYPE_INT64"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_models_are_refused_or_read(data: st.DataObject) -> None:
    """Whatever bytes stand in the place of a model, the answer is a graph or why there is none."""
    good = models.linear()
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, len(good)))
    damaged = good[:start] + data.draw(st.binary(max_size=8)) + good[end:]
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(damaged)
        try:
            graph = read_graph(path)
        except ConfigurationError as error:
            said = str(error)
        else:
            said = str(graph)
    assert said


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("classifier", {}),
        ("zipmap", {}),
        ("linear", {"max_batch_size": 16}),
        ("lookup", {}),
        ("strings", {}),
        ("two_inputs", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_is_found_in_exports(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """What `export` writes has no finding."""
    made = models.classifier(zipmap=True) if name == "zipmap" else getattr(models, name)()
    (tmp_path / "m.onnx").write_bytes(made)
    export(tmp_path / "m.onnx", tmp_path / "out", **options)
    assert (tmp_path / "out" / "models" / "m" / "config.pbtxt").exists()
    assert check(tmp_path / "out") == ()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Something that is no file is refused, not waited for."""
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_graph(tmp_path / "model.onnx")


def test_a_folder_in_place_of_the_file_is_a_finding(tmp_path: Path) -> None:
    """A folder where the ONNX file of a model with weights in other files should be is reported."""
    (tmp_path / "m" / "1" / "model.onnx" / "model.onnx").mkdir(parents=True)
    (found,) = check(tmp_path)
    assert (found.rule, found.what) == ("onnx-unreadable", "it cannot be read: Is a directory")


@pytest.fixture(scope="module")
def server() -> Iterator[TritonServer]:
    """Start a real Triton that serves models only after it is told to."""
    reason = unsupported()
    if reason:
        pytest.skip(reason)
    with TritonServer({"m": models.linear()}, explicit=True) as started:
        yield started


REFUSED_BY_TRITON = {
    "another name": ('name: "m"', 'name: "other"'),
    "unknown field": ("max_batch_size: 0", "max_batch: 0"),
    "unknown datatype": ("TYPE_FP32 dims: [ -1, 4", "TYPE_FLOAT dims: [ -1, 4"),
    "comma at the end": ("[ -1, 4 ]", "[ -1, 4, ]"),
    "no dims": (" dims: [ -1, 4 ]", ""),
    "no datatype": (" data_type: TYPE_FP32 dims: [ -1, 4", " dims: [ -1, 4"),
    "no name": ('name: "x" ', ""),
    "size of zero": ("[ -1, 4 ]", "[ 0, 4 ]"),
    "another count by reshape": ("[ -1, 4 ]", "[ 4 ] reshape { shape: [ 3 ] }"),
    "negative batches": ("max_batch_size: 0", "max_batch_size: -1"),
    "preferred over the most": (
        "max_batch_size: 0",
        "max_batch_size: 2 dynamic_batching { preferred_batch_size: [ 4 ] }",
    ),
    "a version that is not there": (
        "max_batch_size: 0",
        "max_batch_size: 0 version_policy { specific { versions: [ 7 ] } }",
    ),
    "given twice": ('name: "m"', 'name: "m" name: "n"'),
    "warm-up of another input": (
        "max_batch_size: 0",
        (
            'max_batch_size: 0 model_warmup { name: "w" batch_size: 1 inputs { key: "z" value { '
            "data_type: TYPE_FP32 dims: [ 1, 4 ] zero_data: true } } }"
        ),
    ),
}
"""Changes of a configuration that Triton refuses."""


@pytest.mark.parametrize("name", REFUSED_BY_TRITON)
def test_what_a_real_triton_refuses(name: str, server: TritonServer, tmp_path: Path) -> None:
    """What a real Triton does not load, check calls an error."""
    old, new = REFUSED_BY_TRITON[name]
    config = LINEAR.replace(old, new, 1)
    assert config != LINEAR
    _put(server, "m", config.replace("max", 'backend: "python" max', 1))
    with pytest.raises(ConfigurationError, match="Triton did not load"):
        server.load("m")
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    (tmp_path / "models" / "m" / "1" / "model.onnx").write_bytes(models.linear())
    (tmp_path / "models" / "m" / "config.pbtxt").write_text(config)
    assert "error" in {item.severity for item in check(tmp_path)}


def test_a_real_triton_takes_what_check_takes(server: TritonServer) -> None:
    """A configuration without a finding is loaded by a real Triton."""
    _put(server, "m", LINEAR.replace("max", 'backend: "python" max', 1))
    server.load("m")


def test_a_real_triton_serves_no_model_one_level_too_deep(server: TritonServer) -> None:
    """In a model's folder Triton takes the version for a model, which it cannot load."""
    folder = _repository(server) / "1"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(models.linear())
    with pytest.raises(ConfigurationError, match="Triton did not load"):
        server.load("1")


def _put(server: TritonServer, name: str, config: str) -> None:
    (_repository(server) / name / "config.pbtxt").write_text(config)


def _repository(server: Any) -> Path:
    return Path(server._folder) / "models"
