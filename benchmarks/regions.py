"""Two endpoints in order under many callers, while the first is killed, frozen and revived.

    python benchmarks/regions.py [--quick] [--json FILE] [--plot FILE.png]

Needs the ``dev`` extra and a POSIX system. Each endpoint is the embedded server in a process of its
own; a kill is SIGKILL, and frozen is SIGSTOP. ``--plot`` is ignored.
"""

from __future__ import annotations

import argparse
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Aim, machine, report
from _results import Results
from _server import FEATURES, make_model

PACKAGES = ("hybridmodel", "numpy", "onnxruntime")
CALLERS, CALLS, FEWER = 16, 2_000, 400
TIMEOUT_S, RESET_S, SHORT_RESET_S = 6.0, 2.0, 0.25
PAUSE_S = 0.05
"""Between two calls of a caller at the random kills, so that the calls last longer than they."""

SETTLE_S = 0.25
"""How much later than the breaker's time the first answer may come: a call, on a busy machine."""

X = np.linspace(-1, 1, FEATURES, dtype=np.float32).reshape(1, FEATURES)


def serve(port: int) -> None:
    """Serve in this process, which is a child of the benchmark, until it is killed."""
    from hybridmodel.serving import serve

    with serve({"m": make_model("linear")}, port=port):
        print("ready", flush=True)
        threading.Event().wait()


@dataclass
class Region:
    """An endpoint on this machine, and the process that it is."""

    port: int
    process: Any = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, __file__, "--serve", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise SystemExit("the server did not start")

    def kill(self) -> None:
        """End it at once, wherever it is."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def freeze(self) -> None:
        """Let it accept connections and answer nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def endpoint(self, reset_s: float) -> Any:
        """Describe it, with the time for which its breaker leaves it alone."""
        from hybridmodel import TritonEndpoint

        return TritonEndpoint(
            uri=f"http://127.0.0.1:{self.port}",
            model_name="m",
            auth_key_env=None,
            timeout_s=TIMEOUT_S,
            breaker_reset_s=reset_s,
        )


@dataclass
class Found:
    """What became of the calls of one case."""

    calls: int
    took_s: list[float] = field(default_factory=list)
    by: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    wrong: int = 0
    back_s: float = float("nan")

    def row(self, case: str) -> tuple[str, ...]:
        """Return the line of a table."""
        return (
            case,
            f"{CASES[case][1]:g} s",
            f"{self.calls:,}",
            f"{len(self.lost) + self.wrong}",
            f"{self.by[0]:,} / {self.by[1]:,}",
            f"{statistics.median(self.took_s) * 1e3:.1f} ms",
            f"{max(self.took_s):.2f} s",
            f"{self.back_s:.2f} s",
        )


class Load:
    """Callers who ask one model at a time; `at` has what happens before a call of some number."""

    def __init__(
        self, model: Any, calls: int, at: dict[int, Callable[[], None]], pause_s: float = 0.0
    ) -> None:
        self._model, self._at, self._pause_s = model, at, pause_s
        self._urls = [item.model_url for item in model.endpoints]
        self._expected = model.predict(X)
        self.found = Found(calls)
        self._changed = threading.Lock()

    def run(self) -> None:
        """Make all calls."""
        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(self._call, range(self.found.calls)))

    def come_back(self) -> None:
        """Ask until the first endpoint answers again, and note after how long."""
        started = time.monotonic()
        while time.monotonic() - started < 10 * RESET_S:
            if self._model.infer(X, use_azure=True).endpoint == self._urls[0]:
                self.found.back_s = time.monotonic() - started
                return
            time.sleep(0.01)

    def _call(self, number: int) -> None:
        time.sleep(self._pause_s)
        happens = self._at.get(number)
        if happens is not None:
            threading.Thread(target=happens, daemon=True).start()
        started = time.monotonic()
        try:
            answer = self._model.infer(X, use_azure=True)
        except Exception as error:  # noqa: BLE001 - a lost call, whatever lost it
            with self._changed:
                self.found.lost.append(repr(error))
            return
        finally:
            took_s = time.monotonic() - started
            with self._changed:
                self.found.took_s.append(took_s)
        good = np.allclose(answer.outputs["y"], self._expected, atol=1e-5)
        with self._changed:
            self.found.by[self._urls.index(answer.endpoint)] += 1
            self.found.wrong += not good


