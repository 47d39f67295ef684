"""Checked by mypy only: the types that users see."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybridmodel import Answer, HybridOnnxModel, ModelSpec, TensorSpec, TritonEndpoint, load_model
from hybridmodel.serving import EmbeddedServer, Limits, TritonServer, serve
from hybridmodel.testing import FakeEndpoint, FakeRequest, fake_endpoint

endpoint: TritonEndpoint = TritonEndpoint(uri="https://h", model_name="m", model_version=None)
model: HybridOnnxModel = HybridOnnxModel(
    b"", endpoint=endpoint, credential=lambda: "key", feature_names=["a"], output="y"
)
native: HybridOnnxModel = load_model("models:/m@champion", model_config={"timeout_s": 5.0})

anything: Any = model.predict([[1.0]], use_azure=True, timeout=2.5, output="y")
answer: Answer = model.infer({"x": np.zeros(3)})
outputs: dict[str, np.ndarray[Any, Any]] = answer.outputs
route: str = answer.route
version: str | None = answer.model_version
asked: str | None = HybridOnnxModel(b"", endpoint=[endpoint, endpoint]).infer([[1.0]]).endpoint
inputs: tuple[TensorSpec, ...] = model.inputs
there: ModelSpec = model.check_endpoint(timeout=1)


async def _handle() -> None:
    in_loop: Any = await model.apredict([[1.0]], mode="cascade", timeout=2.5, provenance=True)
    asked: Answer = await model.ainfer({"x": np.zeros(3)}, use_azure=True)
    assert in_loop is not asked


embedded: EmbeddedServer = serve({"m": b"", "n": model, "p": "model.onnx"}, port=0)
limited: EmbeddedServer = serve({"m": b""}, limits=Limits(max_body_bytes=2**20, head_timeout_s=5))
triton: TritonServer = TritonServer({"m": b""})
with embedded as server, triton as real:
    endpoint = server.endpoint("m")
    endpoint = real.endpoint("m", timeout_s=5.0)

fake: FakeEndpoint = fake_endpoint(model, answer=lambda inputs: {"y": inputs["x"]})
with fake as running:
    running.fail(503, times=2, headers={"Retry-After": "2"})
    requests: list[FakeRequest] = running.requests
    sent: dict[str, np.ndarray[Any, Any]] = requests[0].inputs
