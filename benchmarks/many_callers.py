"""What many callers of one row each get from one endpoint, beside NVIDIA's clients.

    python benchmarks/many_callers.py [--quick] [--plot FILE.png] [--json FILE]

Needs the ``dev`` extra and Linux x86-64, where `hybridmodel.serving.TritonServer` runs. Prints a
table, one line for each aim, and ends with status 1 when an aim is not met. In one run, by turns:

=====================  ============================================================
tritonclient.http      a client and a connection for each thread, on a ready input
tritonclient.http.aio  one client for all tasks, a connection each
ours, threads          ``HybridOnnxModel.predict`` with ``coalesce_rows=256``
ours, coroutines       ``HybridOnnxModel.apredict`` with the same
=====================  ============================================================

Each caller asks again as soon as it has its answer. What one host and one call cost is measured
here as well: a Unix socket with shared memory, and one row beside a raw socket.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from _azure_ep import arrays_of
from _clients import Case, RawSocket, connected
from _many_callers import (
    AIO,
    CLIENTS,
    COROUTINES,
    HTTP,
    OURS,
    Cells,
    by_turns,
    gathering,
    load_of_threads,
    loads,
    requests_at_server,
    share_of_p99,
    times_as_many,
)
from _measure import Aim, Times, machine, median_us, ratio, report, resident_bytes, take_turns
from _results import Ratio, Results
from _server import ROW, Bench, bench, server_name

PACKAGES = ("hybridmodel", "numpy", "onnxruntime", "tritonclient", "aiohttp", "greenlet")
CALLERS = (1, 4, 16, 64, 256)
LARGE = Case("20,000 x 30", "linear", (20_000, 30), (20_000, 1))
SLACK_BYTES = 4_000_000
ON, OFF, SOCKET, TCP, UNIX = "on", "off", "socket", "TCP", "Unix socket, shared memory"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    options = _options(arguments)
    os.environ["NO_PROXY"] = "127.0.0.1"
    results = Results("many_callers", "Many callers, few requests", PACKAGES)
    print(machine(*PACKAGES))
    quick = options.quick
    with bench(azure_ep=False) as here:
        results.note(f"Server: {server_name(here.server)}, on this machine.")
        cells = measure_callers(here, 3 if quick else 9, 0.5 if quick else 1.0)
        one = measure_one(here, 2.0 if quick else 12.0)
        counts = measure_requests(here, 20_000 if quick else 1_000_000)
        large = measure_one_host(here, 2.0 if quick else 8.0)
    show(results, cells, one, large)
    aims = [*callers_aims(cells), *one_aims(one), *counts_aims(counts), large_aim(large)]
    results.ratios += ratios(cells)
    if options.plot:
        plot(cells, options.plot)
    if options.json:
        results.write(options.json, aims, as_json(cells, one, large, counts), [options.plot])
    print(f"\nload afterwards {os.getloadavg()[0]:.1f}")
    return report(aims)


def measure_callers(here: Bench, rounds: int, seconds: float) -> Cells:
    """Let the four clients take turns for each number of callers."""
    row, cells = arrays_of(ROW.shape, 1)[0], Cells()
    with ExitStack() as stack:
        clients = loads(here, row, stack)
        for callers in CALLERS:
            by_turns(clients, callers, rounds, seconds, cells)
    return cells


def measure_one(here: Bench, seconds: float) -> Times:
    """Time one row from one thread: with and without gathering, and on a raw socket."""
    row = arrays_of(ROW.shape, 1)[0]
    with ExitStack() as stack:
        on, off = (stack.enter_context(gathering(here, rows)) for rows in (256, 0))
        socket_ = connected(stack, RawSocket, here.server.uri, ROW)
        calls = {
            ON: partial(on.predict, row, use_azure=True),
            OFF: partial(off.predict, row, use_azure=True),
            SOCKET: partial(socket_.infer, row),
        }
        return take_turns(calls, total_s=seconds, turn_s=1e-2)


def measure_requests(here: Bench, calls: int) -> dict[str, float]:
    """See what so many calls of 64 threads are at the server, and what they leave behind."""
    row, sizes = arrays_of(ROW.shape, 1)[0], []
    with gathering(here) as model:

        def make() -> Any:
            return partial(model.predict, row, use_azure=True)

        load_of_threads([make] * 64, 2.0)  # Fills every cache.
        before, made = requests_at_server(here), 0
        while made < calls:
            sizes.append(resident_bytes())
            made += len(load_of_threads([make] * 64, 2.0))
        sizes.append(resident_bytes())
        requests = requests_at_server(here) - before
    return {
        "calls": made,
        "requests": requests,
        "resident_growth_bytes": max(sizes) - sizes[0],
        "threads_left": ours_alive(),
    }


def ours_alive() -> int:
    """Count the threads of the library, once those that were told to end have done so."""
    for thread in threading.enumerate():
        if thread.name.startswith("hybridmodel"):
            thread.join(2.0)
    return sum(thread.name.startswith("hybridmodel") for thread in threading.enumerate())


def measure_one_host(here: Bench, seconds: float) -> Times:
    """Time a large request: over TCP in the body, and by a Unix socket in shared memory."""
    from hybridmodel import HybridOnnxModel
    from hybridmodel.serving import TritonServer

    array, file = arrays_of(LARGE.shape, 1)[0], here.files[LARGE.model]
    with ExitStack() as stack:
        server = stack.enter_context(TritonServer({LARGE.model: file}, unix_socket=True))
        endpoints = {
            TCP: here.server.endpoint(LARGE.model, timeout_s=60, shared_memory=False),
            UNIX: server.endpoint(LARGE.model, timeout_s=60),
        }
        calls: dict[str, Any] = {}
        for name, endpoint in endpoints.items():
            model = stack.enter_context(HybridOnnxModel(file, endpoint=endpoint))
            calls[name] = partial(model.predict, array, use_azure=True)
        return take_turns(calls, total_s=seconds, turn_s=2e-2)


def callers_aims(cells: Cells) -> Iterator[Aim]:
    """Judge threads and coroutines beside NVIDIA's clients."""
    for callers, least in ((64, 5.0), (16, 2.5)):
        found = times_as_many(cells, OURS, HTTP, callers)
        text = f"{callers} threads: at least {least:g} times the calls of as many {HTTP}"
        yield Aim(text, f"{found:.1f} times", found >= least)
    share = share_of_p99(cells, OURS, HTTP, 64)
    yield Aim("64 threads: p99 at most a quarter of theirs", f"{share:.2f} of it", share <= 0.25)
    found = times_as_many(cells, COROUTINES, AIO, 256)
    text = f"256 coroutines: at least 5 times the calls of {AIO}"
    yield Aim(text, f"{found:.1f} times", found >= 5)


