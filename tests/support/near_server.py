"""A server on a Unix socket of this machine, with Triton's extension for shared memory."""

from __future__ import annotations

import json
import mmap
import os
import socketserver
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast

import numpy as np

from hybridmodel import ModelSpec, TensorSpec, TritonEndpoint

SPEC = ModelSpec(
    (TensorSpec("x", "FP32", (-1, 32), batched=True),),
    (TensorSpec("y", "FP32", (-1, 32), batched=True),),
)
"""Of the one model that it serves: ``y = 2 x``."""

LARGE = np.arange(32_000, dtype=np.float32).reshape(1_000, 32)
SMALL = LARGE[:2]

Trouble = Callable[[dict[str, Any]], tuple[int, bytes] | None]
"""Sees what was asked; answers instead of the server, or lets it go on."""


class NearServer:
    """Doubles what it is sent, wherever that lies, and notes what it was told.

    Attributes
    ----------
    orders : list of (str, str)
        What was to be done to regions, and their names.
    asked : list of dict
        The JSON parts of the requests to the model.
    sizes : list of int
        The lengths of their bodies.
    refused : dict of str to int
        Orders that are answered with these statuses.
    trouble : callable, optional
        What a request to the model meets.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="near-")
        self.path = str(Path(self._folder.name, "http"))
        self.uri = f"unix://{self.path}"
        self.regions: dict[str, Any] = {}
        self.orders: list[tuple[str, str]] = []
        self.asked: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.refused: dict[str, int] = {}
        self.trouble: Trouble | None = None
        self._server = _Server(self.path, _Handler)
        self._server.near = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def endpoint(self, **options: Any) -> TritonEndpoint:
        """Describe it."""
        known: dict[str, Any] = {"auth_key_env": None, "binary": True, "max_attempts": 1}
        return TritonEndpoint(uri=self.uri, model_name="m", **{**known, **options})

    def answer(self, path: str, body: bytes, split: int) -> tuple[int, bytes, int]:
        """Return status, body, and how much of that is JSON."""
        if "/region/" in path:
            name, order = path.split("/")[-2:]
            return (*self._order(order, name, body), 0)
        asked = json.loads(body[: split or len(body)])
        self.asked.append(asked)
        self.sizes.append(len(body))
        met = self.trouble(asked) if self.trouble else None
        return (*met, 0) if met else self._doubled(asked, body[split:] if split else b"")

    def _order(self, order: str, name: str, body: bytes) -> tuple[int, bytes]:
        self.orders.append((order, name))
        if order in self.refused:
            return self.refused[order], b'{"error":"no"}'
        if order == "unregister":
            self.regions.pop(name, None)
            return 200, b""
        told = json.loads(body)
        descriptor = os.open(f"/dev/shm{told['key']}", os.O_RDWR)
        self.regions[name] = mmap.mmap(descriptor, told["byte_size"])
        os.close(descriptor)
        return 200, b""

    def _doubled(self, asked: dict[str, Any], rest: bytes) -> tuple[int, bytes, int]:
        (given,), (wanted,) = asked["inputs"], asked["outputs"]
        where = [item["parameters"] for item in (given, wanted)]
        names = [item.get("shared_memory_region") for item in where]
        if any(name is not None and name not in self.regions for name in names):
            return 404, b'{"error":"Unable to find shared memory region"}', 0
        count = int(np.prod(given["shape"]))
        at = where[0].get("shared_memory_offset", 0)
        x = np.frombuffer(rest if names[0] is None else self.regions[names[0]], "<f4", count, at)
        y, told = (2 * x).tobytes(), {"name": "y", "datatype": "FP32", "shape": given["shape"]}
        if names[1] is not None:
            at = where[1]["shared_memory_offset"]
            self.regions[names[1]][at : at + len(y)] = y
            y = b""
        else:
            told["parameters"] = {"binary_data_size": len(y)}
        head = json.dumps({"id": asked["id"], "model_version": "1", "outputs": [told]}).encode()
        return 200, head + y, len(head)

    def __enter__(self) -> NearServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._folder.cleanup()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    near: NearServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        near = cast("_Server", self.server).near
        near.headers.append(dict(self.headers))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        split = int(self.headers.get("Inference-Header-Content-Length", 0))
        status, answer, json_bytes = near.answer(self.path, body, split)
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(answer)))
        if json_bytes:
            self.send_header("Inference-Header-Content-Length", str(json_bytes))
        self.end_headers()
        self.wfile.write(answer)
