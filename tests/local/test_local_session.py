"""The local route: which models it takes, and who may share it."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from onnx import TensorProto, helper

from hybridmodel import HybridOnnxModel
from hybridmodel.data.tensors import BY_DATATYPE
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.session import LocalSession
from tests.support import models
from tests.support.doubled import ONE, doubled
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.mark.parametrize("datatype", BY_DATATYPE)
@pytest.mark.parametrize("shape", [(), (1,), ("N",), ("N", 1), ("N", 3), (2, 3), ("N", 3, 2, 2)])
def test_every_datatype_and_shape(datatype: str, shape: tuple[Any, ...]) -> None:
    """A tensor of any datatype and rank goes through, in a new and writable array."""
    session = LocalSession(models.identity(datatype, shape))
    size = [2 if side == "N" else side for side in shape]
    dtype = BY_DATATYPE[datatype].dtype
    value = np.full(size, "ß" if dtype.kind == "O" else 1, dtype)
    result = session.run({"x": value}, ["y"])["y"]
    np.testing.assert_array_equal(result, value)
    assert (result.dtype.char, result.shape) == (dtype.char, value.shape)
    assert session.spec.outputs[0].fits(result.shape)
    assert result.flags.writeable
    assert not np.shares_memory(result, value)


def shapeless(*nodes: onnx.NodeProto, constants: Any = None, x: Any = ("N", 3)) -> bytes:
    """Make a graph from ``x`` to ``y``, whose shape it does not tell; None: nor that of ``x``."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [onnx.numpy_helper.from_array(v, name) for name, v in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "g", inputs, [output], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    made: bytes = model.SerializeToString()
    return made


SQUEEZE_ALL = [helper.make_node("Squeeze", ["x"], ["y"])]
"""Of which onnxruntime cannot tell how many dimensions come out."""
MEAN = [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)]
SAME = [helper.make_node("Identity", ["x"], ["y"])]


@pytest.mark.parametrize(
    ("source", "shape", "batched", "unranked"),
    [
        (shapeless(*SQUEEZE_ALL), (-1, -1), True, True),
        (shapeless(*SQUEEZE_ALL, x=("N", 1)), (-1,), True, True),
        (shapeless(*MEAN), (), False, False),
        (shapeless(*SAME), (-1, 3), True, False),
        (shapeless(*SAME, x=None), (), False, True),
        (shapeless(*SAME, x=()), (), False, False),
    ],
    ids=["squeezed", "squeezed column", "mean", "inferred", "nothing known", "scalar"],
)
def test_no_shape_is_no_scalar(
    source: bytes, shape: tuple[int, ...], batched: bool, unranked: bool
) -> None:
    """What has no shape in the file may be of any rank; a scalar is what is declared as one."""
    (y,) = LocalSession(source).spec.outputs
    assert (y.shape, y.batched, y.unranked) == (shape, batched, unranked)


@pytest.mark.parametrize("data", [np.ones((2, 3)), np.ones(4), 2.5, [[1.0]]])
def test_an_input_of_any_rank(data: Any) -> None:
    """An input without a shape takes what comes, and gives it to the model as it is."""
    model = HybridOnnxModel(shapeless(*SAME, x=None))
    np.testing.assert_array_equal(model.predict(data), data)
    assert "x: FP32[…]" in repr(model)


def test_a_frame_for_an_input_of_any_rank() -> None:
    """A frame is a matrix, and its index comes back."""
    frame = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=[7, 8])
    answer = HybridOnnxModel(shapeless(*SAME, x=None)).predict(frame)
    pd.testing.assert_frame_equal(answer, frame.astype(np.float32).set_axis(["y_0", "y_1"], axis=1))


