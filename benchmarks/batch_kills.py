"""Jobs over files killed at random moments, and resumed: are they what undisturbed ones are?

    python benchmarks/batch_kills.py [--quick] [--jobs 50] [--json FILE] [--plot FILE.png]

Needs the ``dev`` extra and a POSIX system. Every run of a job is a process of its own, ended by
SIGKILL at a random moment of its work, once to three times; then it goes on to its end. The
endpoint is the embedded server, in this process, with a larger model. ``--plot`` is ignored.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _batch_data import classifier, rows_file
from _measure import Aim, machine, report
from _results import Results

PACKAGES = ("hybridmodel", "numpy", "pyarrow", "onnxruntime")
LOCAL, REMOTE, CASCADE, BUDGET = "local", "remote", "cascade", "budget of 5 %"
OUTPUTS = {LOCAL: ("o.parquet", "o.csv", "o"), REMOTE: ("o.parquet", "o")}
PART_ROWS = 1 << 13
ROWS, FEWER = 200_000, 100_000
MOST_KILLS = 3
GOES_ON = "goes on\n"


def work(kind: str, rows: str, output: str, model: str, uri: str) -> None:
    """Run a job in this process, which is a child of the benchmark."""
    from hybridmodel import HybridOnnxModel, TritonEndpoint
    from hybridmodel.batch import parts, predict_files
    from hybridmodel.routing import Budget, Cascade

    parts.PART_ROWS = PART_ROWS
    modes: dict[str, Any] = {
        LOCAL: "local",
        REMOTE: "azure",
        CASCADE: Cascade(threshold=0.02, on_unavailable="raise"),
        BUDGET: Budget(share=0.05),
    }
    endpoint = TritonEndpoint(uri=uri, model_name="large", auth_key_env=None, max_batch_size=1000)
    print("begins", flush=True)
    with HybridOnnxModel(model, endpoint=endpoint) as made:
        done = predict_files(
            made,
            rows,
            output,
            mode=modes[kind],
            keep=["id"],
            provenance=kind in (CASCADE, BUDGET),
            resume=True,
            progress=lambda *_: print("goes on", flush=True),
        )
    print(json.dumps(done.to_dict()))


@dataclass
class Job:
    """What became of one job."""

    kind: str
    output: str
    kills: list[str] = field(default_factory=list)
    done: dict[str, Any] = field(default_factory=dict)
    identical: bool = False


@dataclass
class Bench:
    """Where jobs run."""

    folder: Path
    rows: Path
    model: Path
    uri: str
    draw: random.Random
    expected: dict[tuple[str, str], tuple[Any, int, float]] = field(default_factory=dict)

    def undisturbed(self, kind: str, output: str) -> tuple[Any, int, float]:
        """Return what a job writes that nobody kills, its steps, and the seconds of one."""
        if (kind, output) not in self.expected:
            path = self.folder / f"undisturbed {kind}" / output
            path.parent.mkdir(exist_ok=True)
            with self.started(kind, path) as process:
                started = time.perf_counter()
                steps = 0
                while process.stdout.readline() == GOES_ON:
                    steps += 1
                _, told = process.communicate()
            if process.returncode:
                raise SystemExit(told)
            step_s = (time.perf_counter() - started) / steps
            self.expected[kind, output] = read(path), steps, step_s
        return self.expected[kind, output]

    def killed(self, number: int, kind: str, output: str) -> Job:
        """Kill a job at random moments, let it go on to its end, and compare."""
        expected, steps, step_s = self.undisturbed(kind, output)
        job = Job(kind, output)
        path = self.folder / str(number) / output
        path.parent.mkdir()
        left = steps
        for _ in range(self.draw.randint(1, MOST_KILLS)):
            with self.started(kind, path) as process:
                wanted = self.draw.randint(0, left)
                seen = 0
                while seen < wanted and process.stdout.readline() == GOES_ON:
                    seen += 1
                time.sleep(self.draw.uniform(0, 2 * step_s))
                process.send_signal(signal.SIGKILL)
                process.communicate()
            if process.returncode == -signal.SIGKILL:
                left = max(0, left - seen)
                job.kills.append(f"{steps - left} of {steps}")
        with self.started(kind, path) as process:
            job.done = finished(process)
        job.identical = same(read(path), expected)
        return job

    @contextmanager
    def started(self, kind: str, output: Path) -> Iterator[subprocess.Popen[str]]:
        """Start a run, and yield its process when it begins to work."""
        command = [sys.executable, __file__, "--work", kind, *map(str, (self.rows, output))]
        command += [str(self.model), self.uri]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            yield process


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the end of a run, and return what it says."""
    out, err = process.communicate()
    if process.returncode:
        raise SystemExit(err)
    return dict(json.loads(out.splitlines()[-1]))


