"""The contestants of ``batch.py``, each run as a process of its own: PROGRAM MODEL ROWS OUTPUT.

``ours`` and its kin print a line of JSON at the end.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def polars(model: str, rows: str, output: str) -> None:
    """Scan, run onnxruntime on one thread in `map_batches`, sink: as fast as it is known to go."""
    import onnxruntime
    import polars as pl

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [f"y_{number}" for number in range(3)]

    def score(frame: pl.DataFrame) -> pl.DataFrame:
        (found,) = session.run(None, {"x": frame.drop("id").to_numpy(order="c")})
        return pl.DataFrame(found, schema=names).insert_column(0, frame["id"])

    schema = {"id": pl.Int64, **dict.fromkeys(names, pl.Float32)}
    scanned = pl.scan_parquet(rows).map_batches(score, schema=schema, streamable=True)
    scanned.sink_parquet(output, compression="zstd", compression_level=1)


def ours(model: str, rows: str, output: str, **options: Any) -> None:
    """Call `predict_files`."""
    from hybridmodel.batch import predict_files

    done = predict_files(model, rows, output, keep=["id"], overwrite=True, **options)
    print(json.dumps(done.to_dict()))


def one(model: str, rows: str, output: str) -> None:
    """One worker."""
    ours(model, rows, output, workers=1)


def two(model: str, rows: str, output: str) -> None:
    """Two workers."""
    ours(model, rows, output, workers=2)


def unsynced(model: str, rows: str, output: str) -> None:
    """Two workers, on a disk that is asked for nothing to be durable."""
    from hybridmodel.batch import durable

    class Fsync:
        def __getattr__(self, name: str) -> Any:
            return (lambda _: None) if name == "fsync" else getattr(os, name)

    durable.os = Fsync()  # type: ignore[assignment]
    ours(model, rows, output, workers=2)


def remote(model: str, rows: str, output: str) -> None:
    """Ask the endpoint of a saved model."""
    ours(model, rows, output, use_azure=True)


def identity(_: str, rows: str, __: str) -> None:
    """Look at each file of a folder as a resumed job does; print the bytes read for each."""
    from hybridmodel.batch.fingerprint import look
    from hybridmodel.batch.inputs import find

    files = find(rows)
    before = _bytes_read()
    for file in files:
        look(file)
    print(json.dumps({"files": len(files), "bytes_each": (_bytes_read() - before) / len(files)}))


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


PROGRAMS = {item.__name__: item for item in (polars, ours, one, two, unsynced, remote, identity)}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
