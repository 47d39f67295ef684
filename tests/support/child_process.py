"""What a child process runs; without MLflow, whose import in a new process may fail by itself."""

from __future__ import annotations

from typing import Any

from hybridmodel import HybridOnnxModel


def predict_remotely(model: HybridOnnxModel, rows: Any, queue: Any) -> None:
    """Put the endpoint's answer into a queue."""
    queue.put(model.predict(rows, use_azure=True).to_numpy())