def declared(shape: Any, *nodes: onnx.NodeProto, **constants: Any) -> bytes:
    """Make a graph from ``x`` [N, 3] to ``y``, which it declares to have a shape."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 3))]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", inputs, [output], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    made: bytes = model.SerializeToString()
    return made


CONSTANT = helper.make_node("Identity", ["c"], ["y"])
FLAT = [
    helper.make_node("ReduceSum", ["x", "axes"], ["sums"], keepdims=0),
    helper.make_node("Reshape", ["sums", "to"], ["y"]),
]
TO_ROWS = {"axes": np.array([1]), "to": np.array([-1])}


@pytest.mark.parametrize(
    ("source", "shape", "batched"),
    [
        (declared((1,), *FLAT, **TO_ROWS), (-1,), True),
        (declared((2,), *FLAT, **TO_ROWS), (-1,), True),
        (declared((1,), CONSTANT, c=np.ones(1, np.float32)), (1,), False),
        (declared((2,), CONSTANT, c=np.ones(2, np.float32)), (2,), False),
        (declared((2, 3), CONSTANT, c=np.ones((2, 3), np.float32)), (2, 3), False),
    ],
    ids=["one for rows", "two for rows", "one", "two", "table"],
)
def test_a_number_that_stands_for_rows(
    source: bytes, shape: tuple[int, ...], batched: bool
) -> None:
    """A fixed first dimension counts rows where the model gives another for other rows."""
    (y,) = LocalSession(source).spec.outputs
    assert (y.shape, y.batched, y.unranked) == (shape, batched, False)


def test_a_model_that_takes_no_zeros_is_as_declared() -> None:
    """Where the model cannot be asked, what its graph says has to do."""
    source = models.build(
        [
            helper.make_node("Sub", ["x", "one"], ["lower"]),
            helper.make_node("Gather", ["table", "lower"], ["many"]),
            helper.make_node("ReduceSum", ["many"], ["y"], keepdims=1),
        ],
        [models.tensor("x", "INT64", ("N",))],
        [models.tensor("y", "FP32", (1,))],
        {"one": np.array(9), "table": np.ones(3, np.float32)},
    )
    (y,) = LocalSession(source).spec.outputs
    assert (y.shape, y.batched) == ((1,), False)


def test_outputs_come_in_the_order_asked() -> None:
    """Only the outputs asked for are computed, in that order."""
    session = LocalSession(models.two_outputs())
    assert list(session.run(ONE, ["double", "total"])) == ["double", "total"]
    assert list(session.run(ONE, ["total"])) == ["total"]


def test_many_initializers() -> None:
    """A model of more than a hundred weights runs."""
    result = LocalSession(models.many_weights(120)).run({"x": np.array([0.5])}, ["y"])["y"]
    assert result.tolist() == [120 * 121 / 2 + 0.5]


@pytest.mark.parametrize("labels", [("no", "yes"), (10, 20, 30), (-1, 1)])
def test_zipmaps_become_matrices(labels: tuple[Any, ...]) -> None:
    """Maps of classes become a float matrix in the order of the labels; labels are kept."""
    maps = LocalSession(models.classifier(zipmap=True, labels=labels))
    plain = LocalSession(models.classifier(zipmap=False, labels=labels))
    name, probabilities = maps.spec.output_names
    assert maps.spec.output(probabilities).labels == labels
    assert maps.spec.output(probabilities).shape == (-1, len(labels))
    feeds = {maps.spec.input_names[0]: np.eye(5, 4, dtype=np.float32)}
    of_maps = maps.run(feeds, [name, probabilities])
    of_plain = plain.run(feeds, list(plain.spec.output_names))
    np.testing.assert_array_equal(of_maps[name], of_plain[plain.spec.output_names[0]])
    np.testing.assert_array_equal(of_maps[probabilities], of_plain[plain.spec.output_names[1]])
    assert of_maps[probabilities].dtype == np.float32


@pytest.mark.parametrize("labels", [["only"], [7]])
def test_a_zipmap_of_one_class(labels: list[Any]) -> None:
    """A single class makes a matrix of one column."""
    session = LocalSession(zipmap_of(labels))
    result = session.run({"x": np.array([[0.25], [0.5]], np.float32)}, ["maps"])["maps"]
    assert result.tolist() == [[0.25], [0.5]]
    assert session.spec.outputs[0].labels == tuple(labels)


def zipmap_of(labels: list[Any]) -> bytes:
    """Make maps from the columns of ``x``."""
    key = "classlabels_int64s" if isinstance(labels[0], int) else "classlabels_strings"
    named: dict[str, Any] = {key: labels}
    kind = TensorProto.INT64 if isinstance(labels[0], int) else TensorProto.STRING
    value = helper.make_map_type_proto(kind, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    graph = helper.make_graph(
        [helper.make_node("ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", **named)],
        "g",
        [models.tensor("x", "FP32", ("N", len(labels)))],
        [helper.make_value_info("maps", helper.make_sequence_type_proto(value))],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return made


def test_maps_of_unknown_classes_are_refused() -> None:
    """Maps that no ZipMap of this graph made have no columns: the message says what helps."""
    contents = OnnxFile.read(zipmap_of(["a", "b"]))
    unknown = OnnxFile(contents.sha256, contents.data)
    with pytest.raises(ConfigurationError, match=r"output 'maps' .* convert the model with zipmap"):
        LocalSession(unknown)


def test_types_that_no_array_carries_are_refused() -> None:
    """A sequence of tensors is refused when the model is made, with its name and type."""
    tensor_type = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N"])
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        "g",
        [models.tensor("x", "FP32", ("N",))],
        [helper.make_value_info("y", helper.make_sequence_type_proto(tensor_type))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(ConfigurationError, match=r"'y' is a seq\(tensor\(float\)\).*neither route"):
        LocalSession(model)


def test_bfloat16_is_refused() -> None:
    """A tensor type that numpy has no dtype for is refused when the model is made."""
    info = helper.make_tensor_value_info("x", TensorProto.BFLOAT16, ["N"])
    out = helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["N"])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [info], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(ConfigurationError, match=r"input 'x' is a tensor\(bfloat16\)"):
        LocalSession(model)


def test_input_that_onnxruntime_refuses() -> None:
    """What only the runtime can see is an input mismatch, too."""
    session = LocalSession(models.lookup())
    with pytest.raises(InputMismatch, match="onnxruntime cannot run the model on this input"):
        session.run({"x": np.array([99])}, ["y"])


def test_a_session_options_object_works() -> None:
    """An options object of onnxruntime is used as it is, and refused where it must be written."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = LocalSession(models.two_outputs(), session_options=options)
    assert session.session.get_session_options().intra_op_num_threads == 1
    assert doubled(session) == [[2.0, 4.0, 6.0]]
    with pytest.raises(ConfigurationError, match="pass session_options as a dict"):
        pickle.dumps(session)


