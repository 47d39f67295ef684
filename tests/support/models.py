"""Small ONNX models for the tests, each as the bytes of a file.

The rows of a batch are the dimension ``N`` of every graph.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hybridmodel.data.tensors import BY_DATATYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

Dim = int | str | None

_ONNX_NAMES = {"float": "FLOAT", "double": "DOUBLE", "float16": "FLOAT16"}


def tensor(name: str, datatype: str, shape: Sequence[Dim]) -> onnx.ValueInfoProto:
    """Declare a graph's input or output by its Open Inference Protocol datatype."""
    word = BY_DATATYPE[datatype].onnx
    return helper.make_tensor_value_info(
        name, getattr(TensorProto, _ONNX_NAMES.get(word, word.upper())), shape
    )


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray[Any, Any]] | None = None,
) -> bytes:
    """Put a graph together and serialize it."""
    tensors = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "test", list(inputs), list(outputs), tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def identity(datatype: str = "FP32", shape: Sequence[Dim] = ("N", 3)) -> bytes:
    """Make ``y = x``."""
    return build(
        [helper.make_node("Identity", ["x"], ["y"])],
        [tensor("x", datatype, shape)],
        [tensor("y", datatype, shape)],
    )


def two_outputs() -> bytes:
    """Make ``total`` [N, 1] = the sum of each row of ``x`` [N, 3], and ``double`` [N, 3] = 2 x."""
    return build(
        [
            helper.make_node("ReduceSum", ["x", "axes"], ["total"]),
            helper.make_node("Add", ["x", "x"], ["double"]),
        ],
        [tensor("x", "FP32", ("N", 3))],
        [tensor("total", "FP32", ("N", 1)), tensor("double", "FP32", ("N", 3))],
        {"axes": np.array([1])},
    )


def two_inputs() -> bytes:
    """Make ``y`` [N, 2] = ``a`` [N, 2] FP32 + ``b`` [N, 1] INT64."""
    return build(
        [
            helper.make_node("Cast", ["b"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["a", "number"], ["y"]),
        ],
        [tensor("a", "FP32", ("N", 2)), tensor("b", "INT64", ("N", 1))],
        [tensor("y", "FP32", ("N", 2))],
    )


def linear(n_features: int = 4, n_outputs: int = 2, seed: int = 0) -> bytes:
    """Make ``y`` [N, n_outputs] = ``x`` [N, n_features] W + b with seeded random W and b."""
    random = np.random.default_rng(seed)
    return build(
        [helper.make_node("Gemm", ["x", "W", "b"], ["y"])],
        [tensor("x", "FP32", ("N", n_features))],
        [tensor("y", "FP32", ("N", n_outputs))],
        {
            "W": random.normal(size=(n_features, n_outputs)).astype(np.float32),
            "b": random.normal(size=n_outputs).astype(np.float32),
        },
    )


def strings() -> bytes:
    """Make ``shout`` [N] = ``text`` [N] with an exclamation mark behind each, both BYTES."""
    return build(
        [helper.make_node("StringConcat", ["text", "mark"], ["shout"])],
        [tensor("text", "BYTES", ("N",))],
        [tensor("shout", "BYTES", ("N",))],
        {"mark": np.array(["!"], dtype=object)},
    )


def lookup() -> bytes:
    """Make ``y`` [N] = the table (10, 20, 30) at ``x`` [N] INT64; other indices fail when run."""
    return build(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [tensor("x", "INT64", ("N",))],
        [tensor("y", "FP32", ("N",))],
        {"table": np.array([10, 20, 30], np.float32)},
    )


def loop() -> bytes:
    """Make ``y`` [N] = ``x`` [N] after ``turns`` [1] INT64 turns of a loop: slow on demand."""
    flag, number = tensor("going", "BOOL", ()), tensor("turn", "INT64", ())
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["going_on"]),
            helper.make_node("Neg", ["value"], ["negative"]),
            helper.make_node("Neg", ["negative"], ["next"]),
        ],
        "body",
        [number, flag, tensor("value", "FP32", ("N",))],
        [tensor("going_on", "BOOL", ()), tensor("next", "FP32", ("N",))],
    )
    return build(
        [helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body)],
        [tensor("x", "FP32", ("N",)), tensor("turns", "INT64", (1,))],
        [tensor("y", "FP32", ("N",))],
    )


