"""What the local route costs beyond ``InferenceSession.run``, beside MLflow's own ONNX flavor.

    python benchmarks/local/session.py [--quick] [--plot FILE.png] [--json FILE] [--threads N]

Needs the ``dev`` extra. Prints a table, one line for each aim, and ends with status 1 when an aim
is not met. In one run, by turns:

========  ==========================================================================
run       ``InferenceSession.run`` on the float32 array that is ready: the floor
native    `HybridOnnxModel.predict`, as `hybridmodel.load_model` returns it
pyfunc    ``mlflow.pyfunc.load_model`` of the same directory
mlflow    ``mlflow.pyfunc.load_model`` of a directory that ``mlflow.onnx`` saved
========  ==========================================================================

The model is linear, 30 float32 features to one output of shape (n, 1): the smallest ``run``, so
that whatever is added shows. It has one column because ``mlflow.onnx``'s pyfunc answers a frame
rightly only then: an (n, k) output comes back as n * k rows, a label with probabilities ends in a
ValueError. Our model knows its feature names and checks them on every frame, theirs does not. Both
directories have the same signature, params and outputs only, so that MLflow's own checks cost both
the same. All sessions compute on one thread unless ``--threads`` says otherwise: the threads of
one contestant, which spin for a while after a run, would disturb the next one's turn.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from _local_plot import plot
from _measure import (
    Aim,
    Call,
    Times,
    difference_us,
    machine,
    median_us,
    peak_bytes,
    ratio,
    recorded_feeds,
    report,
    spread_us,
    take_turns,
)
from _models import FEATURES, NAMES, Saved, linear_model, mlp_model, save_both
from _results import Ratio, Results

ROWS = (1, 1_000, 100_000)
INPUTS = ("ndarray f4", "frame f4", "frame f8")
OURS = ("native", "pyfunc")
MLFLOW = "mlflow.onnx's pyfunc"
PACKAGES = ("hybridmodel", "numpy", "pandas", "onnxruntime", "mlflow")
FLOAT32_BYTES, SLACK_BYTES = 4, 200_000


@dataclass(frozen=True)
class Cell:
    """One size and kind of input, and what every contestant took for it."""

    rows: int
    kind: str
    times: Times

    @property
    def name(self) -> str:
        return f"{self.rows:,} x {FEATURES} {self.kind}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    options = _options(arguments)
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_UV_AUTO_DETECT="false")
    results = Results("local", "What the local route costs", PACKAGES)
    print(machine(*PACKAGES))
    results.note(f"onnxruntime threads in a session: {options.threads or 'as many as it likes'}.")
    seconds = 0.3 if options.quick else 3.0
    with tempfile.TemporaryDirectory() as folder:
        small = save_both(Path(folder, "small"), linear_model(), options.threads)
        large = save_both(Path(folder, "large"), mlp_model(width=2048), options.threads)
        cells = measure_predict(small, seconds)
        loads = {
            f"{item.file_bytes / 1e6:.3g} MB": measure_load(item, 2 * seconds)
            for item in (small, large)
        }
        memory = measure_memory(small)
    show_predict(results, cells)
    show_load(results, loads)
    results.ratios += ratios(cells, loads)
    aims = [*predict_aims(cells), *load_aims(loads), *memory_aims(memory)]
    if options.plot:
        plot(cells, ROWS, options.plot)
    if options.json:
        results.write(options.json, aims, as_json(cells, loads, memory), [options.plot])
    return report(aims)


def measure_predict(saved: Saved, seconds: float) -> list[Cell]:
    """Time one call for every size and kind of input."""
    import mlflow.pyfunc

    from hybridmodel import load_model

    native = load_model(saved.hybrid)
    models = {
        "native": native,
        "pyfunc": mlflow.pyfunc.load_model(saved.hybrid),
        "mlflow": mlflow.pyfunc.load_model(saved.mlflow),
    }
    session, cells = native.session, []
    for rows in ROWS:
        ready = np.random.default_rng(1).normal(size=(rows, FEATURES)).astype(np.float32)
        share = 2 * seconds if rows == max(ROWS) else seconds
        for kind in INPUTS:
            calls: dict[str, Call] = {
                "run": partial(session.run, ["y"], {"x": ready}),
                **{name: by_turns(model, ready, kind) for name, model in models.items()},
            }
            check_same_answers(calls)
            cells.append(Cell(rows, kind, take_turns(calls, total_s=share)))
    return cells


def by_turns(model: Any, ready: Any, kind: str) -> Call:
    """Return a call of predict on two inputs by turns.

    So it gets no help from having seen the very object, or its column index, in the last call.
    """
    data = cycle([as_input(ready, kind), as_input(ready, kind)])
    return lambda: model.predict(next(data))


def as_input(ready: Any, kind: str) -> Any:
    """Put the numbers into a container, in columns as frames have them."""
    import pandas as pd

    if kind.startswith("ndarray"):
        return ready
    return pd.DataFrame(ready.astype(kind[-2:]), columns=NAMES)


def check_same_answers(calls: dict[str, Call]) -> None:
    """Stop if one contestant computes something else than the others."""
    expected = np.asarray(calls["run"]()[0]).ravel()
    for name, call in calls.items():
        answer = call()
        answer = next(iter(answer.values())) if isinstance(answer, dict) else answer
        values = np.asarray(answer).ravel()
        if not np.allclose(values, expected, rtol=1e-5, atol=1e-5):
            raise SystemExit(f"{name} gives another answer than InferenceSession.run")


def measure_load(saved: Saved, seconds: float) -> Times:
    """Time loading with the first predict of one row, which needs the session."""
    import mlflow.pyfunc

    from hybridmodel import load_model

    row = np.zeros((1, FEATURES), np.float32)
    calls: dict[str, Call] = {
        "native": lambda: load_model(saved.hybrid).predict(row),
        "pyfunc": lambda: mlflow.pyfunc.load_model(saved.hybrid).predict(row),
        "mlflow": lambda: mlflow.pyfunc.load_model(saved.mlflow).predict(row),
    }
    # A session that waits for the collector would make the next one pay for fresh memory.
    return take_turns(calls, total_s=seconds, turn_s=0, between=gc.collect)


def measure_memory(saved: Saved) -> dict[str, Any]:
    """See what a prediction of the largest size copies and allocates."""
    from hybridmodel import load_model

    model = load_model(saved.hybrid)
    ready = np.random.default_rng(1).normal(size=(max(ROWS), FEATURES)).astype(np.float32)
    frame = as_input(ready, "frame f8")
    with recorded_feeds(model) as feeds:
        model.predict(ready)
    return {
        "array_is_fed_as_it_is": feeds[0] is ready or np.shares_memory(feeds[0], ready),
        "array_peak_bytes": peak_bytes(lambda: model.predict(ready)),
        "frame_peak_bytes": peak_bytes(lambda: model.predict(frame)),
        "matrix_bytes": max(ROWS) * FEATURES * FLOAT32_BYTES,
        "answer_bytes": max(ROWS) * FLOAT32_BYTES,
    }


def predict_aims(cells: list[Cell]) -> Iterator[Aim]:
    """Judge the costs of a call."""
    by_case = {(cell.rows, cell.kind): cell.times for cell in cells}
    for rows, kind, name, most in (
        (1, "ndarray f4", "native", 15),
        (1, "frame f8", "native", 60),
        (1, "frame f8", "pyfunc", 120),
    ):
        over = difference_us(by_case[rows, kind], name, "run")
        text = f"{name}, {kind}, 1 row: at most {most} µs over run"
        yield Aim(text, f"{over:.1f} µs", over <= most)
    more = ratio(by_case[100_000, "ndarray f4"], "native", "run") - 1
    text = "native, ndarray f4, 100,000 rows: at most 3 % over run"
    yield Aim(text, f"{more:+.1%}", more <= 0.03)
    for name in OURS:
        ratios = {cell.name: ratio(cell.times, name, "mlflow") for cell in cells}
        worst = max(ratios, key=ratios.__getitem__)
        slower = [cell for cell, value in ratios.items() if value >= 1]
        text = f"{name} faster than mlflow.onnx's pyfunc in each of {len(cells)} cells"
        found = f"slowest is {worst} with {ratios[worst]:.2f} of its time"
        yield Aim(text, found + (f"; slower in {', '.join(slower)}" if slower else ""), not slower)


def load_aims(loads: dict[str, Times]) -> Iterator[Aim]:
    """Judge loading."""
    for size, times in loads.items():
        for name in OURS:
            share = ratio(times, name, "mlflow")
            text = f"{name}, load and first row of {size}: not slower than mlflow.onnx's pyfunc"
            yield Aim(text, f"{share:.2f} of its time", share <= 1)


def memory_aims(memory: dict[str, Any]) -> Iterator[Aim]:
    """Judge copies."""
    peak, allowed = memory["array_peak_bytes"], memory["answer_bytes"] + SLACK_BYTES
    shared = "is" if memory["array_is_fed_as_it_is"] else "is NOT"
    yield Aim(
        "float32 C-ordered array: nothing is copied before onnxruntime",
        f"the caller's memory {shared} what onnxruntime gets, {peak / 1e6:.2f} MB at the peak",
        bool(memory["array_is_fed_as_it_is"]) and peak <= allowed,
    )
    peak = memory["frame_peak_bytes"]
    matrices = peak / memory["matrix_bytes"]
    yield Aim(
        "float64 frame: is converted once",
        f"{matrices:.2f} float32 matrices at the peak",
        peak <= memory["matrix_bytes"] + allowed,
    )


def ratios(cells: list[Cell], loads: dict[str, Times]) -> Iterator[Ratio]:
    """Compare with MLflow's own flavor, both as pyfunc."""
    for cell in cells:
        if cell.kind != "frame f4":
            yield Ratio(f"local, {cell.name}", MLFLOW, ratio(cell.times, "pyfunc", "mlflow"))
    for size, times in loads.items():
        yield Ratio(f"loading {size}", MLFLOW, ratio(times, "pyfunc", "mlflow"))


