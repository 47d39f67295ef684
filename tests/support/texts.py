"""Small text-embedding models whose tokeniser is inside of the graph, and what they should give."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from onnx import TensorProto, helper, numpy_helper

WORDS = 64
"""Buckets that the words of a text are sorted into."""

SESSION = {"custom_op_libraries": ["onnxruntime-extensions"]}
"""The settings of a session that runs these models."""

_DOMAIN = "ai.onnx.contrib"


@lru_cache
def text_model(
    width: int = 8, seed: int = 0, *, fixed: bool = True, second: str | None = None
) -> bytes:
    """Make ``vector`` [N, width], of length 1, of each ``text`` [N]: the mean of its words' rows.

    Onnxruntime-extensions cut the text at blanks and sort the words into buckets. Without `fixed`,
    the graph does not say how wide the vectors are. A `second` output has the length of the sum.
    """
    table = np.random.default_rng(seed).normal(size=(WORDS, width)).astype(np.float32)
    constants = {
        "table": table,
        "blank": np.array([" "], dtype=object),
        "skip": np.array([True]),
        "buckets": np.array([WORDS], np.int64),
        "width": np.array([width], np.int64),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "axis": np.array([1], np.int64),
        "least": np.array([1e-12], np.float32),
    }
    nodes = [
        helper.make_node(
            "StringSplit", ["text", "blank", "skip"], ["places", "words", "dense"], domain=_DOMAIN
        ),
        helper.make_node("StringToHashBucketFast", ["words", "buckets"], ["ids"], domain=_DOMAIN),
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Slice", ["places", "zero", "one", "axis"], ["of_text"]),
        helper.make_node("Shape", ["text"], ["count"]),
        helper.make_node("Concat", ["count", "width"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["nothing"]),
        helper.make_node("ScatterND", ["nothing", "of_text", "rows"], ["sums"], reduction="add"),
        helper.make_node("ReduceL2", ["sums", "axis"], ["lengths"]),
        helper.make_node("Max", ["lengths", "least"], ["divisors"]),
        helper.make_node("Div", ["sums", "divisors"], ["vector"]),
    ]
    shape = ["N", width if fixed else "D"]
    outputs = [helper.make_tensor_value_info("vector", TensorProto.FLOAT, shape)]
    if second is not None:
        nodes.append(helper.make_node("Squeeze", ["lengths", "axis"], [second]))
        outputs.append(helper.make_tensor_value_info(second, TensorProto.FLOAT, ["N"]))
    tensors = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        "texts",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["N"])],
        outputs,
        tensors,
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(_DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def numbers_model(width: int = 8) -> bytes:
    """Make ``vector`` [N, width] of each ``text`` [N] that is a number: it, `width` times."""
    nodes = [
        helper.make_node("Cast", ["text"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["number", "axis"], ["column"]),
        helper.make_node("Concat", ["column"] * width, ["vector"], axis=1),
    ]
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    graph = helper.make_graph(
        nodes,
        "numbers",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["N"])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["N", width])],
        [axis],
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
