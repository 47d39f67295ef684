"""The real Triton that ``remote.py`` asks, its models, and what is sent to them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _clients import AZURE_EP, AzureEp, Case

FEATURES, IMAGE, CHUNK = 30, (3, 224, 224), 50
ROW = Case("1 x 30", "linear", (1, FEATURES), (1, 1))
MANY = Case("100,000 x 30", "linear", (100_000, FEATURES), (100_000, 1))
IMAGES = Case("1,000 images", "images", (CHUNK, *IMAGE), (CHUNK, 3), 1_000 // CHUNK, 4)
FILL = Case("30 MB back", "fill", (1_000, 1), (1_000, 7_500))


@dataclass(frozen=True)
class Bench:
    """The server, its models as files, and the C++ client where there is one."""

    server: Any
    files: dict[str, Path]
    azure_ep: AzureEp | None

    def model(self, name: str) -> Any:
        """Make the contestant that this is about."""
        from hybridmodel import HybridOnnxModel

        endpoint = self.server.endpoint(name, timeout_s=60, shared_memory=False)
        return HybridOnnxModel(self.files[name], endpoint=endpoint)


@contextmanager
def bench(*, azure_ep: bool) -> Iterator[Bench]:
    """Write the models and start the server and the other process."""
    from hybridmodel.serving import TritonServer

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = {name: folder / f"{name}.onnx" for name in ("linear", "images", "fill")}
        for name, file in files.items():
            file.write_bytes(make_model(name))
        server = stack.enter_context(TritonServer(files, grpc=True))
        other = None
        if azure_ep:
            try:
                other = AzureEp(server.uri)
                stack.callback(other.close)
                print(f"azure EP: onnxruntime-azure {other.version}, a process of its own")
            except Exception as error:  # noqa: BLE001 - whatever keeps it from running
                print(f"{AZURE_EP} is left out: {error}")
        else:
            print(f"{AZURE_EP} is left out, as asked")
        yield Bench(server, files, other)


def make_model(name: str) -> bytes:
    """Make ``y`` of ``x`` with next to no work, in an opset that onnxruntime 1.15 knows too."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(size=(FEATURES, 1)).astype(np.float32)
    nodes = {
        "linear": [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "images": [
            helper.make_node("MaxPool", ["x"], ["pooled"], kernel_shape=IMAGE[1:]),
            helper.make_node("Flatten", ["pooled"], ["y"]),
        ],
        "fill": [helper.make_node("Tile", ["x", "repeats"], ["y"])],
    }[name]
    constants = {
        "linear": [numpy_helper.from_array(weights, "w")],
        "fill": [numpy_helper.from_array(np.array([1, FILL.answer_shape[1]]), "repeats")],
    }.get(name, [])
    shapes: dict[str, tuple[Sequence[int], Sequence[int]]] = {
        "linear": ([FEATURES], [1]),
        "images": (IMAGE, [3]),
    }
    shapes["fill"] = (FILL.shape[1:], FILL.answer_shape[1:])
    ends = [
        helper.make_tensor_value_info(end, TensorProto.FLOAT, ["N", *shape])
        for end, shape in zip("xy", shapes[name], strict=True)
    ]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def server_name(server: Any) -> str:
    """Ask the server what it is."""
    import requests

    about = requests.get(f"{server.uri}/v2", timeout=10).json()
    return f"{about['name']} {about['version']}"