def killed(first: Region, model: Any, calls: int) -> Found:
    """Kill it after a quarter of the calls; it comes back after all of them."""
    load = Load(model, calls, {calls // 4: first.kill})
    load.run()
    first.start()
    load.come_back()
    return load.found


def frozen(first: Region, model: Any, calls: int) -> Found:
    """Freeze it instead, so that nothing is refused."""
    load = Load(model, calls, {calls // 4: first.freeze})
    load.run()
    first.thaw()
    load.come_back()
    return load.found


def at_random(first: Region, model: Any, calls: int) -> Found:
    """Kill and revive it at random, for as long as the calls take."""
    load, ended, draw = Load(model, calls, {}, PAUSE_S), threading.Event(), random.Random(13)

    def disturb() -> None:
        while not ended.wait(draw.uniform(0.0, 1.5)):
            first.kill()
            first.start()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        load.run()
    finally:
        ended.set()
        thread.join()
    load.come_back()
    return load.found


CASES = {
    "killed under load": (killed, RESET_S),
    "frozen under load": (frozen, RESET_S),
    "killed and revived at random": (at_random, SHORT_RESET_S),
}


@contextmanager
def regions() -> Iterator[list[Region]]:
    """Start both endpoints."""
    started: list[Region] = []
    try:
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as free:
                started.append(Region(free.getsockname()[1]))
            started[-1].start()
        yield started
    finally:
        for region in started:
            if region.process.poll() is None:
                region.kill()


def measure(calls: int) -> dict[str, Found]:
    """Run every case on servers and a model of its own."""
    from hybridmodel import HybridOnnxModel

    found = {}
    for case, (run, reset_s) in CASES.items():
        with regions() as there:
            endpoints = [region.endpoint(reset_s) for region in there]
            with HybridOnnxModel(make_model("linear"), endpoint=endpoints) as model:
                found[case] = run(there[0], model, calls)
        for error in sorted(set(found[case].lost))[:3]:
            print(f"{case}: lost by {error}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report, and return 1 if an aim is not met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.serve is not None:
        serve(given.serve)
    print(machine(*PACKAGES))
    results = Results("regions", "Two endpoints in order, of which the first fails", PACKAGES)
    calls = FEWER if given.quick else CALLS
    found = measure(calls)
    results.show(
        f"{CALLERS} callers, {TIMEOUT_S:g} s for a call",
        (
            "first endpoint",
            "breaker",
            "calls",
            "lost",
            "first / second",
            "median",
            "slowest",
            "back after",
        ),
        [each.row(case) for case, each in found.items()],
    )
    aims = list(judged(found))
    if given.json:
        results.write(given.json, aims)
    return report(aims)


def judged(found: dict[str, Found]) -> Iterator[Aim]:
    """Compare what was found with the aims."""
    for case, each in found.items():
        lost, reset_s = len(each.lost) + each.wrong, CASES[case][1]
        yield Aim(f"{case}: calls lost, of {each.calls:,}", f"{lost}", lost == 0)
        slowest_s = max(each.took_s)
        yield Aim(
            f"{case}: slowest call, of {TIMEOUT_S:g} s", f"{slowest_s:.2f} s", slowest_s < TIMEOUT_S
        )
        yield Aim(
            f"{case}: back at the first within the breaker's {reset_s:g} s",
            f"{each.back_s:.2f} s",
            each.back_s <= reset_s + SETTLE_S,
        )


if __name__ == "__main__":
    sys.exit(main())