def show_predict(results: Results, cells: list[Cell]) -> None:
    """Show the costs of a call."""
    head = ["rows", "input", "run µs", "native µs", "pyfunc µs", "mlflow µs"]
    head += ["native-run", "pyfunc-run", "mlflow-run", "native/mlflow", "pyfunc/mlflow"]
    rows = [
        [
            f"{cell.rows:,}",
            cell.kind,
            *(f"{median_us(cell.times, name):.1f}" for name in ("run", *OURS, "mlflow")),
            *(
                f"{difference_us(cell.times, name, 'run'):+.1f} ±"
                f"{spread_us(cell.times, name, 'run'):.1f}"
                for name in (*OURS, "mlflow")
            ),
            *(f"{ratio(cell.times, name, 'mlflow'):.2f}" for name in OURS),
        ]
        for cell in cells
    ]
    results.show(f"One call of {FEATURES} columns, medians; ± half of the middle half", head, rows)


def show_load(results: Results, loads: dict[str, Times]) -> None:
    """Show what loading takes."""
    rows = [
        [
            size,
            *(f"{median_us(times, name) / 1e3:.1f}" for name in (*OURS, "mlflow")),
            *(f"{ratio(times, name, 'mlflow'):.2f}" for name in OURS),
        ]
        for size, times in loads.items()
    ]
    head = ["file", "native ms", "pyfunc ms", "mlflow ms", "native/mlflow", "pyfunc/mlflow"]
    results.show("Loading, with the first row predicted", head, rows)


def as_json(cells: list[Cell], loads: dict[str, Times], memory: dict[str, Any]) -> dict[str, Any]:
    """Return everything measured, times as medians in µs."""
    return {
        "predict": [
            {
                "rows": cell.rows,
                "input": cell.kind,
                "median_us": {name: median_us(cell.times, name) for name in cell.times},
                "over_run_us": {
                    name: difference_us(cell.times, name, "run") for name in (*OURS, "mlflow")
                },
                "of_mlflow": {name: ratio(cell.times, name, "mlflow") for name in OURS},
                "rounds": len(cell.times["run"]),
            }
            for cell in cells
        ],
        "load": {
            size: {name: median_us(times, name) for name in times} for size, times in loads.items()
        },
        "memory": memory,
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, more noise")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the costs of a call")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    parser.add_argument(
        "--threads", type=int, default=1, help="of each session; 0 leaves it to onnxruntime"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