def one_aims(one: Times) -> Iterator[Aim]:
    """Judge a lone caller."""
    share = ratio(one, ON, OFF)
    text = "1 thread: with gathering at most 1.03 of the time without"
    yield Aim(text, f"{share:.3f} of it", share <= 1.03)
    share = ratio(one, OFF, SOCKET)
    yield Aim("one row: at most 1.35 of the raw socket", f"{share:.2f} of its time", share <= 1.35)


def counts_aims(counts: dict[str, float]) -> Iterator[Aim]:
    """Judge what reaches the server, and what stays here."""
    share = counts["requests"] / counts["calls"]
    text = "64 threads: requests at the server at most a tenth of the calls"
    yield Aim(text, f"one for {1 / share:.1f} calls", share <= 0.1)
    more = counts["resident_growth_bytes"]
    text = f"{counts['calls']:,.0f} calls: resident memory flat"
    yield Aim(text, f"{more / 1e6:+.2f} MB", more <= SLACK_BYTES)
    left = counts["threads_left"]
    yield Aim("no thread left after close", f"{left:.0f}", left == 0)


def large_aim(large: Times) -> Aim:
    """Judge one host."""
    share = ratio(large, UNIX, TCP)
    text = f"{LARGE.name} by a Unix socket and shared memory: at most 0.55 of our own TCP"
    return Aim(text, f"{share:.2f} of its time", share <= 0.55)


def ratios(cells: Cells) -> Iterator[Ratio]:
    """Compare with each peer: the time that a call takes of all callers' time."""
    for callers in (16, 64):
        share = 1 / times_as_many(cells, OURS, HTTP, callers)
        yield Ratio(f"many callers, {callers} threads of 1 x 30", HTTP, share)
    share = 1 / times_as_many(cells, COROUTINES, AIO, 256)
    yield Ratio("many callers, 256 coroutines of 1 x 30", AIO, share)


def show(results: Results, cells: Cells, one: Times, large: Times) -> None:
    """Show calls a second and the 99th percentile over the number of callers."""
    import numpy as np

    for caption, name in (("Calls a second", "calls_per_s"), ("99th percentile, ms", "p99_ms")):
        rows = [
            [
                f"{callers}",
                *(f"{np.median(vars(cells[client, callers])[name]):,.1f}" for client in CLIENTS),
            ]
            for callers in CALLERS
        ]
        results.show(f"{caption}, medians of the rounds", ["callers", *CLIENTS], rows)
    singles = [[f"1 x 30, {name}", f"{median_us(one, name):.0f}"] for name in one]
    singles += [[f"{LARGE.name}, {name}", f"{median_us(large, name):.0f}"] for name in large]
    results.show("One thread, µs", ["what", "µs"], singles)


def plot(cells: Cells, path: Path) -> None:
    """Draw calls a second and the 99th percentile over the number of callers."""
    import matplotlib as mpl
    import numpy as np

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    colours = dict(zip(CLIENTS, ("#c8553d", "#e0a458", "#0b6e4f", "#5b6c8f"), strict=True))
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.6), constrained_layout=True)
    for panel, name, label in zip(
        panels, ("calls_per_s", "p99_ms"), ("calls a second", "99th percentile, ms"), strict=True
    ):
        for client, colour in colours.items():
            values = [np.median(vars(cells[client, callers])[name]) for callers in CALLERS]
            panel.plot(CALLERS, values, "o-", color=colour, label=client)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(CALLERS, [f"{callers}" for callers in CALLERS])
        panel.set_xlabel("callers of one row each")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3, which="both")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def as_json(cells: Cells, one: Times, large: Times, counts: dict[str, float]) -> dict[str, Any]:
    """Return everything measured."""
    return {
        "callers": [
            {"client": client, "callers": callers, **vars(cell)}
            for (client, callers), cell in cells.items()
        ],
        "one_median_us": {name: median_us(one, name) for name in one},
        "large_median_us": {name: median_us(large, name) for name in large},
        **counts,
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less of everything, more noise")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw both figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
