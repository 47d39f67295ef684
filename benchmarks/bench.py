"""Run benchmarks, keep what they find, and make the page of it: what `make bench` does.

    python benchmarks/bench.py                  all of them, and docs/benchmarks anew
    python benchmarks/bench.py local batch      these, and the page with the others as they were
    python benchmarks/bench.py local --quick --log      to the MLflow run, and not into docs

Ends with status 1 when an aim is not met, after all have run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import page

HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, keep, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[[], *page.NAMES], metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="less of everything, more noise")
    parser.add_argument("--large", action="store_true", help="batch with 20 M rows as well")
    parser.add_argument("--log", action="store_true", help="log to MLflow; docs stay as they are")
    given = parser.parse_args(arguments)
    names = given.names or page.NAMES
    if not given.log:
        missed = run(names, page.DOCS, given)
        page.main([])
        return missed
    import mlflow

    with mlflow.start_run(), tempfile.TemporaryDirectory() as folder:
        missed = run(names, Path(folder), given)
        mlflow.log_artifacts(folder)
        mlflow.log_metric("aims_missed_in", missed)
    return 0


def run(names: Sequence[str], folder: Path, given: argparse.Namespace) -> int:
    """Run some benchmarks, each in a process of its own; return how many missed an aim."""
    missed = 0
    for name in names:
        print(f"\n== {name}\n", flush=True)
        (folder / "results").mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(HERE / f"{name}.py"), *["--quick"] * given.quick]
        command += ["--large"] * (given.large and name == "batch")
        command += ["--json", str(folder / "results" / f"{name}.json")]
        command += ["--plot", str(folder / f"{name}.png")]
        missed += bool(subprocess.run(command, check=False).returncode)
    return missed


if __name__ == "__main__":
    sys.exit(main())
