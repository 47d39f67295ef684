"""A server that answers with a model of ours, and counts what is under way at a time."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from hybridmodel import TritonEndpoint
from hybridmodel.local.session import LocalSession
from hybridmodel.remote.wire.protocol import decode_request, encode_response

LENGTH = "Inference-Header-Content-Length"


class CountingServer:
    """Answers the protocol's requests.

    Attributes
    ----------
    peak : int
        The most requests that were under way at a time.
    rows : list of int
        Of each request.
    connections : int
        That were opened.
    keys : set of str
        That came.
    refusals : list of int
        Statuses with which the next requests are refused.

    Parameters
    ----------
    onnx_model : bytes
        What answers.
    hold_s : float, default=0.0
        How long each answer is held back, in seconds, so that requests can meet.
    """

    def __init__(self, onnx_model: bytes, hold_s: float = 0.0) -> None:
        self.session = LocalSession(onnx_model)
        self.hold_s = hold_s
        self.refusals: list[int] = []
        self.peak = self.now = self.connections = 0
        self.rows: list[int] = []
        self.keys: set[str] = set()
        self._changed = threading.Lock()
        self._never = threading.Event()
        counting = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                counting.connections += 1

            def do_POST(self) -> None:
                with counting:
                    status, headers, body = counting.answer(self.rfile, self.headers)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> CountingServer:
        """Count one more."""
        with self._changed:
            self.now += 1
            self.peak = max(self.peak, self.now)
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self.now -= 1

    def endpoint(self, **options: Any) -> TritonEndpoint:
        """Return how it is reached."""
        uri = f"http://127.0.0.1:{self._server.server_port}"
        given = {"auth_key_env": None, "binary": True, "max_attempts": 1, **options}
        return TritonEndpoint(uri=uri, model_name="m", **given)

    def answer(self, body: Any, headers: Any) -> tuple[int, dict[str, str], bytes]:
        """Answer one request, or refuse it."""
        sent = bytearray(body.read(int(headers["Content-Length"])))
        head = int(headers[LENGTH])
        request = decode_request(sent[:head], sent[head:])
        self.rows.append(len(next(iter(request.inputs.values()))))
        self._never.wait(self.hold_s)
        self.keys.add(headers.get("Authorization", ""))
        if self.refusals:
            return self.refusals.pop(0), {}, json.dumps({"error": "so it was said"}).encode()
        outputs = self.session.run(request.inputs, tuple(request.outputs))
        message = encode_response(
            {name: np.ascontiguousarray(array) for name, array in outputs.items()},
            dict.fromkeys(outputs, True),
            model_name="m",
            model_version="1",
            request_id=request.request_id,
        )
        tensors = b"".join(bytes(memoryview(part).cast("B")) for part in message.tensors)
        return 200, dict(message.headers), bytes(message.header) + tensors

    def forget(self) -> None:
        """Count anew."""
        self.peak, self.connections, self.hold_s = self.now, 0, 0.0
        self.rows, self.keys, self.refusals = [], set(), []

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(20)
