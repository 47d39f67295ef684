"""How near ``predict_files`` comes to what an endpoint can do.

The server is a real Triton on this machine. It has the last core, and whoever asks it the others,
as an endpoint has a machine of its own. Its model has 1.1 M multiplications to do for a row.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _batch_data import CLASSES, FEATURES, NAMES, classifier, rows_file
from _clients import Case, TritonClient
from _processes import taken

AT_A_TIME, ROWS_EACH = (1, 2, 4, 8), (1_000, 4_000, 16_000)
PROGRAM = str(Path(__file__).with_name("_batch_programs.py"))


@dataclass(frozen=True)
class Capacity:
    """What tritonclient found: rows a second for each number at a time and size of requests."""

    rows_per_s: dict[tuple[int, int], float]

    @property
    def best(self) -> tuple[int, int]:
        """The number at a time and the rows of a request with which most rows came back."""
        return max(self.rows_per_s, key=self.rows_per_s.__getitem__)


@dataclass(frozen=True)
class Remote:
    """Rows a second, by turns."""

    capacity: Capacity
    theirs: list[float]
    ours: list[float]

    @property
    def share(self) -> float:
        """Ours of theirs, the median over the turns."""
        return float(np.median(np.divide(self.ours, self.theirs)))


@contextmanager
def on_cores(*, last: bool) -> Iterator[None]:
    """Let what begins here run on the last core, or on the others; on one core they share it."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:] if last else cores[:-1] or cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def endpoint() -> Iterator[tuple[Any, Path]]:
    """Start the server; yield it, and a folder with the local model saved with it."""
    from hybridmodel import HybridOnnxModel, save_model
    from hybridmodel.serving import TritonServer

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        big = folder / "big.onnx"
        big.write_bytes(classifier((1024, 1024), seed=1))
        with ExitStack() as stack:
            with on_cores(last=True):
                server = stack.enter_context(TritonServer({"big": big}))
            model = HybridOnnxModel(
                classifier((64, 32)),
                endpoint=server.endpoint("big", timeout_s=120),
                feature_names=NAMES,
                session_options={"intra_op_num_threads": 1},
            )
            save_model(model, folder / "model", pip_requirements=["onnxruntime"])
            yield server, folder


def measure_remote(rows: int, turns: int, seconds: float) -> Remote:
    """Find the endpoint's capacity, and then let both score by turns."""
    with endpoint() as (server, folder), on_cores(last=False):
        file = rows_file(folder, rows, one_group=False)
        found = {
            (most, each): client_rows_per_s(server.uri, most, each, seconds)
            for most in AT_A_TIME
            for each in ROWS_EACH
        }
        capacity = Capacity(found)
        theirs, ours = [], []
        for _ in range(turns):
            theirs.append(client_rows_per_s(server.uri, *capacity.best, 4 * seconds))
            command = [sys.executable, PROGRAM, "remote", str(folder / "model"), str(file)]
            printed = taken([*command, str(folder / "scored.parquet")]).printed
            done = json.loads(printed.splitlines()[-1])
            ours.append(done["rows"] / done["elapsed_s"])
    return Remote(capacity, theirs, ours)


def client_rows_per_s(uri: str, most: int, each: int, seconds: float) -> float:
    """Return the rows that so many tritonclients get back in a second, from ready arrays."""
    case = Case("", "big", (each, FEATURES), (each, CLASSES))
    array = np.random.default_rng(0).normal(size=case.shape).astype(np.float32)

    def work(until: float) -> int:
        client = TritonClient(uri, case)
        done = 0
        while time.perf_counter() < until:
            client.infer(array)
            done += each
        client.close()
        return done

    with ThreadPoolExecutor(most) as pool:
        started = time.perf_counter()
        done = sum(pool.map(work, [started + seconds] * most))
        return done / (time.perf_counter() - started)