def test_a_known_spec_saves_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the spec known, the model is not opened before it is used."""
    known = LocalSession(models.two_outputs()).spec
    opened: list[Any] = []
    real = onnxruntime.InferenceSession

    def opening(*given: Any, **named: Any) -> Any:
        opened.append(given)
        return real(*given, **named)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opening)
    session = LocalSession(models.two_outputs(), spec=known)
    assert opened == []
    assert doubled(session) == [[2.0, 4.0, 6.0]]
    assert len(opened) == 1


def test_threads_share_one_session() -> None:
    """Threads that start together open one session, and each gets its own answer."""
    known = LocalSession(models.two_outputs()).spec
    session = LocalSession(models.two_outputs(), spec=known)
    start = threading.Barrier(8)

    def ask(number: int) -> tuple[int, bool]:
        start.wait(30)
        mine = {"x": np.full((2, 3), number, np.float32)}
        for _ in range(20):
            result = session.run(mine, ["double"])["double"]
            if not (result == 2 * number).all():
                return 0, False
        return id(session.session), True

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(ask, range(8)))
    assert len({where for where, _ in results}) == 1
    assert all(right for _, right in results)


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "copy"])
def test_copies_work(way: str) -> None:
    """A pickled or copied session carries the model and its settings, and opens its own."""
    options = {"graph_optimization_level": 0}
    session = LocalSession(models.two_outputs(), session_options=options)
    ways: dict[str, Callable[[LocalSession], LocalSession]] = {
        "pickle": lambda item: pickle.loads(pickle.dumps(item)),
        "deepcopy": copy.deepcopy,
        "copy": copy.copy,
    }
    made = ways[way](session)
    assert made.spec == session.spec
    assert doubled(made) == doubled(session)
    assert made.session is not session.session
    assert made.session.get_session_options().graph_optimization_level.name == "ORT_DISABLE_ALL"


def test_external_data_survives_a_pickle(tmp_path: Path) -> None:
    """A model with external data is found again by its path."""
    models.save_external(models.scaled(np.array([2.0, 2.0, 2.0])), tmp_path / "m.onnx")
    session = pickle.loads(pickle.dumps(LocalSession(tmp_path / "m.onnx")))
    assert session.run(ONE, ["y"])["y"].tolist() == [[2.0, 4.0, 6.0]]


def test_the_proto_is_not_changed() -> None:
    """A ModelProto that was handed in is the same afterwards."""
    proto = onnx.load_from_string(models.two_outputs())
    before = copy.deepcopy(proto)
    doubled(LocalSession(proto))
    assert proto == before


FORKING = """
import multiprocessing, os, pickle, sys, threading
from hybridmodel.local.session import LocalSession
from tests.support import models
from tests.support.doubled import doubled

session = LocalSession(models.two_outputs())
expected = doubled(session)
multiprocessing.set_start_method("fork")
with multiprocessing.Pool(2) as pool:
    answers = pool.map(doubled_in_child := doubled, [session] * 2)
assert answers == [expected] * 2
pid = os.fork()
if pid == 0:
    threading.Thread(target=lambda: os._exit(0 if doubled(session) == expected else 1)).start()
    threading.Event().wait(50)
    os._exit(2)
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert doubled(session) == expected
print("done")
"""


@FORK
def test_a_used_session_survives_a_fork() -> None:
    """A child that was forked after the session was used opens its own, and does not hang."""
    assert "fork" in multiprocessing.get_all_start_methods()
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )
    assert done.stdout.strip() == "done", done.stderr
