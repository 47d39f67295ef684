"""The C++ client of the last Azure execution provider, in a process and environment of its own.

    python _azure_ep.py HOST_AND_SCHEME

Started by ``remote.py`` with ``onnxruntime-azure==1.15.0``, which cannot live beside the
onnxruntime that we run on. Each line it reads is a JSON object, and each gets one line of JSON
back: ``{"version": true}`` is answered with onnxruntime's; ``{"open": case, "model": name, "path":
file, "shape": [...], "arrays": n}`` says what a case sends and is answered with the first values of
its answer; ``{"go": case, "number": n}`` makes `n` calls and is answered with the seconds of one.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import cycle
from typing import Any

import numpy as np


def main(uri: str) -> None:
    """Answer line by line until there are no more."""
    import onnxruntime

    calls: dict[str, Any] = {}
    answer: dict[str, Any]
    for line in sys.stdin:
        wanted = json.loads(line)
        if "version" in wanted:
            answer = {"version": onnxruntime.__version__}
        elif "open" in wanted:
            call = calls[wanted["open"]] = opened(uri, wanted)
            answer = {"first": np.asarray(call()[0]).ravel()[:3].tolist()}
        else:
            answer = {"seconds": timed(calls[wanted["go"]], wanted["number"])}
        print(json.dumps(answer), flush=True)


def opened(uri: str, wanted: dict[str, Any]) -> Any:
    """Make a session, and return a call that sends its arrays by turns."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    entries = {"endpoint_type": "triton", "uri": uri, "model_name": wanted["model"]}
    for key, value in entries.items():
        options.add_session_config_entry(f"azure.{key}", value)
    session = onnxruntime.InferenceSession(
        wanted["path"], options, providers=["CPUExecutionProvider"]
    )
    remote = onnxruntime.RunOptions()
    remote.add_run_config_entry("use_azure", "1")
    remote.add_run_config_entry("azure.auth_key", "")
    arrays = cycle(arrays_of(wanted["shape"], wanted["arrays"]))
    return lambda: session.run(["y"], {"x": next(arrays)}, remote)


def arrays_of(shape: list[int] | tuple[int, ...], count: int) -> list[Any]:
    """Make the arrays that every contestant sends."""
    random = np.random.default_rng(1)
    return [random.random(shape, dtype=np.float32) for _ in range(count)]


def timed(call: Any, number: int) -> float:
    """Return the seconds of one call, of `number`."""
    started = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - started) / number


if __name__ == "__main__":
    main(sys.argv[1])
