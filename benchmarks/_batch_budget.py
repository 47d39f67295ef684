"""What a budget over files sends: rows, requests and cost, beside calls of `predict`.

    python benchmarks/_batch_budget.py                  about half a minute, offline
    python benchmarks/_batch_budget.py --rows 20000     less

``batch.py`` imports it. The endpoint is `hybridmodel.serving.serve` in the same process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Aim, machine, report, table
from _models import NAMES

FEATURES, CLASSES, ROWS, CALL_ROWS, SHARE = 30, 3, 200_000, 1_000, 0.05
FEWER, COST, PER_CALL, PER_ROW = 15, 50.0, 1.0, 0.01
HEAD = ("sent by", "data", "rows", "share", "requests", "rows a request", "seconds")


@dataclass(frozen=True)
class Sent:
    """What one way of asking has sent."""

    way: str
    data: str
    rows: int
    of: int
    requests: int
    seconds: float

    @property
    def share(self) -> float:
        """Of all rows."""
        return self.rows / self.of

    def cells(self) -> list[str]:
        """Return it as a row of a table."""
        each = self.rows / self.requests if self.requests else 0.0
        numbers = [f"{self.rows:,}", f"{self.share:.3%}", f"{self.requests:,}", f"{each:,.0f}"]
        return [self.way, self.data, *numbers, f"{self.seconds:.1f}"]


@dataclass(frozen=True)
class Budgets:
    """Everything that was sent, by name."""

    by_name: dict[str, Sent]

    def table(self) -> str:
        """Lay it out."""
        return table(HEAD, [sent.cells() for sent in self.by_name.values()])

    def aims(self) -> list[Aim]:
        """Hold it against its aims."""
        calls, files = self.by_name["calls"], self.by_name["files"]
        drifted, costly = self.by_name["drifted"], self.by_name["cost"]
        fewer = calls.requests / files.requests
        bill = costly.requests * PER_CALL + costly.rows * PER_ROW
        wanted = int(SHARE * files.of)
        return [
            Aim(
                f"at least {FEWER} times fewer requests than predict for each {CALL_ROWS:,} rows",
                f"{fewer:.0f} times, {files.requests} instead of {calls.requests}",
                fewer >= FEWER,
            ),
            Aim(
                f"{SHARE:.0%} of the rows, to the row, whatever the data drifted to",
                f"{files.rows} and, drifted, {drifted.rows} of {files.of}",
                files.rows == drifted.rows == wanted,
            ),
            Aim(
                f"a cost of {COST:g} used up to less than a request and a row, never exceeded",
                f"{bill:.2f}",
                COST - PER_CALL - PER_ROW < bill <= COST + 1e-9,
            ),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {name: asdict(sent) | {"share": sent.share} for name, sent in self.by_name.items()}


def measure(rows: int = ROWS) -> Budgets:
    """Send the least sure rows of a file in several ways, and count."""
    from hybridmodel import HybridOnnxModel
    from hybridmodel.routing import Budget, Cascade
    from hybridmodel.serving import serve

    usual = np.random.default_rng(0).normal(size=(rows, FEATURES)).astype(np.float32)
    shifted = np.float32(0.6) * usual + np.float32(0.1)
    budget, cost = Budget(SHARE), Budget(cost=COST, cost_per_call=PER_CALL, cost_per_row=PER_ROW)
    with tempfile.TemporaryDirectory() as folder, serve({"big": classifier(256, 1)}) as server:
        counted = _Counted(
            HybridOnnxModel(classifier(16, 0), endpoint=server.endpoint("big"), feature_names=NAMES)
        )
        files = [Path(folder) / name for name in ("usual.parquet", "drifted.parquet")]
        for file, values in zip(files, (usual, shifted), strict=True):
            write(file, values)
        scores = counted.model.infer(usual, mode=Budget(rows=0)).scores
        threshold = Cascade(threshold=float(np.quantile(scores, SHARE)))
        found = {
            "calls": counted.calls(usual, budget),
            "files": counted.files(files[0], budget, "as before"),
            "threshold": counted.files(files[0], threshold, "as before"),
            "drifted threshold": counted.files(files[1], threshold, "drifted"),
            "drifted": counted.files(files[1], budget, "drifted"),
            "cost": counted.files(files[0], cost, "as before"),
        }
        counted.model.close()
    return Budgets(found)


class _Counted:
    """A model, and what it sends."""

    def __init__(self, model: Any) -> None:
        self.model = model
        model.predict(np.zeros((1, FEATURES), np.float32), use_azure=True)

    def calls(self, values: Any, policy: Any) -> Sent:
        """Call `predict` for some rows at a time."""
        before, started = self._requests(), time.perf_counter()
        answers = [
            self.model.infer(values[at : at + CALL_ROWS], mode=policy)
            for at in range(0, len(values), CALL_ROWS)
        ]
        gone = sum(int((answer.routes == "azure").sum()) for answer in answers)
        seconds = time.perf_counter() - started
        way = f"predict, {CALL_ROWS:,} rows at a time"
        return Sent(way, "as before", gone, len(values), self._requests() - before, seconds)

    def files(self, file: Path, policy: Any, data: str) -> Sent:
        """Predict for a file."""
        from hybridmodel.batch import predict_files

        before, target = self._requests(), file.with_suffix(".out.parquet")
        done = predict_files(self.model, file, target, mode=policy, overwrite=True)
        limit = "cost" if getattr(policy, "cost", None) is not None else policy.mode
        way = f"predict_files, {'a threshold' if limit == 'cascade' else limit}"
        return Sent(way, data, done.remote, done.rows, self._requests() - before, done.elapsed_s)

    def _requests(self) -> int:
        return int(self.model.stats().get("azure.requests", 0))


def write(file: Path, values: Any) -> None:
    """Write rows to a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet

    made = pa.table(dict(zip(NAMES, values.T.copy(), strict=True)))
    pyarrow.parquet.write_table(made, file, compression="zstd", row_group_size=1 << 16)


def classifier(width: int, seed: int) -> bytes:
    """Make a perceptron that gives the probabilities of some classes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(seed)
    sizes = [(FEATURES, width), (width, CLASSES)]
    weights = [random.normal(0, 1.5 * rows**-0.5, (rows, columns)) for rows, columns in sizes]
    constants = [
        numpy_helper.from_array(values.astype(np.float32), f"w{number}")
        for number, values in enumerate(weights)
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["dense"]),
        helper.make_node("Relu", ["dense"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "w1"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in (("x", FEATURES), ("probabilities", CLASSES))
    ]
    graph = helper.make_graph(nodes, "classifier", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    rows = parser.parse_args().rows
    print(machine("hybridmodel", "numpy", "onnxruntime", "pyarrow"))
    found = measure(rows)
    print(f"\n{found.table()}")
    return report(found.aims())


if __name__ == "__main__":
    sys.exit(main())
