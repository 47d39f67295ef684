"""Vectors of texts from one server, by our client and by OpenAI's, each in a process of its own.

    python benchmarks/embeddings.py [--quick] [--json FILE] [--plot FILE.png]

Needs a POSIX system, and pip the first time: OpenAI's client gets an environment of its own. The
server has its answers ready, so that what is measured is the clients. Each returns what it returns
by default: ours an array, OpenAI's a list of lists. ``--plot`` is ignored.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Aim, machine, report
from _results import Ratio, Results

PACKAGES = ("hybridmodel", "numpy")
OPENAI = ("openai>=3,<4", "numpy")
CASES = ((1, 1024), (100, 1024), (1000, 1024), (2000, 384))
FORMS = ("base64", "float")
TURNS, FEWER = 40, 9
AIM = 0.8

_WORKER = Path(__file__).with_name("_embeddings_worker.py")


@dataclass
class Worker:
    """A process that makes one call when it is told."""

    process: subprocess.Popen[str]

    def seconds(self) -> float:
        """Let it make a call, and return how long that took."""
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)
        return float(self.line())

    def line(self) -> str:
        """Return what it says next."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if not said:
            raise SystemExit("a process of the benchmark has ended")
        return said.strip()


@contextmanager
def worker(python: str, *arguments: object) -> Iterator[Worker]:
    """Run a process of the benchmark until the end of the block."""
    process = subprocess.Popen(
        [python, str(_WORKER), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.communicate()


def measure(openai: str, texts: int, width: int, form: str, turns: int) -> Any:
    """Return the seconds of both clients, turn by turn: shape (turns, 2), ours first."""
    with ExitStack() as stack:
        server = stack.enter_context(worker(sys.executable, "server", texts, width))
        uri = f"http://127.0.0.1:{server.line()}/v1"
        clients = [
            stack.enter_context(worker(python, name, uri, texts, width, form))
            for name, python in (("ours", sys.executable), ("openai", openai))
        ]
        for client in clients:
            client.line()
        return np.array([[client.seconds() for client in clients] for _ in range(turns)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report, and return 1 if the aim is not met."""
    from hybridmodel.serving.environments import environment

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot")
    given = parser.parse_args(arguments)
    print(machine(*PACKAGES))
    python = str(environment("openai", OPENAI) / "bin" / "python")
    results = Results("embeddings", "Vectors of texts, beside OpenAI's client", PACKAGES)
    rows, ratios = [], {}
    for texts, width in CASES:
        for form in FORMS:
            # Lists of numbers take seconds, and no aim is about them.
            turns = FEWER if given.quick or form == "float" else TURNS
            took = measure(python, texts, width, form, turns)
            ratio = float(np.median(took[:, 0] / took[:, 1]))
            ratios[texts, width, form] = ratio
            ours, theirs = np.median(took, axis=0) * 1e3
            what = f"{texts:,} texts x {width:,} floats, {form}"
            rows.append([what, f"{ours:.1f} ms", f"{theirs:.1f} ms", f"{ratio:.2f}"])
            results.ratios.append(Ratio(f"embeddings, {what}", "openai", ratio))
    results.show(
        "One call, medians, and the median of the ratios within a turn",
        ("answer", "ours", "openai", "of theirs"),
        rows,
    )
    version = subprocess.run(
        [python, "-c", "import openai; print(openai.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    results.note(f"openai {version.stdout.strip()}; the server has its answers ready")
    found = ratios[1000, 1024, "base64"]
    aims = [
        Aim(
            f"1,000 texts x 1,024 floats: at most {AIM:g} of the time of OpenAI's client",
            f"{found:.2f}",
            found <= AIM,
        )
    ]
    if given.json:
        results.write(given.json, aims)
    return report(aims)


if __name__ == "__main__":
    sys.exit(main())
