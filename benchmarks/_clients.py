"""The contestants of ``remote.py``: each sends one float32 array ``x`` and gives back ``y``."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from _measure import OwnClock

AZURE_EP = "onnxruntime-azure==1.15.0"
AZURE_EP_REQUIREMENTS = (AZURE_EP, "numpy<2", "protobuf<5")

_HEADER_LENGTH = "Inference-Header-Content-Length"
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Case:
    """What is sent at once, to which model, and how many such requests make up the whole."""

    name: str
    model: str
    shape: tuple[int, ...]
    answer_shape: tuple[int, ...]
    requests: int = 1
    arrays: int = 2

    @property
    def sent_bytes(self) -> int:
        """Size of the data of one request."""
        return 4 * int(np.prod(self.shape))

    @property
    def head(self) -> bytes:
        """The JSON part of a request."""
        size = {"binary_data_size": self.sent_bytes}
        tensor = {"name": "x", "datatype": "FP32", "shape": self.shape, "parameters": size}
        asked = {"name": "y", "parameters": {"binary_data": True}}
        return json.dumps({"inputs": [tensor], "outputs": [asked]}).encode()


class RawSocket:
    """The floor: ready headers and the data out, the answer in, nothing checked."""

    def __init__(self, uri: str, case: Case) -> None:
        parts, head = urlsplit(uri), case.head
        self._socket = socket.create_connection((parts.hostname, parts.port), _TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._small = case.sent_bytes < 1 << 16
        self._start = (
            f"POST /v2/models/{case.model}/versions/1/infer HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Length: {len(head) + case.sent_bytes}\r\n"
            f"{_HEADER_LENGTH}: {len(head)}\r\n\r\n"
        ).encode() + head
        self._answer_shape = case.answer_shape
        self._answer_bytes = 4 * int(np.prod(case.answer_shape))

    def infer(self, array: Any) -> Any:
        """Send an array, and return the last bytes of the answer as one."""
        if self._small:
            self._socket.sendall(self._start + array.tobytes())
        else:
            self._socket.sendall(self._start)
            self._socket.sendall(memoryview(array).cast("B"))
        body = self._receive()
        return np.frombuffer(body[len(body) - self._answer_bytes :], "<f4").reshape(
            self._answer_shape
        )

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> memoryview:
        received = self._socket.recv(1 << 16)
        end = received.index(b"\r\n\r\n") + 4
        at = received.index(b"\r\nContent-Length: ") + 18
        length = int(received[at : received.index(b"\r", at)])
        have = len(received) - end
        if have == length:
            return memoryview(received)[end:]
        body = bytearray(length)
        body[:have] = received[end:]
        with memoryview(body) as view:
            while have < length:
                have += self._socket.recv_into(view[have:])
        return memoryview(body)


class Requests:
    """``requests.post`` as one writes it by hand, on a session so that it keeps its connection."""

    def __init__(self, uri: str, case: Case) -> None:
        import requests

        self._session = requests.Session()
        self._url = f"{uri}/v2/models/{case.model}/versions/1/infer"
        self._head = case.head
        self._headers = {_HEADER_LENGTH: str(len(self._head)), "Accept-Encoding": "identity"}
        self._answer_shape = case.answer_shape

    def infer(self, array: Any) -> Any:
        body = b"".join((self._head, array))
        answer = self._session.post(self._url, data=body, headers=self._headers, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        start = int(answer.headers[_HEADER_LENGTH])
        return np.frombuffer(answer.content, "<f4", offset=start).reshape(self._answer_shape)

    def close(self) -> None:
        self._session.close()


class TritonClient:
    """``tritonclient.http``."""

    def __init__(self, uri: str, case: Case) -> None:
        from tritonclient import http

        self._client = http.InferenceServerClient(
            urlsplit(uri).netloc, network_timeout=_TIMEOUT_S, connection_timeout=_TIMEOUT_S
        )
        self._model = case.model
        self._input = http.InferInput("x", list(case.shape), "FP32")
        self._outputs = [http.InferRequestedOutput("y", binary_data=True)]

    def infer(self, array: Any) -> Any:
        """Send an array, and return the answer as one."""
        self.prepare(array)
        return self.bare_infer().as_numpy("y")

    def prepare(self, array: Any) -> None:
        """Make the array what `bare_infer` sends."""
        self._input.set_data_from_numpy(array, binary_data=True)

    def bare_infer(self) -> Any:
        """Call ``infer`` on what is ready, and leave its answer as it is."""
        return self._client.infer(self._model, [self._input], "1", outputs=self._outputs)

    def close(self) -> None:
        self._client.close()


class TritonGrpcClient(TritonClient):
    """``tritonclient.grpc``."""

    def __init__(self, address: str, case: Case) -> None:
        from tritonclient import grpc

        self._client = grpc.InferenceServerClient(address)
        self._model = case.model
        self._input = grpc.InferInput("x", list(case.shape), "FP32")
        self._outputs = [grpc.InferRequestedOutput("y")]

    def prepare(self, array: Any) -> None:
        self._input.set_data_from_numpy(array)


class AzureEp:
    """The C++ client in its own process, which is told when it is its turn.

    Raises
    ------
    hybridmodel.exceptions.ConfigurationError, RuntimeError
        If its environment cannot be made, or it does not run there.
    """

    def __init__(self, uri: str) -> None:
        from hybridmodel.serving.environments import environment

        folder = environment(AZURE_EP.replace("==", "-"), AZURE_EP_REQUIREMENTS)
        script = Path(__file__).with_name("_azure_ep.py")
        self._process = subprocess.Popen(
            [str(folder / "bin" / "python"), "-W", "ignore", str(script), uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self.ask(version=True)["version"]

    def ask(self, **wanted: Any) -> dict[str, Any]:
        """Send one line, and return what comes back.

        Raises
        ------
        RuntimeError
            If the process has ended instead.
        """
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process has no pipes")
        with suppress(BrokenPipeError):  # It has ended, as the next line will find.
            process.stdin.write(json.dumps(wanted) + "\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process with {AZURE_EP} ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def contestant(self, case: Case, path: Path) -> tuple[OwnClock, list[float]]:
        """Open a case, and return its clock with the first values of the answer."""
        first = self.ask(
            open=case.name,
            model=case.model,
            path=str(path),
            shape=case.shape,
            arrays=case.arrays,
        )["first"]

        def seconds(number: int) -> float:
            return float(self.ask(go=case.name, number=number)["seconds"])

        return OwnClock(seconds), first

    def close(self) -> None:
        with self._process as process:
            if process.stdin is not None:
                process.stdin.close()


def connected(stack: ExitStack, make: Callable[[str, Case], Any], uri: str, case: Case) -> Any:
    """Make a client that the stack closes."""
    client = make(uri, case)
    stack.callback(client.close)
    return client
