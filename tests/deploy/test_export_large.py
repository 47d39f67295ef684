"""Large ONNX files are described without their weights, and as onnxruntime describes them with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from hybridmodel.deploy import export, linking, skeleton
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.session import LocalSession
from tests.support import deployed, models, trees

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skeleton, "MOST_BYTES", 0)


def written(folder: Path, model: bytes) -> Path:
    """Write a model."""
    (folder / "m.onnx").write_bytes(model)
    return folder / "m.onnx"


def two_layers() -> bytes:
    """Make a network of two layers whose shapes are known from its weights only."""
    random = np.random.default_rng(0)
    return models.build(
        [
            onnx.helper.make_node("MatMul", ["x", "W"], ["h"]),
            onnx.helper.make_node("Relu", ["h"], ["r"]),
            onnx.helper.make_node("MatMul", ["r", "V"], ["v"]),
            onnx.helper.make_node("Reshape", ["v", "shape"], ["y"]),
        ],
        [models.tensor("x", "FP32", ("N", 80))],
        [models.tensor("y", "FP32", (None, None, None))],
        {
            "W": random.normal(size=(80, 60)).astype(np.float32),
            "V": random.normal(size=(60, 40)).astype(np.float32),
            "shape": np.array([-1, 4, 10]),
        },
    )


def constants_as_inputs() -> bytes:
    """Make such a network as older files have it: every constant is among the inputs."""
    model = onnx.load_from_string(two_layers())
    for constant in model.graph.initializer:
        kind = constant.data_type
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(constant.name, kind, constant.dims)
        )
    model.ir_version = 3
    return model.SerializeToString()


@pytest.mark.parametrize(
    "model",
    [
        two_layers(),
        constants_as_inputs(),
        models.linear(n_features=60, n_outputs=40),
        models.two_inputs(),
        models.strings(),
        models.classifier(zipmap=True),
        trees.made("xgboost"),
        deployed.centred(),
    ],
    ids=["layers", "old", "linear", "inputs", "strings", "zipmap", "xgboost", "centred"],
)
def test_a_description_is_that_of_the_whole_model(tmp_path: Path, model: bytes) -> None:
    """Names, types, shapes, rows and classes are those that onnxruntime finds in the file."""
    path = written(tmp_path, model)
    found = skeleton.described(path)
    assert found is not None
    assert found.spec == LocalSession(path).spec
    assert found.onnx.data is None


def test_external_data_is_not_opened(tmp_path: Path) -> None:
    """The weights of a model in several files need not even be readable."""
    models.save_external(models.scaled(np.arange(3.0)), tmp_path / "m.onnx")
    expected = LocalSession(tmp_path / "m.onnx").spec
    (tmp_path / "weights.bin").write_bytes(b"")
    found = skeleton.described(tmp_path / "m.onnx")
    assert found is not None
    assert found.spec == expected


@pytest.mark.parametrize("name", ["lightgbm", "catboost_numbers"])
def test_a_model_that_has_to_be_run_is_opened(tmp_path: Path, name: str) -> None:
    """Where a graph declares doubtful outputs, only a run tells what they are."""
    assert skeleton.described(written(tmp_path, trees.made(name))) is None


def test_a_model_that_is_large_without_constants_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forest has its numbers in the nodes."""
    monkeypatch.setattr(skeleton, "_MOST_LEFT_BYTES", 1000)
    assert skeleton.described(written(tmp_path, trees.made("xgboost"))) is None


def test_an_error_is_that_of_opening_it(tmp_path: Path) -> None:
    """What onnxruntime cannot load, or no route can carry, is told as for any other file."""
    unknown = onnx.load_from_string(models.linear())
    unknown.graph.node[0].op_type = "Unheard"
    for model, said in (
        (unknown.SerializeToString(), "onnxruntime cannot load it"),
        (deployed.sequence(), "is a seq"),
        (b"nothing", "not an ONNX model"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            export(written(tmp_path, model), tmp_path / "out")
    models.save_external(models.scaled(np.arange(3.0)), tmp_path / "m.onnx")
    hostile = (tmp_path / "m.onnx").read_bytes().replace(b"weights.bin", b"../wght.bin")
    written(tmp_path, hostile)
    with pytest.raises(ConfigurationError, match="outside of the model's own folder"):
        export(tmp_path / "m.onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_plain_file_is_never_a_hard_link(tmp_path: Path) -> None:
    """Whoever trains the model again writes to the same file, and not to what was exported."""
    path = written(tmp_path, models.linear())
    made = export(path, tmp_path / "out")
    copy = made.repository / "m/1/model.onnx"
    assert copy.read_bytes() == models.linear()
    assert copy.stat().st_nlink == path.stat().st_nlink == 1
    assert not any("hard link" in note or "hash" in note for note in made.notes)
    models.save_external(models.scaled(np.arange(3.0)), tmp_path / "parts.onnx")
    made = export(tmp_path / "parts.onnx", tmp_path / "other")
    weights = made.repository / "parts/1/model.onnx/weights.bin"
    assert weights.stat().st_nlink == 1


def test_a_plain_file_is_written_through_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes do not pass through Python."""
    asked: list[tuple[Path, Path]] = []

    def note(source: Path, target: Path, means: object) -> str:
        asked.append((source, target))
        return linking.clone(source, target, ())

    monkeypatch.setattr("hybridmodel.deploy.model_files.clone", note)
    path = written(tmp_path, models.linear())
    export(path, tmp_path / "out")
    assert [source for source, _ in asked] == [path]
