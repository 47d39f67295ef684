"""Files of any size: beside polars with onnxruntime, and beside what an endpoint can do.

    python benchmarks/batch.py [--quick] [--large] [--plot FILE.png] [--json FILE]

Needs the ``dev`` extra, Linux, and x86-64 for the real Triton. 2 M rows of an id and 30 float32 in
zstd Parquet become the id and 3 probabilities; the model is a small perceptron. Every contestant is
a process of its own, from its start to its end: processor time and wall time with all children,
memory as the sum over the tree. ``--large`` adds 20 M rows (3.5 GB of disk, several minutes).
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _batch_budget import measure as measure_budget
from _batch_data import classifier, rows_file
from _batch_found import OURS, POLARS, PROGRAMS, TWO, Found, as_json, plot, show
from _batch_remote import PROGRAM, measure_remote
from _measure import Aim, machine, report
from _models import NAMES
from _processes import Taken, taken
from _results import Results

PACKAGES = ("hybridmodel", "numpy", "pyarrow", "onnxruntime", "polars", "tritonclient")
ROWS, LARGE = 2_000_000, 20_000_000
MOST_MB, ALIKE, DURABLE, NEAR = 300, 0.10, 0.05, 0.95
SMALL_READ_BYTES = 1 << 18
SEEN_PARTS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, show, and return the exit status."""
    options = _options(arguments)
    results = Results("batch", "Files of any size", PACKAGES)
    print(machine(*PACKAGES), flush=True)
    found = Found()
    rows = ROWS // 10 if options.quick else ROWS
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save(folder)
        measure_pairs(found, folder, rows, 3 if options.quick else 7)
        measure_memory(found, folder, [rows, *[LARGE] * options.large])
        measure_durability(found, folder, rows, 3 if options.quick else 9)
        found.resume = measure_resume(folder, rows)
        found.identity = measure_identity(folder)
    found.remote = measure_remote(rows // 4, 3, 0.5 if options.quick else 2.0)
    found.budget = measure_budget(rows // 10)
    show(results, found, rows)
    if options.plot:
        plot(found, options.plot)
    judged = list(aims(found))
    if options.json:
        results.write(options.json, judged, as_json(found), [options.plot])
    return report(judged)


def save(folder: Path) -> None:
    """Write the model as a file, and as a saved model that knows its columns."""
    from hybridmodel import HybridOnnxModel, save_model

    (folder / "model.onnx").write_bytes(classifier((64, 32)))
    model = HybridOnnxModel(folder / "model.onnx", feature_names=NAMES)
    save_model(model, folder / "model", pip_requirements=["onnxruntime"])


def run(name: str, folder: Path, file: Path) -> Taken:
    """Let one contestant score a file."""
    model = folder / ("model.onnx" if name == "polars" else "model")
    output = folder / f"{name}.parquet"
    return taken([sys.executable, PROGRAM, name, str(model), str(file), str(output)])


def measure_pairs(found: Found, folder: Path, rows: int, turns: int) -> None:
    """Let all score the same file by turns, each turn in another order."""
    file = rows_file(folder, rows, one_group=False)
    run("ours", folder, file)  # The system's cache has the file from now on.
    found.pairs = {name: [] for name in PROGRAMS}
    for turn in range(turns):
        names = list(PROGRAMS)
        for name in names[turn % 3 :] + names[: turn % 3]:
            found.pairs[name].append(run(PROGRAMS[name], folder, file))
    check_same(folder)


def check_same(folder: Path) -> None:
    """Stop if one contestant has written something else than the others."""
    import pyarrow.parquet as pq

    theirs, *others = (pq.read_table(folder / f"{name}.parquet") for name in PROGRAMS.values())
    for ours in others:
        for name in theirs.column_names:
            if not np.allclose(theirs[name], ours[name], rtol=1e-5, atol=1e-6):
                raise SystemExit(f"{name} differs between the contestants")


def measure_memory(found: Found, folder: Path, sizes: Sequence[int]) -> None:
    """See what a file of many row groups and of one takes in memory."""
    for rows in sizes:
        for groups in ("many", "one"):
            file = rows_file(folder, rows, one_group=groups == "one")
            for name in (POLARS, OURS):
                found.memory[rows, groups, name] = run(PROGRAMS[name], folder, file).peak_bytes
            if rows == LARGE:
                file.unlink()


def measure_durability(found: Found, folder: Path, rows: int, turns: int) -> None:
    """See how much longer it takes that each part is on the disk before the next."""
    file = rows_file(folder, rows, one_group=False)
    for turn in range(turns):
        names = ("two", "unsynced")[:: 1 if turn % 2 else -1]
        walls = {name: run(name, folder, file).wall_s for name in names}
        found.durable.append(1 - walls["unsynced"] / walls["two"])


def measure_resume(folder: Path, rows: int) -> dict[str, Any]:
    """Kill a job when some parts are on the disk, go on, and compare with an undisturbed one."""
    from hybridmodel.batch import predict_files

    file, output = rows_file(folder, rows, one_group=False), folder / "resumed.parquet"
    options = "keep=['id'], workers=1, resume=True"
    code = (
        "import sys; from hybridmodel.batch import predict_files; "
        f"predict_files(*sys.argv[1:], {options})"
    )
    command = [sys.executable, "-c", code, str(folder / "model"), str(file), str(output)]
    job = subprocess.Popen(command)
    while job.poll() is None and parts_there(folder) < SEEN_PARTS:
        time.sleep(0.002)
    there = parts_there(folder)
    job.send_signal(signal.SIGKILL)
    job.wait()
    done = predict_files(folder / "model", file, output, keep=["id"], workers=1, resume=True)
    import pyarrow.parquet as pq

    run("one", folder, file)
    same = pq.read_table(output).equals(pq.read_table(folder / "one.parquet"))
    return {"parts": done.parts, "there": there, "resumed": done.resumed, "same": same}


def parts_there(folder: Path) -> int:
    """Count the finished parts of the job that writes into a folder."""
    logs = [path.read_bytes() for path in folder.glob(".resumed*/manifest")]
    return sum(log.count(b'"kind":"part"') for log in logs)


def measure_identity(folder: Path) -> dict[str, Any]:
    """See what is read of each of many files to know them again."""
    many = folder / "many"
    many.mkdir()
    file = rows_file(folder, 100_000, one_group=False)
    for number in range(50):
        (many / f"{number}.parquet").hardlink_to(file)
    found = json.loads(run("identity", folder, many).printed)
    return {**found, "file_bytes": file.stat().st_size}


def aims(found: Found) -> Iterator[Aim]:
    """Hold everything against the aims."""
    cpu, wall = found.ratio(OURS, "cpu_s"), found.ratio(TWO, "wall_s")
    yield Aim("processor time at most that of polars", f"{cpu:.2f} of it", cpu <= 1)
    yield Aim("wall time with two workers at most that of polars", f"{wall:.2f} of it", wall <= 1)
    share = float(np.median(found.durable))
    text = f"durable parts take at most {DURABLE:.0%} of the time, beside a disk without fsync"
    yield Aim(text, f"{share:.1%}", share <= DURABLE)
    peaks = [peak / 1e6 for (_, _, name), peak in found.memory.items() if name == OURS]
    sizes = ", ".join(f"{size:,}" for size in dict.fromkeys(size for size, *_ in found.memory))
    text = f"memory below {MOST_MB} MB ({sizes} rows, many row groups and one)"
    yield Aim(text, f"{min(peaks):.0f} to {max(peaks):.0f} MB", max(peaks) < MOST_MB)
    apart = max(peaks) / min(peaks) - 1
    yield Aim(f"memory within {ALIKE:.0%} of each other", f"{apart:.0%}", apart <= ALIKE)
    again = found.resume["there"] - found.resume["resumed"]
    text = "a killed job repeats at most one part for each worker, and gives the same file"
    measured = "{resumed} of {there} parts that were there are kept, same: {same}"
    met = again <= 1 and found.resume["same"] and found.resume["there"] > 0
    yield Aim(text, measured.format(**found.resume), met)
    each = found.identity["bytes_each"]
    text = f"to know a file again, one small read ({SMALL_READ_BYTES // 1024} KiB at most)"
    yield Aim(
        text,
        f"{each / 1024:.0f} KiB of {found.identity['file_bytes'] / 1024:,.0f} KiB",
        each <= SMALL_READ_BYTES,
    )
    if found.remote is not None:
        text = f"remote: at least {NEAR} of the endpoint's capacity"
        yield Aim(text, f"{found.remote.share:.2f} of it", found.remote.share >= NEAR)
    if found.budget is not None:
        yield from found.budget.aims()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, more noise")
    parser.add_argument("--large", action="store_true", help=f"memory with {LARGE:,} rows too")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the contestants")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