def read(output: Path) -> Any:
    """Read what a job has written."""
    import pandas as pd

    if output.suffix == ".csv":
        return pd.read_csv(output)
    return pd.read_parquet(output)


def same(found: Any, expected: Any) -> bool:
    """Tell whether rows, order and values are the same, to the bit."""
    return bool(found.equals(expected))


def rows_of(kind: str, jobs: Sequence[Job]) -> list[str]:
    """Return a line of the table."""
    mine = [job for job in jobs if job.kind == kind]
    shares = [job.done["resumed"] / job.done["parts"] for job in mine]
    return [
        kind,
        f"{len(mine)}",
        f"{sum(len(job.kills) for job in mine)}",
        f"{min(shares):.0%} to {max(shares):.0%}",
        f"{sum(job.done['remote'] for job in mine):,}",
        f"{sum(job.done['resent'] for job in mine):,}",
        f"{sum(job.identical for job in mine)} of {len(mine)}",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill jobs, show the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="a few jobs only")
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args(arguments)
    if given.work:
        work(*given.work)
        return 0
    print(machine(*PACKAGES))
    results = Results("batch_kills", "Jobs that are killed go on", PACKAGES)
    jobs = measure(8 if given.quick else given.jobs, given.seed, quick=given.quick)
    kinds = (LOCAL, REMOTE, CASCADE, BUDGET)
    results.show(
        f"Jobs of {FEWER if given.quick else ROWS:,} rows in parts of {PART_ROWS:,}, each killed "
        f"at 1 to {MOST_KILLS} random moments and resumed",
        ("jobs", "number", "kills", "parts found done", "remote rows", "resent", "identical"),
        [rows_of(kind, jobs) for kind in kinds],
    )
    good = sum(job.identical for job in jobs)
    aims = [
        Aim(
            "killed jobs identical to undisturbed ones", f"{good} of {len(jobs)}", good == len(jobs)
        )
    ]
    if given.json:
        results.write(given.json, aims)
    return report(aims)


def measure(count: int, seed: int, *, quick: bool) -> list[Job]:
    """Run jobs of all kinds by turns."""
    from hybridmodel.serving import serve

    draw = random.Random(seed)
    kinds = (LOCAL, REMOTE, CASCADE, BUDGET)
    jobs = []
    with tempfile.TemporaryDirectory() as name, serve({"large": classifier((64,), 1)}) as server:
        folder = Path(name)
        (folder / "small.onnx").write_bytes(classifier((16,)))
        rows = rows_file(folder, FEWER if quick else ROWS, one_group=False)
        bench = Bench(folder, rows, folder / "small.onnx", server.uri, draw)
        for number in range(count):
            kind = kinds[number % len(kinds)]
            choice = OUTPUTS.get(kind, ("o.parquet", "o.csv"))
            job = bench.killed(number, kind, choice[number // len(kinds) % len(choice)])
            jobs.append(job)
            moments = ", ".join(job.kills) or "its end"
            told = "identical" if job.identical else "ANOTHER"
            print(
                f"{number:3} {kind:14} {job.output:10} killed after steps {moments}: {told}",
                flush=True,
            )
    return jobs


if __name__ == "__main__":
    sys.exit(main())
