"""A `ShadowRunner` with its two routes, and an endpoint that waits until a test lets it answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hybridmodel import TritonEndpoint
from hybridmodel.data.binding import Binding
from hybridmodel.local.session import LocalSession
from hybridmodel.process.counters import Counters
from hybridmodel.remote.client import EndpointClient
from hybridmodel.routing import Shadow
from hybridmodel.routing.routes import Request, Routes
from hybridmodel.routing.shadowing import ShadowRunner
from tests.support.faulty import http

Array = np.ndarray[Any, Any]


LIMIT_S = 20.0
"""No test takes so long; one that waits longer has failed."""


X = np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32)


class Shadowed:
    """A runner for a model and an endpoint."""

    def __init__(self, model: bytes, endpoint: TritonEndpoint, **options: Any) -> None:
        self.local = LocalSession(model)
        self.counters = Counters()
        self.client = EndpointClient(endpoint, self.local.spec)
        self.routes = Routes(self.local, self.client, self.counters)
        self.runner = ShadowRunner(self.routes, **options)

    def ask(self, data: Any, policy: Shadow, outputs: Any = None, timeout_s: Any = None) -> Any:
        """Answer one call."""
        bound = Binding(self.local.spec).bind(data)
        names = outputs or self.local.spec.output_names
        return self.runner.answer(policy, Request(bound, names, timeout_s))

    def stats(self) -> dict[str, float]:
        """Return the numbers, once nothing is pending."""
        assert self.runner.wait(LIMIT_S)
        return self.runner.stats()

    def close(self) -> None:
        """Wait, and close the connections."""
        self.runner.wait(LIMIT_S)
        self.client.close()


Shadows = Callable[..., Shadowed]


class Held:
    """Scripts that answer for ``y`` [n, 2] once they may."""

    def __init__(self, rows: int) -> None:
        self.may = threading.Event()
        self.asked = threading.Event()
        output = {"name": "y", "datatype": "FP32", "shape": [rows, 2], "data": [0.0] * 2 * rows}
        self._good = http(200, json.dumps({"outputs": [output]}).encode())

    def script(self, connection: socket.socket) -> None:
        """Say that the request came, wait, and answer."""
        self.asked.set()
        self.may.wait(LIMIT_S)
        self._good(connection)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def raise_error(problem: Exception) -> None:
    """Raise, in a lambda."""
    raise problem
