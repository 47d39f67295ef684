"""What the gateway of a rehearsal costs, and how many requests pass it in a second.

    python benchmarks/rehearsal.py [--quick] [--plot FILE.png] [--json FILE]

Needs the ``dev`` extra and Linux x86-64. The rehearsal runs in a process of its own, with a real
Triton behind the gateway; one row of 30 float32 goes to a model that costs next to nothing. In one
run, by turns:

=======  ==========================================================================================
Triton   a raw socket to Triton's own Unix socket, headers ready
gateway  the same over TLS to ``https://localhost``, with the key, through the gateway
ours     all of ``HybridOnnxModel.predict(ndarray, use_azure=True)``, through the gateway
=======  ==========================================================================================

Every contestant keeps one connection. For requests in a second, eight threads of this process, with
a connection each, send what ``gateway`` sends as fast as they are answered, on the same cores.
Switched off are the limits of an endpoint of Azure, which would hide the gateway's own.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Aim, Call, Times, difference_us, machine, median_us, report, take_turns
from _models import FEATURES, linear_model
from _results import Ratio, Results

PACKAGES = ("hybridmodel", "numpy", "onnxruntime", "h11", "cryptography", "uvicorn")
THREADS, CONCURRENCY = 8, 64
MOST_US, LEAST_PER_S = 1000, 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    given = _options(arguments)
    results = Results("rehearsal", "The gateway of a rehearsal", PACKAGES)
    print(machine(*PACKAGES))
    seconds = 2.0 if given.quick else 12.0
    with tempfile.TemporaryDirectory() as name, rehearsed(Path(name)) as there:
        results.note("Triton 2.51's python backend runs the model; all is on this machine.")
        times = measure(there, seconds)
        per_s = throughput(there, seconds / 2)
    aims = conclude(results, times, per_s)
    if given.plot:
        plot(times, given.plot)
    if given.json:
        found = {"us": {name: list(1e6 * values) for name, values in times.items()}}
        results.write(given.json, aims, {**found, "per_s": per_s}, [given.plot])
    return report(aims)


class Raw:
    """One connection that sends the same request again and again."""

    def __init__(self, there: Mapping[str, str], *, direct: bool) -> None:
        data = np.ones((1, FEATURES), np.float32).tobytes()
        sizes = {"binary_data_size": len(data)}
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, FEATURES], "parameters": sizes}
        asked = {"name": "y", "parameters": {"binary_data": True}}
        head = json.dumps({"inputs": [tensor], "outputs": [asked]}).encode()
        self._request = (
            "POST /v2/models/m/versions/1/infer HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {there['key']}\r\n"
            f"Content-Length: {len(head) + len(data)}\r\n"
            f"Inference-Header-Content-Length: {len(head)}\r\n\r\n"
        ).encode() + head + data  # fmt: skip
        self._socket = _direct(there) if direct else _secured(there)

    def __call__(self) -> None:
        """Send the request, and read the answer."""
        self._socket.sendall(self._request)
        received = self._socket.recv(65536)
        while b"\r\n\r\n" not in received:
            received += self._socket.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the answer is {head[:200]!r}")
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        left = length - len(body)
        while left > 0:
            left -= len(self._socket.recv(65536))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def _direct(there: Mapping[str, str]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(there["socket"])
    return connection


def _secured(there: Mapping[str, str]) -> socket.socket:
    port = int(there["uri"].rpartition(":")[2])
    plain = socket.create_connection(("127.0.0.1", port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    context = ssl.create_default_context(cafile=there["authority"])
    return context.wrap_socket(plain, server_hostname="localhost")


def measure(there: Mapping[str, str], seconds: float) -> Times:
    """Time one row for every contestant."""
    from hybridmodel import HybridOnnxModel, TritonEndpoint

    endpoint = TritonEndpoint(
        uri=there["uri"], model_name="m", auth_key_env="KEY", ca_bundle=there["authority"]
    )
    os.environ["KEY"] = there["key"]
    row = np.ones((1, FEATURES), np.float32)
    with ExitStack() as stack:
        direct, gateway = Raw(there, direct=True), Raw(there, direct=False)
        stack.callback(direct.close)
        stack.callback(gateway.close)
        model = stack.enter_context(HybridOnnxModel(there["model"], endpoint=endpoint))
        calls: dict[str, Call] = {
            "Triton": direct,
            "gateway": gateway,
            "ours": partial(model.predict, row, use_azure=True),
        }
        # One call a turn: with a bound of its queue, Triton stalls for 0.5 s now and then.
        return take_turns(calls, total_s=seconds, turn_s=1e-6)


def throughput(there: Mapping[str, str], seconds: float) -> float:
    """Return how many requests in a second pass the gateway."""
    counts = [0] * THREADS
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        connection = Raw(there, direct=False)
        while time.perf_counter() < end:
            connection()
            counts[number] += 1
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def conclude(results: Results, times: Times, per_s: float) -> list[Aim]:
    """Show the tables, and hold them against the aims."""
    rows = [
        [name, f"{median_us(times, name):.0f}", f"{difference_us(times, name, 'Triton'):+.0f}"]
        for name in times
    ]
    results.show("One row, medians", ["contestant", "µs", "beside Triton"], rows)
    results.note(f"{THREADS} threads with a connection each: {per_s:.0f} requests in a second.")
    costs = difference_us(times, "gateway", "Triton")
    ratio = median_us(times, "gateway") / median_us(times, "Triton")
    results.ratios.append(Ratio("one row through the gateway", "Triton alone", ratio))
    return [
        Aim("gateway: at most 1 ms over Triton", f"{costs / 1000:.2f} ms", costs <= MOST_US),
        Aim("gateway: 500 requests in a second", f"{per_s:.0f}", per_s >= LEAST_PER_S),
    ]


@contextmanager
def rehearsed(folder: Path) -> Iterator[Mapping[str, str]]:
    """Rehearse a small model in a process of its own; yield what its clients need."""
    model = folder / "m.onnx"
    model.write_bytes(linear_model())
    with subprocess.Popen(
        [sys.executable, __file__, "--child", str(model), str(folder / "export")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        yield {**json.loads(child.stdout.readline()), "model": str(model)}
        child.stdin.close()


def child(model: Path, folder: Path) -> int:
    """Export and rehearse a model until standard input ends."""
    from hybridmodel.deploy import export, rehearse

    export(model, folder, model_name="m")
    (folder / "blue-deployment.yml").write_text(
        "name: blue\nendpoint_name: rehearsal\nmodel: {path: ./models, type: triton_model}\n"
        f"request_settings: {{max_concurrent_requests_per_instance: {CONCURRENCY}}}\n"
    )
    with rehearse(folder, without=["rate-429", "bandwidth"]) as rehearsal:
        said = {
            "uri": rehearsal.uri,
            "authority": str(rehearsal.authority),
            "key": rehearsal.credential(),
            "socket": rehearsal._servers["blue"].address,
        }
        print(json.dumps(said), flush=True)
        sys.stdin.read()
    return 0


def plot(times: Times, path: Path) -> None:
    """Draw the medians."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(6, 1.8), constrained_layout=True)
    panel.barh(list(times), [median_us(times, name) for name in times], color="#0b6e4f")
    panel.set_xlabel("µs for one row, median")
    panel.invert_yaxis()
    panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="seconds instead of half a minute")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(child(*map(Path, sys.argv[2:])))
    sys.exit(main())
