"""Loads files with azure-ai-ml's loaders, without a network; runs in an environment of its own.

Reads pairs of a loader's name and a path as JSON from stdin. Writes a list as JSON to stdout: for
each pair what the loader said against the file, or null; then how often it asked for a network.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import warnings
from contextlib import redirect_stdout
from typing import Any

asked: list[str] = []


def refuse(*args: Any, **options: Any) -> Any:
    """Stand for every way to a network."""
    asked.append(repr(args)[:200])
    raise OSError("no network in this test")


def load(name: str, path: str) -> str | None:
    """Return what a loader says against a file; None if it takes it."""
    import azure.ai.ml
    from azure.ai.ml.entities import _load_functions

    loader = getattr(azure.ai.ml, name, None) or getattr(_load_functions, name)
    try:
        loader(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    """Load all files that stdin names."""
    socket.getaddrinfo = refuse
    socket.socket.connect = refuse
    warnings.simplefilter("ignore")
    logging.disable()
    with redirect_stdout(sys.stderr):
        said = [load(name, path) for name, path in json.load(sys.stdin)]
    json.dump({"said": said, "asked": asked}, sys.stdout)


if __name__ == "__main__":
    main()