@lru_cache
def classifier(zipmap: bool = False, labels: Sequence[Any] = ("no", "perhaps", "yes")) -> bytes:
    """Make a logistic regression of 4 features; ``zipmap`` gives its probabilities as maps."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    x = random.normal(size=(60, 4)).astype(np.float32)
    y = np.array(labels)[np.argmax(x[:, : len(labels)], axis=1)]
    model = LogisticRegression().fit(x, y)
    made = to_onnx(model, x[:1], options={"zipmap": zipmap}, target_opset=17)
    return made.SerializeToString()


def graded(factor: float = 1.0) -> bytes:
    """Make ``probabilities`` [N, 3] = softmax of ``x`` [N, 3] times a factor, and ``label``."""
    return build(
        [
            helper.make_node("Mul", ["x", "factor"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
            helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
        ],
        [tensor("x", "FP32", ("N", 3))],
        [tensor("label", "INT64", ("N",)), tensor("probabilities", "FP32", ("N", 3))],
        {"factor": np.array(factor, np.float32)},
    )


def served() -> dict[str, Any]:
    """Make what the shared servers of the tests serve, by name."""
    return {
        **{f"identity_{datatype}": identity(datatype) for datatype in BY_DATATYPE},
        "two_outputs": two_outputs(),
        "two_inputs": two_inputs(),
        "linear": linear(),
        "strings": strings(),
        "lookup": lookup(),
        "loop": loop(),
        "classifier": classifier(),
        "zipmap": classifier(zipmap=True),
        "versions": {"1": linear(seed=1), "3": linear(seed=3)},
        "image": identity("FP32", ("N", 3, "H", "W")),
        "columns": passthrough(
            age=("FP32", ("N", 1)),
            count=("INT64", ("N", 1)),
            name=("BYTES", ("N", 1)),
            flag=("BOOL", ("N",)),
        ),
        "fixed": identity("FP32", (2, 3)),
        "many_weights": many_weights(),
    }


def passthrough(**inputs: tuple[str, Sequence[Dim]]) -> bytes:
    """Make an output ``<name>_out`` = the input ``<name>``, for each (datatype, shape) given."""
    return build(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in inputs],
        [tensor(name, *declared) for name, declared in inputs.items()],
        [tensor(f"{name}_out", *declared) for name, declared in inputs.items()],
    )


def mean() -> bytes:
    """Make the scalar ``y`` [] = the mean of ``x`` [N, 2]."""
    return build(
        [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)],
        [tensor("x", "FP32", ("N", 2))],
        [tensor("y", "FP32", ())],
    )


def many_weights(count: int = 120) -> bytes:
    """Make ``y`` [N] = ``x`` [N] after the addition of `count` initializers 1, 2, 3, …."""
    return build(
        [
            helper.make_node("Add", [f"v{step}" if step else "x", f"w{step}"], [f"v{step + 1}"])
            for step in range(count)
        ]
        + [helper.make_node("Identity", [f"v{count}"], ["y"])],
        [tensor("x", "FP64", ("N",))],
        [tensor("y", "FP64", ("N",))],
        {f"w{step}": np.array([step + 1.0]) for step in range(count)},
    )


def scaled(scale: np.ndarray[Any, Any]) -> onnx.ModelProto:
    """Make ``y`` [N, k] = ``x`` [N, k] times the initializer ``scale`` [k], not yet serialized."""
    shape = ("N", len(scale))
    made = build(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        [tensor("x", "FP32", shape)],
        [tensor("y", "FP32", shape)],
        {"scale": scale.astype(np.float32)},
    )
    return onnx.load_from_string(made)


def save_external(model: onnx.ModelProto, path: Any, location: str = "weights.bin") -> None:
    """Save a model whose tensors lie in the file `location` beside it."""
    onnx.save_model(
        model, str(path), save_as_external_data=True, location=location, size_threshold=0
    )
