"""Describes a large ONNX file without reading its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hybridmodel.deploy.graph_edits import without_weights
from hybridmodel.deploy.trying import FATAL, MOST_BYTES, size_bytes
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.session import LocalSession, spec_of

_MOST_LEFT_BYTES = 1 << 26


def described(path: Path) -> LocalSession | None:
    """Return a session for a file of more than `MOST_BYTES`, which is opened by its first run.

    None for a smaller file, and where the description takes the whole model: where it has to be
    run, or is large without its constants too. Raises `ConfigurationError` as opening it would.
    """
    onnx = OnnxFile.unread(path)
    if size_bytes(onnx) <= MOST_BYTES:
        return None
    with onnx.view() as view:
        pieces, weights = without_weights(view)
        if sum(map(len, pieces)) > _MOST_LEFT_BYTES:
            return None
        graph = b"".join(
            piece if isinstance(piece, bytes) else bytes(view[piece.start : piece.stop])
            for piece in pieces
        )
    try:
        skeleton = _Skeleton(graph, weights)
    except Exception:  # noqa: BLE001 - an operator that wants its constants
        return None
    spec = spec_of(skeleton, onnx.zipmaps, onnx.unranked)
    return None if skeleton.was_asked else LocalSession(onnx, spec=spec)


class _Skeleton:
    """A session of a graph whose weights are inputs; it knows shapes, and cannot run."""

    def __init__(self, graph: bytes, weights: frozenset[str]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
        self._weights = weights
        self.was_asked = False

    def get_inputs(self) -> list[Any]:
        """Return the inputs that are no weights."""
        return [item for item in self._session.get_inputs() if item.name not in self._weights]

    def get_outputs(self) -> list[Any]:
        """Return all outputs."""
        return list(self._session.get_outputs())

    def run(self, *_: Any) -> Any:
        """Note that a run was asked for, and fail."""
        self.was_asked = True
        raise NotImplementedError
