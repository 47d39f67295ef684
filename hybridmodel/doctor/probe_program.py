"""Tries the old names with the installed onnxruntime, in a process of its own.

Any Python can run it, without hybridmodel; the last line of its stdout is the result as JSON. It
contacts no server: its only addresses are local ports without one.
"""

from __future__ import annotations

import base64
import json
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

_CPU = "CPUExecutionProvider"
_FOLDER = Path(__file__).resolve().parent


def main() -> None:
    """Try every old name."""
    import onnxruntime as ort

    encoded = json.loads((_FOLDER / "probe_models.json").read_text())
    models = {operator: base64.b64decode(model) for operator, model in encoded.items()}
    names = runpy.run_path(str(_FOLDER / "dead_names.py"))
    identity = models.pop("Identity")
    actions: dict[str, Callable[[], object]] = {}
    for prefix in names["PREFIXES"]:
        actions[prefix] = partial(run_with_entries, ort, identity, prefix)
    for name in names["PROVIDERS"]:
        actions[name] = partial(run, ort, identity, [name, _CPU])
    for operator, model in models.items():
        actions[operator] = partial(load, ort, model)
    try_all(ort, actions)


def try_all(ort: Any, actions: dict[str, Callable[[], object]]) -> None:
    """Run all trials, and print their results."""
    try:
        extensions = metadata.version("onnxruntime-extensions")
    except metadata.PackageNotFoundError:
        extensions = None
    stdout = os.dup(1)
    with tempfile.TemporaryFile() as heard:
        for number in (1, 2):  # Native code writes there too.
            os.dup2(heard.fileno(), number)
        trials = {name: tried(action, heard.fileno()) for name, action in actions.items()}
    told = {
        "version": ort.__version__,
        "providers": ort.get_available_providers(),
        "extensions": extensions,
        "trials": trials,
    }
    os.write(stdout, b"\n" + json.dumps(told).encode())


def tried(action: Callable[[], object], heard: int) -> dict[str, str | None]:
    """Run a trial; return its error, and what it wrote to the file `heard`."""
    error = None
    start = os.lseek(heard, 0, os.SEEK_END)
    try:
        action()
    except Exception as raised:  # noqa: BLE001 - any error is the result
        error = f"{type(raised).__name__}: {raised}"[:2000]
    sys.stdout.flush()
    sys.stderr.flush()
    os.lseek(heard, start, os.SEEK_SET)
    return {"error": error, "said": os.read(heard, 2000).decode(errors="replace").strip()}


def run_with_entries(ort: Any, model: bytes, prefix: str) -> None:
    """Run a session whose entries name an endpoint, and ask for the endpoint."""
    session_options, run_options = ort.SessionOptions(), ort.RunOptions()
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        for name, value in (("endpoint_type", "triton"), ("uri", uri), ("model_name", "none")):
            session_options.add_session_config_entry(f"{prefix}.{name}", value)
        run_options.add_run_config_entry(f"use_{prefix}", "1")
        run_options.add_run_config_entry(f"{prefix}.auth_key", "none")
        run(ort, model, [_CPU], (session_options, run_options))


def run(ort: Any, model: bytes, providers: list[str], options: Any = (None, None)) -> None:
    """Run a model, and check its answer."""
    import numpy as np

    session_options, run_options = options
    session = ort.InferenceSession(model, session_options, providers=providers)
    (answer,) = session.run(None, {"x": np.array([2.5], np.float32)}, run_options)
    if answer.tolist() != [2.5]:
        raise ValueError("the answer was wrong")


def load(ort: Any, model: bytes) -> None:
    """Load a graph, with the operators of onnxruntime-extensions if it is installed."""
    options = ort.SessionOptions()
    with suppress(ModuleNotFoundError):
        library = import_module("onnxruntime_extensions").get_library_path()
        options.register_custom_ops_library(library)
    ort.InferenceSession(model, options, providers=[_CPU])


if __name__ == "__main__":
    main()
