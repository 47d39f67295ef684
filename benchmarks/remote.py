"""What the remote route costs, beside other clients, against a real Triton server.

    python benchmarks/remote.py [--quick] [--no-azure-ep] [--plot FILE.png] [--json FILE]

Needs the ``dev`` extra and Linux x86-64, where `hybridmodel.serving.TritonServer` runs. Prints a
table, one line for each aim, and ends with status 1 when an aim is not met. In one run, by turns:

=================  ===================================================================
socket             a raw socket, headers ready, answer unchecked: the floor, not a peer
ours               all of ``HybridOnnxModel.predict(ndarray, use_azure=True)``
tritonclient.http  for one row its bare ``infer`` on ready inputs
tritonclient.grpc  the same
requests           ``Session.post`` of a body joined by hand
azure EP           the C++ client of ``onnxruntime-azure==1.15.0``, as ``session.run``
=================  ===================================================================

All but azure EP keep one connection; that one opens another for each call, and lives in a process
and environment of its own, which times itself. The models cost next to nothing, so that the
clients show. 1,000 images go in 20 requests of 50, and contestants change after each request.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from _azure_ep import arrays_of
from _clients import Case, RawSocket, Requests, TritonClient, TritonGrpcClient, connected
from _measure import (
    Aim,
    Call,
    Times,
    crew,
    machine,
    median_us,
    open_sockets,
    peak_bytes,
    ratio,
    report,
    resident_bytes,
    take_turns,
)
from _results import Ratio, Results
from _server import FILL, IMAGES, MANY, ROW, Bench, bench, server_name

HTTP, GRPC = "tritonclient.http", "tritonclient.grpc"
PEERS = (HTTP, GRPC, "requests", "azure EP")
PACKAGES = ("hybridmodel", "numpy", "onnxruntime", "tritonclient", "grpcio", "requests", "urllib3")
THREADS, IN_A_ROW = 16, 10_000
SLACK_BYTES = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    options = _options(arguments)
    os.environ["NO_PROXY"] = "127.0.0.1"
    results = Results("remote", "What the remote route costs", PACKAGES)
    print(machine(*PACKAGES))
    seconds = 2.0 if options.quick else 12.0
    with bench(azure_ep=options.azure_ep) as here:
        results.note(f"Server: {server_name(here.server)}, on this machine.")
        cells = {case: measure(here, case, seconds) for case in (ROW, MANY, IMAGES)}
        threads = measure_threads(here, seconds)
        memory = measure_memory(here)
        growth = measure_growth(here)
    show_cells(results, cells)
    show_threads(results, threads)
    results.ratios += ratios(cells, threads)
    if options.plot:
        plot(cells, options.plot)
    aims = [*speed_aims(cells), threads_aim(threads), *memory_aims(memory), *growth_aims(growth)]
    if options.json:
        found = as_json(cells, threads, memory | growth)
        results.write(options.json, aims, found, [options.plot])
    print(f"\nload afterwards {os.getloadavg()[0]:.1f}")
    return report(aims)


def measure(here: Bench, case: Case, seconds: float) -> Times:
    """Time one case for every contestant."""
    arrays = arrays_of(case.shape, case.arrays)
    with ExitStack() as stack:
        model = stack.enter_context(here.model(case.model))
        socket_, requests_, triton = (
            connected(stack, make, here.server.uri, case)
            for make in (RawSocket, Requests, TritonClient)
        )
        grpc = connected(stack, TritonGrpcClient, here.server.grpc_address, case)
        functions: dict[str, Callable[[Any], Any]] = {
            "socket": socket_.infer,
            "ours": partial(model.predict, use_azure=True),
            HTTP: triton.infer,
            GRPC: grpc.infer,
            "requests": requests_.infer,
        }
        first = check_same_answers(functions, arrays[0])
        calls: dict[str, Call] = {
            name: by_turns(function, arrays) for name, function in functions.items()
        }
        if case is ROW:
            for name, client in ((HTTP, triton), (GRPC, grpc)):
                client.prepare(arrays[0])
                calls[name] = client.bare_infer
        if here.azure_ep is not None:
            clock, answer = here.azure_ep.contestant(case, here.files[case.model])
            if not np.allclose(answer, first[: len(answer)], rtol=1e-5):
                raise SystemExit("azure EP gives another answer than the others")
            calls["azure EP"] = clock
        return take_turns(calls, total_s=seconds, turn_s=1e-2)


def by_turns(function: Callable[[Any], Any], arrays: list[Any]) -> Call:
    """Return a call of a function on one array after the other."""
    data = cycle(arrays)
    return lambda: function(next(data))


def check_same_answers(functions: dict[str, Callable[[Any], Any]], array: Any) -> Any:
    """Stop if one contestant gives something else than the others; return the answer, flat."""
    expected = functions["socket"](array)
    for name, function in functions.items():
        if not np.array_equal(function(array), expected):
            raise SystemExit(f"{name} gives another answer than the raw socket")
    return expected.ravel()


def measure_threads(here: Bench, seconds: float) -> Times:
    """Time 16 threads with one model of ours, and with a tritonclient.http each."""
    row = arrays_of(ROW.shape, 1)[0]
    uri = here.server.uri
    with ExitStack() as stack:
        model = stack.enter_context(here.model(ROW.model))

        def theirs() -> Call:
            client = TritonClient(uri, ROW)  # Works only in the thread that makes it.
            client.prepare(row)
            return client.bare_infer

        ours = [lambda: partial(model.predict, row, use_azure=True)] * THREADS
        calls: dict[str, Call] = {
            "ours": stack.enter_context(crew(ours)),
            HTTP: stack.enter_context(crew([theirs] * THREADS)),
        }
        return take_turns(calls, total_s=seconds, turn_s=1e-2)


def measure_memory(here: Bench) -> dict[str, int]:
    """See what calls with a large question, and with a large answer, allocate."""
    found = {}
    for way, case in (("out", IMAGES), ("back", FILL)):
        array = arrays_of(case.shape, 1)[0]
        with here.model(case.model) as model:
            answer_bytes = model.predict(array, use_azure=True).nbytes
            peak = peak_bytes(partial(model.predict, array, use_azure=True))
        found[f"{way}_bytes"] = max(array.nbytes, answer_bytes)
        found[f"{way}_peak_bytes"] = peak - answer_bytes
    return found


def measure_growth(here: Bench) -> dict[str, int]:
    """See what many calls in a row leave behind, after as many as fill every cache."""
    row = arrays_of(ROW.shape, 1)[0]
    with here.model(ROW.model) as model:
        sizes, sockets = [], []
        for number in range(1_000 + IN_A_ROW + 1):
            if number >= 1_000 and number % 1_000 == 0:
                sizes.append(resident_bytes())
                sockets.append(open_sockets())
            model.predict(row, use_azure=True)
    return {
        "resident_growth_bytes": max(sizes) - sizes[0],
        "sockets_before": sockets[0],
        "sockets_most": max(sockets),
    }


def speed_aims(cells: dict[Case, Times]) -> Iterator[Aim]:
    """Judge the time of single calls, one after the other."""
    one = cells[ROW]
    share = ratio(one, "ours", HTTP)
    text = f"1 x 30, all of predict: not slower than {HTTP}'s bare infer"
    yield Aim(text, f"{share:.2f} of its time", share <= 1)
    share = ratio(one, "ours", "socket")
    text = "1 x 30, all of predict: at most 1.25 of the raw socket"
    yield Aim(text, f"{share:.2f} of its time", share <= 1.25)
    for case, times in cells.items():
        if case is not ROW:
            best = best_peer(times)
            throughput = 1 / ratio(times, "ours", best)
            text = f"{case.name}: at least 1.0 of the best peer's throughput"
            yield Aim(text, f"{throughput:.2f} of that of {best}", throughput >= 1)


def threads_aim(threads: Times) -> Aim:
    """Judge the throughput of many threads."""
    throughput = 1 / ratio(threads, "ours", HTTP)
    text = f"{THREADS} threads with one model: at least the throughput of as many {HTTP}"
    return Aim(text, f"{throughput:.2f} of it", throughput >= 1)


def memory_aims(memory: dict[str, int]) -> Iterator[Aim]:
    """Judge copies: what is allocated beside the answer that the caller gets."""
    for way, copies, text in (
        ("out", 1, "50 images out: at most one copy"),
        ("back", 0, f"{FILL.name}: no copy beside the array handed to the caller"),
    ):
        size, beyond = memory[f"{way}_bytes"], memory[f"{way}_peak_bytes"]
        found = f"{beyond / 1e6:.1f} MB at the peak beside the answer, for {size / 1e6:.0f} MB"
        yield Aim(text, found, beyond <= copies * size + SLACK_BYTES)


def growth_aims(growth: dict[str, int]) -> Iterator[Aim]:
    """Judge what stays."""
    more = growth["resident_growth_bytes"]
    text = f"{IN_A_ROW:,} calls in a row: resident memory flat"
    yield Aim(text, f"{more / 1e6:+.2f} MB", more <= SLACK_BYTES)
    before, most = growth["sockets_before"], growth["sockets_most"]
    text = f"{IN_A_ROW:,} calls in a row: sockets flat"
    yield Aim(text, f"{before} at first, {most} at most", most <= before)


def best_peer(times: Times) -> str:
    """Return the peer that ours compares worst with, round by round."""
    return max((name for name in PEERS if name in times), key=partial(ratio, times, "ours"))


def milliseconds(case: Case, times: Times, name: str) -> str:
    """Write what all requests of a case take a contestant."""
    value = case.requests * median_us(times, name) / 1e3
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratios(cells: dict[Case, Times], threads: Times) -> Iterator[Ratio]:
    """Compare calls with those of each peer."""
    for case, times in cells.items():
        for peer in PEERS:
            if peer in times:
                yield Ratio(f"remote, {case.name}", peer, ratio(times, "ours", peer))
    yield Ratio(f"remote, {THREADS} threads of 1 x 30", HTTP, ratio(threads, "ours", HTTP))


def show_cells(results: Results, cells: dict[Case, Times]) -> None:
    """Show what each contestant takes, and how ours compares with it."""
    head, ends = [""], ["ours, MB/s"]
    rows = [[name] for name in ("socket", "ours", *PEERS) if name in cells[ROW]]
    for case, times in cells.items():
        head += [f"{case.name}, ms", "ours/it"]
        ends += [f"{case.sent_bytes / median_us(times, 'ours'):.3g}", ""]
        for row in rows:
            row += [milliseconds(case, times, row[0]), f"{ratio(times, 'ours', row[0]):.2f}"]
    rounds = ", ".join(f"{len(times['ours'])}" for times in cells.values())
    results.show(f"Until the answer is there, medians of {rounds} rounds", head, [*rows, ends])


def show_threads(results: Results, threads: Times) -> None:
    """Show what 16 threads get done."""
    row = [f"{1e6 / median_us(threads, name):.0f}" for name in ("ours", HTTP)]
    share = f"{1 / ratio(threads, 'ours', HTTP):.2f}"
    caption = f"{THREADS} threads, 1 x 30 a call, answers in a second"
    results.show(caption, ["ours", HTTP, f"ours/{HTTP}"], [[*row, share]])


def plot(cells: dict[Case, Times], path: Path) -> None:
    """Draw the time of each contestant as a multiple of the raw socket's."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    looks = {
        "ours": "#0b6e4f",
        HTTP: "#c8553d",
        GRPC: "#8f2d56",
        "requests": "#e0a458",
        "azure EP": "#5b6c8f",
    }
    figure, panels = plt.subplots(1, len(cells), figsize=(12, 3.1), constrained_layout=True)
    for (case, times), panel in zip(cells.items(), panels, strict=True):
        names = [name for name in looks if name in times]
        values = [ratio(times, name, "socket") for name in names]
        bars = panel.barh(names, values, color=[looks[name] for name in names])
        panel.bar_label(bars, fmt="{:.2f}", padding=3, fontsize=8)
        panel.axvline(1, color="black", linewidth=0.8)
        panel.invert_yaxis()
        panel.margins(x=0.16)
        panel.set_title(f"{case.name} (socket: {milliseconds(case, times, 'socket')} ms)")
        panel.set_xlabel("time, of that of a raw socket")
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def as_json(cells: dict[Case, Times], threads: Times, counts: dict[str, int]) -> dict[str, Any]:
    """Return everything measured, times as medians in µs."""
    return {
        "cases": [
            {
                "sent": case.name,
                "request_bytes": case.sent_bytes,
                "request_median_us": {name: median_us(times, name) for name in times},
                "ours_of": {name: ratio(times, "ours", name) for name in times},
                "rounds": len(times["ours"]),
            }
            for case, times in cells.items()
        ],
        "threads": {name: median_us(threads, name) for name in threads},
        **counts,
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less of everything, more noise")
    parser.add_argument(
        "--azure-ep",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with the C++ client, where it can be installed (default)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
