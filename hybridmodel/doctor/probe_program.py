"""Tries the old names with the installed onnxruntime, in a process of its own.

Run by whatever Python: reads what to try as JSON from stdin, and prints what happened
as the last line of stdout. Knows nothing of hybridmodel, and calls nobody: the address that it
names is a port of this machine at which nobody listens.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module, metadata
from typing import Any

Result = dict[str, Any]


def main() -> None:
    """Try everything that is asked for."""
    asked = json.load(sys.stdin)
    import onnxruntime

    identity = base64.b64decode(asked["identity"])
    trials = {}
    for prefix in asked["prefixes"]:
        trials[prefix] = tried(partial(run_with_entries, onnxruntime, identity, prefix))
    for name in asked["providers"]:
        providers = [name, "CPUExecutionProvider"]
        trials[name] = tried(partial(run, onnxruntime, identity, providers=providers))
    for name, model in asked["operators"].items():
        data = base64.b64decode(model)
        trials[name] = tried(partial(make_session, onnxruntime, data))
        trials[f"{name} with extensions"] = tried(partial(make_extended_session, onnxruntime, data))
    print(json.dumps(described(onnxruntime, trials)))  # noqa: T201 - its way to answer


def described(onnxruntime: Any, trials: dict[str, Result]) -> Result:
    """Put together what is known about the installation."""
    try:
        extensions = metadata.version("onnxruntime-extensions")
    except metadata.PackageNotFoundError:
        extensions = None
    return {
        "version": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        "extensions": extensions,
        "trials": trials,
    }


def tried(action: Callable[[], object]) -> Result:
    """Do something, and tell what came of it and what was said meanwhile."""
    error = None
    with overheard() as said:
        try:
            action()
        except Exception as raised:  # noqa: BLE001 - whatever it is, it is the result
            error = f"{type(raised).__name__}: {raised}"[:2000]
    return {"error": error, "said": said[0][:2000]}


def run_with_entries(onnxruntime: Any, model: bytes, prefix: str) -> None:
    """Run a session that names an endpoint, and ask for the endpoint."""
    session_options, run_options = onnxruntime.SessionOptions(), onnxruntime.RunOptions()
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        for name, value in (("endpoint_type", "triton"), ("uri", uri), ("model_name", "none")):
            session_options.add_session_config_entry(f"{prefix}.{name}", value)
        run_options.add_run_config_entry(f"use_{prefix}", "1")
        run_options.add_run_config_entry(f"{prefix}.auth_key", "none")
        providers = ["CPUExecutionProvider"]
        run(onnxruntime, model, session_options, run_options, providers)


def run(
    onnxruntime: Any,
    model: bytes,
    session_options: Any = None,
    run_options: Any = None,
    providers: list[str] | None = None,
) -> None:
    """Compute something, and make sure that it was computed."""
    import numpy as np

    session = onnxruntime.InferenceSession(model, session_options, providers=providers)
    (answer,) = session.run(None, {"x": np.array([2.5], np.float32)}, run_options)
    if answer.tolist() != [2.5]:
        raise ValueError("the answer was wrong")


def make_session(onnxruntime: Any, model: bytes, options: Any = None) -> None:
    """Load a graph."""
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def make_extended_session(onnxruntime: Any, model: bytes) -> None:
    """Load a graph with the operators of onnxruntime-extensions."""
    extensions = import_module("onnxruntime_extensions")
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(extensions.get_library_path())
    make_session(onnxruntime, model, options)


@contextmanager
def overheard() -> Iterator[list[str]]:
    """Catch what is written to stdout and stderr, by native code as well."""
    said = [""]
    with tempfile.TemporaryFile() as file:
        kept = [(number, os.dup(number)) for number in (1, 2)]
        try:
            for number, _ in kept:
                os.dup2(file.fileno(), number)
            yield said
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in kept:
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            said[0] = file.read().decode(errors="replace").strip()


if __name__ == "__main__":
    main()
