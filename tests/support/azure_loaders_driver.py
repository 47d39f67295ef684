"""Loads files with azure-ai-ml's loaders, without a network; runs in an environment of its own.

Reads pairs of a loader's name and a path as JSON from stdin. Writes a list as JSON to stdout: for
each pair what the loader said against the file, or null; then how often it asked for a network. For
"schema" instead of a loader, and a class instead of a path, it says the keys that the class takes.
"""

from __future__ import annotations

import importlib
import json
import logging
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

CLOSED = ("model", "environment", "component", "job_definition", "collections", "docker_args")
"""Keys whose own keys are not wanted."""

asked: list[str] = []


def refuse(*args: Any, **options: Any) -> Any:
    """Stand for every way to a network."""
    asked.append(repr(args)[:200])
    raise OSError("no network in this test")


def load(name: str, path: str) -> str | None:
    """Return what a loader says against a file; None if it takes it."""
    if name == "schema":
        return " ".join(sorted(keys_of(schema(path), "")))
    import azure.ai.ml
    from azure.ai.ml.entities import _load_functions

    loader = getattr(azure.ai.ml, name, None) or getattr(_load_functions, name)
    try:
        loader(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def schema(path: str) -> Any:
    """Return a schema of azure-ai-ml by its module and class."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"azure.ai.ml._schema.{module}"), name)(
        context={"base_path": "."}
    )


def keys_of(schema: Any, way: str) -> Iterator[str]:
    """Yield the keys that a schema takes, those of mappings in it with dots."""
    for name, field in schema.load_fields.items():
        key = f"{way}{field.data_key or name}"
        yield key
        options = [field, *getattr(field, "_union_fields", [])]
        for option in options if name not in CLOSED else ():
            if hasattr(option, "nested"):
                yield from keys_of(option.schema, f"{key}.")


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
