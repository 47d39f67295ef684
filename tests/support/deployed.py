"""Models that an export has to tell apart."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from tests.support.models import build, tensor


def centred() -> bytes:
    """Make ``y`` [N, 2] = ``x`` [N, 2] minus the mean of all rows."""
    return build(
        [
            helper.make_node("ReduceMean", ["x", "rows"], ["mean"]),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [tensor("x", "FP32", ("N", 2))],
        [tensor("y", "FP32", ("N", 2))],
        {"rows": np.array([0])},
    )


def no_zeros() -> bytes:
    """Make ``y`` [N, 2] = a table of three rows at 3 - ``x`` [N, 1], which fails for zeros."""
    return build(
        [
            helper.make_node("Sub", ["three", "x"], ["place"]),
            helper.make_node("GatherND", ["table", "place"], ["y"]),
        ],
        [tensor("x", "INT64", ("N", 1))],
        [tensor("y", "FP32", ("N", 2))],
        {"three": np.array([3]), "table": np.arange(6, dtype=np.float32).reshape(3, 2)},
    )


def constant() -> bytes:
    """Make ``y`` [N, 2] = 0 x ``x`` [N, 2]."""
    return build(
        [helper.make_node("Mul", ["x", "zero"], ["y"])],
        [tensor("x", "FP32", ("N", 2))],
        [tensor("y", "FP32", ("N", 2))],
        {"zero": np.array(0, np.float32)},
    )


def sequence() -> bytes:
    """Make ``parts``, a sequence of the rows of ``x`` [N, 2]."""
    whole = helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)
    return build(
        [helper.make_node("SplitToSequence", ["x"], ["parts"], axis=0)],
        [tensor("x", "FP32", ("N", 2))],
        [whole],
    )


def brain_floats() -> bytes:
    """Make ``y`` [N, 2] = ``x`` [N, 2] as bfloat16."""
    return build(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)],
        [tensor("x", "FP32", ("N", 2))],
        [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ("N", 2))],
    )


def shapeless() -> bytes:
    """Make ``y`` = ``x`` [N, 2] in another shape, for which neither graph nor nodes have a rank."""
    graph = helper.make_graph(
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("NonZero", ["shape"], ["places"]),
            helper.make_node("Gather", ["shape", "places"], ["twice"]),
            helper.make_node("Squeeze", ["twice"], ["same"]),
            helper.make_node("Reshape", ["x", "same"], ["y"]),
        ],
        "test",
        [tensor("x", "FP32", ("N", 2))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
