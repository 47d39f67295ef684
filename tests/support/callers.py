"""Many callers of one endpoint in this process, whose answers can be held back.

`Held` is a transport: it answers twice what it is sent, when it is let go. `Callers` are threads
that call one client, and keep what each of them got.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hybridmodel import ModelSpec, TensorSpec, TritonEndpoint
from hybridmodel.data.answer import Answer
from hybridmodel.remote.attempts import EndpointState
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.http.connection import HttpRequest, Reply
from hybridmodel.remote.wire.protocol import (
    InferRequest,
    decode_request,
    encode_response,
    split_body,
)

SPEC = ModelSpec(
    (TensorSpec("x", "FP32", (-1, 2), True),),
    (TensorSpec("y", "FP32", (-1, 2), True), TensorSpec("sum", "FP32", (-1,), True)),
)

Rule = Callable[[InferRequest], Reply | None]


def row(value: float, rows: int = 1) -> dict[str, Any]:
    """Return feeds of so many equal rows."""
    return {"x": np.full((rows, 2), value, np.float32)}


def refusal(status: int, text: str = "no", **headers: str) -> Reply:
    """Return what a server says that refuses; `_` stands for `-` in the names of headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, bytearray(b'{"error": "%b"}' % text.encode()), bytearray())


def computed(request: InferRequest, rows: int | None = None) -> Reply:
    """Return the right answer, or its first rows."""
    x = request.inputs["x"][:rows]
    outputs = {"y": 2 * x, "sum": x.sum(axis=1)}
    message = encode_response(
        {name: outputs[name] for name in request.outputs},
        dict.fromkeys(request.outputs, True),
        model_name="m",
        model_version="1",
        request_id=request.request_id,
    )
    return Reply(200, {}, bytearray(message.header), bytearray(b"".join(message.tensors)))


class Held:
    """A transport whose answers wait until they are let go; see `rule` for other answers.

    It says how many rows it takes at the most, when it is asked.
    """

    def __init__(self, rule: Rule = lambda _: None, most: int = 0) -> None:
        self.rule = rule
        self.most = most
        self.requests: list[InferRequest] = []
        self.threads: list[str] = []
        self._go = threading.Event()

    @property
    def rows(self) -> list[int]:
        """The rows of each request that came."""
        return [len(request.inputs["x"]) for request in self.requests]

    @property
    def values(self) -> list[list[float]]:
        """The first value of each row of each request."""
        return [request.inputs["x"][:, 0].tolist() for request in self.requests]

    def go(self) -> None:
        """Answer what waits, and from now on at once."""
        self._go.set()

    def send(self, sent: HttpRequest) -> Reply:
        """Answer, when it is let go or the deadline has passed."""
        if sent.method == "GET":
            return Reply(200, {}, bytearray(b'{"max_batch_size": %d}' % self.most), bytearray())
        length = sent.headers.get("Inference-Header-Content-Length")
        request = decode_request(*split_body(bytearray(b"".join(sent.body)), length))
        self.threads.append(threading.current_thread().name)
        self.requests.append(request)
        while not self._go.wait(0.01):
            sent.deadline.check("waiting for an answer")
        return self.rule(request) or computed(request)

    def close(self) -> None:
        """Do nothing: there are no connections."""


def client(transport: Any, spec: ModelSpec = SPEC, **options: Any) -> EndpointClient:
    """Make a client whose calls go together, and which shares nothing with other clients."""
    given = {"auth_key_env": None, "binary": True, "coalesce_rows": 256, "max_attempts": 1}
    endpoint = TritonEndpoint(uri="http://localhost", model_name="m", **{**given, **options})
    return EndpointClient(
        endpoint,
        spec,
        make_transport=lambda _: transport,
        sleep=lambda _: None,
        state=EndpointState(endpoint),
    )


class Callers:
    """Threads that each make one call of a client; what came of them is in `outcomes`."""

    def __init__(self, client: EndpointClient) -> None:
        self.client = client
        self.outcomes: dict[int, Answer | BaseException] = {}
        self.threads: list[threading.Thread] = []

    def call(
        self,
        *values: float,
        rows: int = 1,
        feeds: Mapping[str, Any] | None = None,
        outputs: tuple[str, ...] = ("y",),
        goes_alone: bool = False,
        **options: Any,
    ) -> None:
        """Call from a thread for each value, one after the other, so that their order is known.

        That a call `goes_alone` has to be said, because it enters nothing.
        """
        for value in values:
            asked = row(value, rows) if feeds is None else feeds
            arguments = (self._run, len(self.threads), asked, outputs, {"rows": rows, **options})
            run = contextvars.copy_context().run
            thread = threading.Thread(target=run, args=arguments, name="caller", daemon=True)
            self.threads.append(thread)
            before = self.entered
            thread.start()
            if not goes_alone:
                wait_until(lambda before=before: self.entered > before)  # type: ignore[misc]

    @property
    def entered(self) -> float:
        """Calls that came so far."""
        return self.client.stats()["gathered.calls"]

    def occupy(self, transport: Held, **options: Any) -> None:
        """Make two calls, whose requests are under way then; later ones of the kind wait."""
        before = len(transport.requests)
        self.call(1.0, 2.0, **options)
        wait_until(lambda: len(transport.requests) == before + 2)

    def ended(self) -> list[Answer | BaseException]:
        """Wait for all calls, and return what came of them in the order in which they began."""
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        return [self.outcomes[number] for number in range(len(self.threads))]

    def answers(self) -> list[Answer]:
        """Wait for all calls, and return their answers; an error of one is raised."""
        found = []
        for outcome in self.ended():
            if isinstance(outcome, BaseException):
                raise outcome
            found.append(outcome)
        return found

    def _run(
        self, number: int, feeds: Mapping[str, Any], outputs: tuple[str, ...], options: Any
    ) -> None:
        try:
            self.outcomes[number] = self.client.infer(feeds, outputs, **options)
        except BaseException as error:
            self.outcomes[number] = error


def waiting(client: EndpointClient) -> int:
    """Count the calls that wait for a request of others to end."""
    return sum(len(lane.waiting) for lane in _lanes(client))


def under_way(client: EndpointClient) -> int:
    """Count the requests that are under way."""
    return sum(len(lane.running) for lane in _lanes(client))


def _lanes(client: EndpointClient) -> list[Any]:
    assert client._gatherer is not None
    return [*client._gatherer._lanes._lanes.values()]


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until something has come true; it must."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)
