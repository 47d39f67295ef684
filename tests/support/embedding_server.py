"""A server of OpenAI's embeddings API around a model of ours, that can be told to misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np

from hybridmodel import EmbeddingsEndpoint
from hybridmodel.local.session import LocalSession
from hybridmodel.remote.embeddings.wire import decode_request, encode_response
from tests.support import texts

Refusal = tuple[int, Mapping[str, Any], Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What came: the path with its query, the headers in lower case, and the JSON."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


def refusal(status: int, message: str, **headers: str) -> Refusal:
    """Return how OpenAI refuses; `_` in the name of a header stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"error": {"message": message, "type": "some_error", "code": None}}, named


class EmbeddingServer:
    """Answers with the vectors of a text model.

    Attributes
    ----------
    requests : list of Request
    refusals : list of Refusal
        For the next requests, one each.
    most_texts, longest_text : int
        More texts, or a longer one, are refused with 413 and 400.
    spoil : callable
        Gets the answer as JSON, and returns what is sent.
    """

    def __init__(self, onnx_model: bytes | None = None) -> None:
        self._session = LocalSession(
            onnx_model or texts.text_model(), session_options=texts.SESSION
        )
        self.forget()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, said, more = outer.answer(self.path, headers, body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                for name, value in {**more, "Content-Length": str(len(said))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def forget(self) -> None:
        """Behave well, and count anew."""
        self.requests: list[Request] = []
        self.refusals: list[Refusal] = []
        self.most_texts = self.longest_text = 1 << 30
        self.spoil: Callable[[dict[str, Any]], Any] = lambda said: said

    def endpoint(self, **options: Any) -> EmbeddingsEndpoint:
        """Return how it is reached: no key, one attempt, unless said otherwise."""
        given = {"uri": self.uri, "model": "m", "auth_key_env": None, "max_attempts": 1}
        return EmbeddingsEndpoint(**{**given, **options})

    def answer(
        self, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Answer one request: status, body and headers."""
        self.requests.append(Request(path=path, headers=headers, body=json.loads(body)))
        status, said, more = self._answer(body)
        return status, json.dumps(said).encode(), more

    def _answer(self, body: bytes) -> tuple[int, Any, Mapping[str, str]]:
        asked = decode_request(body)
        if self.refusals:
            return self.refusals.pop(0)
        if len(asked.texts) > self.most_texts:
            return refusal(413, f"batch size {len(asked.texts)} > {self.most_texts}")
        if max(map(len, asked.texts)) > self.longest_text:
            return refusal(400, "a text has more tokens than the model takes")
        feeds = {"text": np.array(asked.texts, object)}
        (vectors,) = self._session.run(feeds, self._session.spec.output_names).values()
        tokens = sum(len(text.split()) for text in asked.texts)
        return 200, self.spoil(json.loads(encode_response(vectors, asked, tokens).header)), {}

    def __enter__(self) -> Self:
        """Return the server, which runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
