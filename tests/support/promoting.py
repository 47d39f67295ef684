"""An endpoint whose green deployment is another model, and who asks it meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hybridmodel import HybridOnnxModel
from hybridmodel.compare.comparison import ComparisonSummary
from hybridmodel.deploy.rehearsal.running import Rehearsal
from tests.support import models
from tests.support.rehearsing import NAMES, write_repository

ROWS = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)


def write_two(folder: Path, green: bytes, *, auth_mode: str = "key") -> Path:
    """Write an endpoint with `models.graded` as blue, and another model as green."""
    write_repository(folder, models.graded())
    write_repository(folder / "green", green)
    (folder / "endpoint.yml").write_text(f"name: digits-ep\nauth_mode: {auth_mode}\n")
    for name, path in zip(NAMES, ("./models", "./green/models"), strict=True):
        (folder / f"{name}-deployment.yml").write_text(
            f"name: {name}\nendpoint_name: digits-ep\n"
            f"model: {{name: digits, version: 1, path: {path}, type: triton_model}}\n"
            "instance_type: Standard_DS3_v2\ninstance_count: 1\n"
            "request_settings: {request_timeout_ms: 5000, "
            "max_concurrent_requests_per_instance: 4}\n"
        )
    return folder


@contextmanager
def asking(rehearsal: Rehearsal) -> Iterator[list[BaseException]]:
    """Let a thread ask the endpoint again and again; yield what it could not get answered."""
    endpoint = rehearsal.endpoint("digits", max_attempts=6, breaker_failures=None)
    lost: list[BaseException] = []
    over = threading.Event()

    def ask() -> None:
        with HybridOnnxModel(
            models.graded(), endpoint=endpoint, credential=rehearsal.credential
        ) as model:
            while not over.is_set():
                try:
                    model.predict(ROWS[:1], use_azure=True)
                except Exception as error:
                    lost.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()


def compared(rows: int, differing: int = 0) -> ComparisonSummary:
    """Make what a comparison tells of so many rows."""
    return ComparisonSummary(
        agree_by="class 'label'",
        calls=1,
        rows=rows,
        agreed=rows - differing,
        shed=0,
        failures={},
        outputs=(),
        pairs=(),
        latency={},
        first=(),
        last=(),
    )
