"""The ONNX models that the benchmarks run, saved by our flavor and by MLflow's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

FEATURES = 30
NAMES = [f"feature_{i}" for i in range(FEATURES)]


@dataclass(frozen=True)
class Saved:
    """One ONNX file, saved by either flavor."""

    hybrid: str
    mlflow: str
    file_bytes: int


def linear_model() -> bytes:
    """Make ``y`` [N, 1] = ``x`` [N, 30] W + b, with a metadata text that makes the file 10 kB."""
    return _dense([FEATURES, 1], filler=9_500)


def mlp_model(width: int) -> bytes:
    """Make a perceptron with three square layers of `width`."""
    return _dense([FEATURES, width, width, width, width, 1])


def _dense(sizes: Sequence[int], filler: int = 0) -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    nodes, constants, tensor = [], [], "x"
    for layer, (before, after) in enumerate(pairwise(sizes)):
        if layer:
            nodes.append(helper.make_node("Relu", [tensor], [f"relu{layer}"]))
            tensor = f"relu{layer}"
        weights = random.normal(0, before**-0.5, (before, after)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"w{layer}"))
        constants.append(numpy_helper.from_array(np.zeros(after, np.float32), f"b{layer}"))
        output = "y" if layer == len(sizes) - 2 else f"dense{layer}"
        nodes.append(helper.make_node("Gemm", [tensor, f"w{layer}", f"b{layer}"], [output]))
        tensor = output
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in (("x", sizes[0]), ("y", sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "dense", ends[:1], ends[1:], constants)
    graph.doc_string = "." * filler
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def save_both(folder: Path, onnx_file: bytes, threads: int) -> Saved:
    """Save one model with our flavor and with MLflow's, as alike as the two can be."""
    import mlflow.onnx
    import onnx

    from hybridmodel import HybridOnnxModel, save_model
    from hybridmodel.flavor.signatures import signature_of

    session = {"intra_op_num_threads": threads} if threads else None
    model = HybridOnnxModel(onnx_file, feature_names=NAMES, session_options=session)
    signature = signature_of(model, "params", None)
    requirements = ["onnxruntime"]  # Given, so that MLflow does not go and find out.
    hybrid, theirs = folder / "hybrid", folder / "mlflow"
    save_model(model, hybrid, signature=signature, pip_requirements=requirements)
    mlflow.onnx.save_model(
        onnx.load_from_string(onnx_file),
        str(theirs),
        signature=signature,
        pip_requirements=requirements,
        onnx_execution_providers=["CPUExecutionProvider"],
        onnx_session_options=session,
        save_as_external_data=False,
    )
    return Saved(str(hybrid), str(theirs), len(onnx_file))
