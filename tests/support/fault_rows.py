"""What rows of the fault table share: a model, and a real server behind a gateway that spoils."""

from __future__ import annotations

import socket
import struct
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hybridmodel import (
    Answer,
    EndpointRefused,
    HybridModelError,
    HybridOnnxModel,
)
from hybridmodel.serving import EmbeddedServer, TritonServer, serve
from hybridmodel.serving.triton_files import unsupported
from tests.support import models
from tests.support.connecting import SETTINGS
from tests.support.fault_report import Note, Seen, noting, seen
from tests.support.faulty import (
    Gateway,
    Rule,
    Script,
    forward,
    http,
)

TIMEOUT_S = 10.0


SLACK_S = 2.0


KEY = "fault-key-83c1f0"


X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


LOCAL = models.linear(seed=0)


def expected(data: np.ndarray = X, version: int = 1) -> np.ndarray:
    """Compute what a version of the model at the endpoint answers."""
    found: np.ndarray = HybridOnnxModel(models.linear(seed=version)).predict(data)
    return found


Y = expected()


@pytest.fixture(scope="module")
def upstream() -> Iterator[TritonServer | EmbeddedServer]:
    """Serve a model in two versions, and one more, by the real Triton where it runs."""
    served: dict[str, Any] = {"versions": models.served()["versions"], "linear": models.linear()}
    with TritonServer(served) if unsupported() is None else serve(served) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the key, and keep the machine's proxies and certificates out."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAULT_KEY", KEY)


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Note:
    """Record a line of the report."""
    return noting(record_property)


def hybrid(gateway: Gateway, credential: Any = None, **options: Any) -> HybridOnnxModel:
    """Make a model whose endpoint stands behind the gateway."""
    given = {
        "model_name": "versions",
        "auth_key_env": "FAULT_KEY",
        "timeout_s": TIMEOUT_S,
        **options,
    }
    return HybridOnnxModel(LOCAL, endpoint=gateway.endpoint(**given), credential=credential)


def ask(model: HybridOnnxModel, data: Any = X, **options: Any) -> Seen:
    """Ask the endpoint once, and check what holds for every call: it ends in time, without the key.

    What has to be there instead of the key is the test's to say.
    """
    result = seen(lambda: model.infer(data, use_azure=True, **options))
    assert model.endpoint is not None
    assert result.seconds < options.get("timeout", model.endpoint.timeout_s) + SLACK_S
    if isinstance(result.value, BaseException):
        assert KEY not in "".join(traceback.format_exception(result.value))
        assert KEY not in repr(vars(result.value))
    return result


def assert_right(result: Seen | Answer, wanted: np.ndarray = Y) -> None:
    """Check that the endpoint's model answered, and rightly."""
    came = result.answer if isinstance(result, Seen) else result
    assert came.route == "azure"
    np.testing.assert_allclose(came.outputs["y"], wanted, rtol=1e-5)


def posts(gateway: Gateway) -> list[bytes]:
    """Return the requests that ask the model."""
    return [request for request in gateway.requests if request.startswith(b"POST")]


def close(connection: socket.socket) -> None:
    """Go away without a word."""
    connection.shutdown(socket.SHUT_RDWR)


def reset(connection: socket.socket) -> None:
    """Go away with a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def json_answer(data: bytes) -> Script:
    """Return a script that gives an answer without the binary extension."""
    head = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[3,2],"data":['
    return http(200, head + data + b"]}]}")


@dataclass(frozen=True)
class Case:
    """A fault that a gateway injects some times; after that the real server answers.

    Attributes
    ----------
    number : int
        Row of the table.
    injected : str
        In words.
    script : Script
        On the wire.
    kind : type of error, optional
        What the caller sees; None for the right answer.
    status : int, optional
        Of the error.
    says : tuple of str
        All stand in its message.
    times : int
        How often it is injected. The same number of requests has to arrive, and one more where
        an answer is expected: whoever asks too often gets an answer, and fails the test.
    options : dict
        Of the endpoint.
    """

    number: int
    injected: str
    script: Script
    kind: type[HybridModelError] | None = None
    status: int | None = None
    says: tuple[str, ...] = ()
    times: int = 1
    options: dict[str, Any] = field(default_factory=dict)


def refused(number: int, injected: str, script: Script, status: int, *says: str) -> Case:
    """Describe a fault that is told at once, and not tried again."""
    return Case(number, injected, script, EndpointRefused, status, says)


PAGE = b"<html><title>Sign in</title></html>"


def answered(result: Seen, note: Note, number: int, injected: str) -> Answer:
    """Note a call that has to be answered."""
    note(number, injected, result, result.seconds)
    assert_right(result)
    return result.answer


def raised(
    result: Seen, note: Note, number: int, injected: str, kind: type[HybridModelError], *says: str
) -> Any:
    """Note a call that has to fail."""
    note(number, injected, result, result.seconds)
    assert type(result.error) is kind, result.value
    assert all(words in str(result.error) for words in says), str(result.error)
    return result.error


def only(key: str) -> Rule:
    """Return a rule: 401 for every other key."""
    accepted = f"Bearer {key}\r\n".encode()
    return lambda request: None if accepted in request else http(401, b"token expired")


class Crowd:
    """A rule that counts how many requests are under way, and may refuse above a number."""

    def __init__(self, upstream: int, most: int = 1000) -> None:
        self._upstream, self._most = upstream, most
        self._lock = threading.Lock()
        self.now = self.highest = self.refused = 0
        self.peers: set[Any] = set()

    def __call__(self, request: bytes) -> Script:
        """Answer by the real server while counting."""

        def script(connection: socket.socket) -> None:
            self.peers.add(connection.getpeername())
            with self._lock:
                self.now += 1
                self.highest = max(self.highest, self.now)
                over = self.now > self._most
                self.refused += over
            try:
                answer_with = http(429) if over else forward(self._upstream, request, 1, 0.01)
                answer_with(connection)
            finally:
                with self._lock:
                    self.now -= 1

        return script
