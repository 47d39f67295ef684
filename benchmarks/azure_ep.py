"""Our drop-in for the Azure execution provider beside the original, against a real Triton server.

    python benchmarks/azure_ep.py [--quick] [--plot FILE.png] [--json FILE]

Needs the ``dev`` extra, Linux x86-64 and Python 3.11, for the last wheel of the original. Both are
called as ``session.run(["y"], {"x": array}, run_options)``, by turns in one run; the original (C++)
in a process and environment of its own, which times itself. How many connections either opens is
counted by a relay between it and the server, which is not there while times are taken.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from _azure_ep import arrays_of
from _clients import AZURE_EP, AzureEp, Case
from _measure import Aim, Call, Times, machine, median_us, ratio, report, take_turns
from _results import Ratio, Results
from _server import FEATURES, Bench, bench, server_name

OURS, ORIGINAL = "ours", "original"
CASES = tuple(
    Case(f"{rows:,} x {FEATURES}", "linear", (rows, FEATURES), (rows, 1))
    for rows in (1, 100, 10_000)
)
CALLS = 100
PACKAGES = ("hybridmodel", "numpy", "onnxruntime")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    options = _options(arguments)
    os.environ["NO_PROXY"] = "127.0.0.1"
    results = Results("azure_ep", "The drop-in beside the original", PACKAGES)
    print(machine(*PACKAGES))
    with bench(azure_ep=True) as here:
        if here.azure_ep is None:
            raise SystemExit(f"without {AZURE_EP} there is nothing to compare with")
        results.note(f"Server: {server_name(here.server)}, on this machine, over HTTP.")
        cells = {case: measure(here, case, 2.0 if options.quick else 15.0) for case in CASES}
        opened = count_connections(here)
    show_cells(results, cells, opened)
    results.ratios += [
        Ratio(f"azure_ep, {case.name}", AZURE_EP, ratio(times, OURS, ORIGINAL))
        for case, times in cells.items()
    ]
    if options.plot:
        plot(cells, options.plot)
    aims = [*speed_aims(cells), connections_aim(opened)]
    if options.json:
        results.write(options.json, aims, as_json(cells, opened), [options.plot])
    print(f"\nload afterwards {os.getloadavg()[0]:.1f}")
    return report(aims)


def measure(here: Bench, case: Case, seconds: float) -> Times:
    """Time one case for both."""
    path = here.files[case.model]
    ours = ours_of(here.server.uri, case, path)
    clock, first = here.azure_ep.contestant(case, path)  # type: ignore[union-attr]
    if not np.allclose(np.asarray(ours()[0]).ravel()[: len(first)], first, rtol=1e-5):
        raise SystemExit("the two do not give the same answer")
    return take_turns({OURS: ours, ORIGINAL: clock}, total_s=seconds, turn_s=1e-2)


def ours_of(uri: str, case: Case, path: Path) -> Call:
    """Make a session of ours, and return a call that sends the arrays by turns."""
    import hybridmodel.azure_ep as onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    entries = {"endpoint_type": "triton", "uri": uri, "model_name": case.model}
    for key, value in entries.items():
        options.add_session_config_entry(f"azure.{key}", value)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    remote = onnxruntime.RunOptions()
    remote.add_run_config_entry("use_azure", "1")
    remote.add_run_config_entry("azure.auth_key", "")
    arrays = cycle(arrays_of(case.shape, case.arrays))
    return lambda: session.run(["y"], {"x": next(arrays)}, remote)


def count_connections(here: Bench) -> dict[str, int]:
    """Count the connections that each opens for so many calls of one row."""
    case, found = CASES[0], {}
    path = here.files[case.model]
    with ExitStack() as stack:
        relay = stack.enter_context(relaying(here.server.port))
        other = AzureEp(relay.uri)
        stack.callback(other.close)
        ours = ours_of(relay.uri, case, path)
        clock, _ = other.contestant(case, path)
        for name, calls in ((OURS, lambda: [ours() for _ in range(CALLS)]), (ORIGINAL, None)):
            before = relay.connections
            calls() if calls else clock.seconds(CALLS)
            found[name] = relay.connections - before
    return found


class Relay:
    """Passes bytes on to a server, and counts who comes."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self._port = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self._port))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()


@contextmanager
def relaying(port: int) -> Iterator[Relay]:
    """Open a relay to a server on this machine."""
    relay = Relay(port)
    try:
        yield relay
    finally:
        relay.close()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until there are no more."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def speed_aims(cells: dict[Case, Times]) -> Iterator[Aim]:
    """Judge the times."""
    for case, times in cells.items():
        found = ratio(times, OURS, ORIGINAL)
        yield Aim(
            f"{case.name}: not slower than the original", f"{found:.2f} of its time", found <= 1
        )


def connections_aim(opened: dict[str, int]) -> Aim:
    """Judge the connections."""
    measured = f"{opened[OURS]}, the original {opened[ORIGINAL]}"
    return Aim(f"connections for {CALLS} calls: at most 1", measured, opened[OURS] <= 1)


def show_cells(results: Results, cells: dict[Case, Times], opened: dict[str, int]) -> None:
    """Show what each takes."""
    rows = [
        [
            case.name,
            *(f"{median_us(times, name) / 1e3:.3g}" for name in (OURS, ORIGINAL)),
            f"{ratio(times, OURS, ORIGINAL):.2f}",
            f"{len(times[OURS])}",
        ]
        for case, times in cells.items()
    ]
    head = ["float32", "ours ms", "original ms", "ours/original", "rounds"]
    results.show("session.run until the answer is there, medians", head, rows)
    counts = [str(opened[name]) for name in (OURS, ORIGINAL)]
    results.show(f"Connections opened for {CALLS} calls", [OURS, ORIGINAL], [counts])


def plot(cells: dict[Case, Times], path: Path) -> None:
    """Draw the times of both, a panel for each size."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    looks = {OURS: "#0b6e4f", ORIGINAL: "#5b6c8f"}
    figure, panels = plt.subplots(1, len(cells), figsize=(12, 1.9), constrained_layout=True)
    for (case, times), panel in zip(cells.items(), panels, strict=True):
        values = [median_us(times, name) / 1e3 for name in looks]
        bars = panel.barh(list(looks), values, color=list(looks.values()))
        panel.bar_label(bars, fmt="{:.3g}", padding=3, fontsize=8)
        panel.invert_yaxis()
        panel.margins(x=0.16)
        panel.set_title(f"{case.name}: {ratio(times, OURS, ORIGINAL):.2f} of the original's time")
        panel.set_xlabel("ms")
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def as_json(cells: dict[Case, Times], opened: dict[str, int]) -> dict[str, Any]:
    """Return everything measured, times as medians in µs."""
    return {
        "cases": [
            {
                "sent": case.name,
                "median_us": {name: median_us(times, name) for name in times},
                "ours_of_original": ratio(times, OURS, ORIGINAL),
                "rounds": len(times[OURS]),
            }
            for case, times in cells.items()
        ],
        "connections": {"calls": CALLS, **opened},
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less of everything, more noise")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
