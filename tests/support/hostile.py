"""Saved models as somebody might write them who wishes us no good."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hybridmodel import ConfigurationError, HybridOnnxModel, load_model
from hybridmodel.flavor import DATA_FOLDER, save_model
from hybridmodel.flavor.artifact import METADATA_FILE
from tests.support import models

if TYPE_CHECKING:
    from collections.abc import Callable

ONE = np.ones((1, 3), np.float32)
SECRET = np.array([115.0, 101.0, 99.0], np.float32)
XY = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3], "batched": True}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3], "batched": True}],
}
"""What ``hybrid.json`` says of the models of `READERS`."""


@pytest.fixture(scope="session")
def good_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model that is as it should be, once."""
    path = tmp_path_factory.mktemp("good") / "saved"
    save_model(HybridOnnxModel(models.two_outputs()), path)
    return path


def copied(good_model: Path, tmp_path: Path) -> Path:
    """Copy the saved model, to be spoilt."""
    return Path(shutil.copytree(good_model, tmp_path / "saved"))


def edit(saved: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what ``hybrid.json`` says."""
    path = saved / DATA_FOLDER / METADATA_FILE
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))


def settings(saved: Path, **changes: Any) -> None:
    """Change what is stored for the session."""
    edit(saved, lambda stored: stored["session"].update(changes))


def replace_model(saved: Path, data: bytes, **described: Any) -> Path:
    """Put another ONNX file in the place of the saved one, with its size and hash."""
    path = saved / DATA_FOLDER / "model.onnx"
    path.write_bytes(data)
    facts = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data), **described}
    edit(saved, lambda stored: stored["model"].update(facts))
    return path.parent


def files_in(folder: Path) -> set[Path]:
    """List every file in a folder, however deep."""
    return {path for path in folder.rglob("*") if path.is_file()}


def refused(saved: Path, message: str) -> None:
    """Load a model natively and through pyfunc, and be refused each time."""
    import mlflow
    from mlflow.exceptions import MlflowException

    with pytest.raises(ConfigurationError, match=message):
        load_model(saved)
    with pytest.raises(MlflowException, match=f"(?s)ConfigurationError.*{message}"):
        mlflow.pyfunc.load_model(str(saved))


def at(stored: Any, *way: Any) -> Any:
    """Follow a way into nested values."""
    for key in way:
        stored = stored[key]
    return stored


def elsewhere(location: str) -> TensorProto:
    """Say that three weights lie in another file."""
    tensor = TensorProto(name="scale", data_type=TensorProto.FLOAT, dims=[3])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def scaling(*nodes: onnx.NodeProto, **parts: Any) -> onnx.ModelProto:
    """Make ``y`` = ``x`` times ``scale``, which `nodes` or `parts` of the graph bring."""
    product = helper.make_node("Mul", ["x", "scale"], ["y"])
    x, y = (models.tensor(name, "FP32", ("N", 3)) for name in "xy")
    functions = parts.pop("functions", [])
    graph = helper.make_graph([*nodes, product], "g", [x], [y], **parts)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)


def varint(number: int) -> bytes:
    """Write a number as protobuf does."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def raw(key: int, content: bytes) -> bytes:
    """Write a field of bytes, with any key."""
    return varint(key) + varint(len(content)) + content


def spliced(initializer: bytes, key: int = 5 << 3 | 2) -> bytes:
    """Make a model with the bytes of an initializer in its graph, whatever they are."""
    model = scaling()
    graph = model.graph.SerializeToString() + raw(key, initializer)
    model.ClearField("graph")
    return model.SerializeToString() + raw(7 << 3 | 2, graph)


def in_a_branch(location: str) -> bytes:
    """Keep the weights in the graph of an ``If``."""
    inner = [models.tensor(name, "FP32", (3,)) for name in ("a", "b")]
    branches = [
        helper.make_graph([helper.make_node("Identity", ["w"], [out])], out, [], [info])
        for out, info in zip("ab", inner, strict=True)
    ]
    for branch in branches:
        weights = elsewhere(location)
        weights.name = "w"
        branch.initializer.append(weights)
    flag = helper.make_node("Constant", [], ["flag"], value=numpy_helper.from_array(np.array(True)))
    either = helper.make_node(
        "If", ["flag"], ["scale"], then_branch=branches[0], else_branch=branches[1]
    )
    return scaling(flag, either).SerializeToString()


def in_a_function(location: str) -> bytes:
    """Keep the weights in a constant of a function of the model."""
    constant = helper.make_node("Constant", [], ["c"], value=elsewhere(location))
    function = helper.make_function(
        "own", "weights", [], ["c"], [constant], [helper.make_opsetid("", 17)]
    )
    node = helper.make_node("weights", [], ["scale"], domain="own")
    return scaling(node, functions=[function]).SerializeToString()


def sparse(location: str) -> bytes:
    """Keep the values of sparse weights in another file."""
    weights = onnx.SparseTensorProto(dims=[3])
    weights.values.CopyFrom(elsewhere(location))
    weights.indices.CopyFrom(numpy_helper.from_array(np.arange(3)))
    return scaling(sparse_initializer=[weights]).SerializeToString()


def with_data_location(number: int) -> Callable[[str], bytes]:
    """Write the place of the data as another number, of which readers keep the lower bits."""

    def made(location: str) -> bytes:
        tensor = elsewhere(location)
        tensor.ClearField("data_location")
        return spliced(tensor.SerializeToString() + varint(14 << 3) + varint(number))

    return made


READERS: dict[str, Callable[[str], bytes]] = {
    "an initializer": lambda at: scaling(initializer=[elsewhere(at)]).SerializeToString(),
    "a constant": lambda at: scaling(
        helper.make_node("Constant", [], ["scale"], value=elsewhere(at))
    ).SerializeToString(),
    "a branch": in_a_branch,
    "a function": in_a_function,
    "sparse values": sparse,
    "empty raw_data": lambda at: spliced(elsewhere(at).SerializeToString() + raw(9 << 3 | 2, b"")),
    "empty int32_data": lambda at: spliced(
        elsewhere(at).SerializeToString() + raw(5 << 3 | 2, b"")
    ),
    "data first": lambda at: spliced(raw(9 << 3 | 2, b"") + elsewhere(at).SerializeToString()),
    "data_location 2**32+1": with_data_location(2**32 + 1),
    "data_location 2**64+1": with_data_location(2**64 + 1),
    "data_location twice": lambda at: spliced(
        elsewhere(at).SerializeToString() + varint(14 << 3) + b"\x00" + varint(14 << 3) + b"\x01"
    ),
    "a key of 35 bits": lambda at: spliced(elsewhere(at).SerializeToString(), 2**32 + (5 << 3 | 2)),
}
"""Ways to say where weights lie; every one of them was taken by some release of onnxruntime."""
