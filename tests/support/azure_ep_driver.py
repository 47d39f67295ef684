"""Run a case of the Azure execution provider as a user's script would, with either onnxruntime.

`run_case` gets the module that stands where ``import onnxruntime`` stood: the real one of 1.15.0,
or `hybridmodel.azure_ep`. As a program (in the old environment, so that nothing of the project is
imported) it answers each line of JSON with one of the same.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from typing import Any

import numpy as np


def run_case(ort: Any, case: dict[str, Any]) -> dict[str, Any]:
    """Make a session and run it as often as the case says; return the last outcome."""
    try:
        session = ort.InferenceSession(
            base64.b64decode(case["model"]),
            with_entries(ort.SessionOptions(), "add_session_config_entry", case["entries"]),
            providers=case["providers"],
        )
        remote = with_entries(ort.RunOptions(), "add_run_config_entry", case["run"])
        feeds = {name: unpacked(tensor) for name, tensor in case["feeds"].items()}
        results = []
        for _ in range(case["times"]):
            results = session.run(case["outputs"], feeds, remote)
    except Exception as error:
        return {
            "error": type(error).__name__,
            "message": str(error),
            "status": getattr(error, "status", None),
        }
    return {
        "outputs": [packed(np.asarray(array)) for array in results],
        "providers": session.get_providers(),
    }


def with_entries(options: Any, add: str, entries: dict[str, str]) -> Any:
    """Add configuration entries to SessionOptions or RunOptions."""
    for key, value in entries.items():
        getattr(options, add)(key, value)
    return options


def packed(array: Any) -> dict[str, Any]:
    """Write an array in JSON's types."""
    if array.dtype.kind in "OU":
        return {"dtype": "str", "shape": list(array.shape), "values": array.ravel().tolist()}
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": data}


def unpacked(tensor: dict[str, Any]) -> Any:
    """Read an array; ``order`` says how it lies in memory."""
    if tensor["dtype"] == "str":
        return np.array(tensor["values"], dtype=object).reshape(tensor["shape"])
    array = np.frombuffer(base64.b64decode(tensor["data"]), tensor["dtype"])
    return np.array(array.reshape(tensor["shape"]), order=tensor.get("order", "C"))


def main() -> None:
    """Answer line by line; what the C++ code prints goes into a file and comes with the answer."""
    answers = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        import onnxruntime

        print(json.dumps({"version": onnxruntime.__version__}), file=answers, flush=True)
        for line in sys.stdin:
            printed.truncate(0)
            printed.seek(0)
            outcome = run_case(onnxruntime, json.loads(line))
            sys.stdout.flush()
            printed.seek(0)
            outcome["printed"] = printed.read().decode(errors="replace")
            print(json.dumps(outcome), file=answers, flush=True)


if __name__ == "__main__":
    main()
