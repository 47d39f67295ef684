"""`FakeEndpoint`: the endpoint that a model's client reaches in a test, instead of the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hybridmodel.checks import check_count, check_seconds
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.model import HybridOnnxModel
from hybridmodel.remote.attempts import EndpointState
from hybridmodel.remote.client import EndpointClient, stand_ins
from hybridmodel.remote.clients import client_of
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.http.connection import HttpRequest, Reply
from hybridmodel.remote.trust.grants import Grant
from hybridmodel.testing.answers import as_answer, describe, json_reply, read, respond
from hybridmodel.testing.script import TICK_S, Event, Script


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeRequest:
    """A request for an answer that reached a fake endpoint.

    Attributes
    ----------
    url : str
        The URL that it was meant for.
    headers : mapping of str to str
        Its headers. They never contain a key.
    inputs : dict of str to ndarray
        The decoded inputs by name.
    outputs : tuple of str
        Names of the requested outputs.
    at_s : float
        When it arrived, in seconds of the fake's own time.
    """

    url: str
    headers: Mapping[str, str]
    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    at_s: float


def fake_endpoint(model: Any = None, answer: Any = None) -> FakeEndpoint:
    """Return a fake that replaces a model's endpoint inside a ``with`` block.

    Parameters
    ----------
    model : HybridOnnxModel or mlflow.pyfunc.PyFuncModel, optional
        The model. Without one, the fake answers for every model that the block makes or loads.
    answer : callable, ONNX model, HybridOnnxModel, or arrays, optional
        What the endpoint computes: arrays, by name or the only one; a function that gets the inputs
        by name and returns such arrays; or an ONNX model (path, bytes or ModelProto). The default
        is the local model.

    Raises
    ------
    ConfigurationError
        If `model` is not a hybrid model or has no endpoint, or the ONNX model cannot be loaded.

    Examples
    --------
    >>> with fake_endpoint(model) as fake:  # doctest: +SKIP
    ...     fake.fail(503, headers={"Retry-After": "2"})
    ...     assert model.infer(X, mode="azure_first").route == "local"
    """
    return FakeEndpoint(None if model is None else _hybrid(model), answer)


class FakeEndpoint:
    """An endpoint without a server; `fake_endpoint` makes it. Threads may share it.

    Events that were given `times` come first, in their order. An event without `times` then lasts
    until another one, or `recover`. Only requests for an answer count.

    Attributes
    ----------
    requests : list of FakeRequest
        All requests, including those that failed.
    """

    def __init__(self, model: HybridOnnxModel | None, answer: Any) -> None:
        self.requests: list[FakeRequest] = []
        self._model = model
        self._answer = as_answer(answer)
        self._script = Script()
        self._models: list[HybridOnnxModel] = []
        self._restore = ExitStack()
        self._is_open = False

    def fail(
        self,
        status: int,
        *,
        times: int | None = None,
        message: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with an HTTP status.

        Parameters
        ----------
        status : int
            From 201 to 599.
        times : int, optional
            The number of requests; all of them by default.
        message : str, optional
            The text of Triton's error. A 500 with one is a failure of the model, a 500 without one
            a failure of a gateway.
        headers : mapping of str to str, optional
            Headers of the answer, such as ``{"Retry-After": "2"}``.

        Raises
        ------
        ConfigurationError
            If `status` or `times` is not valid.
        """
        check_count("status", status, 201, 599)
        named = {name.lower(): value for name, value in (headers or {}).items()}
        reply = Reply(status, named, b"", b"")
        if message is not None:
            said = json_reply(status, {"error": message})
            reply = replace(said, headers={**said.headers, **named})
        self._script.plan(Event(reply=reply), times)

    def disconnect(self, *, times: int | None = None) -> None:
        """Refuse connections, for a number of requests or for all."""
        self._script.plan(Event(connects=False), times)

    def time_out(self, *, times: int | None = None) -> None:
        """Give no answer before the deadline, to a number of requests or to all."""
        self._script.plan(Event(seconds=float("inf")), times)

    def slow(self, seconds: float, *, times: int | None = None) -> None:
        """Answer after some seconds; a shorter deadline ends with an `EndpointTimeout`.

        The test does not wait for them, except that a `Hedge` waits for its `delay_s`.
        """
        self._script.plan(Event(seconds=check_seconds("seconds", seconds)), times)

    def recover(self) -> None:
        """Answer normally again."""
        self._script.recover()

    def advance(self, seconds: float) -> None:
        """Let time pass, for example until an open circuit is tried again."""
        self._script.sleep(check_seconds("seconds", seconds))

    def wait(self, timeout_s: float = 10.0) -> bool:
        """Wait until background work has ended, and tell whether it has.

        Parameters
        ----------
        timeout_s : float, default=10
            The longest wait. Shadow mode compares in the background, and requests that a hedge did
            not wait for end there.
        """
        until = time.monotonic() + timeout_s
        for model in self._models:
            while model.stats().get("shadow.pending") or model.client.hedging.size:
                if time.monotonic() > until:
                    return False
                time.sleep(TICK_S)
        return True

    def __enter__(self) -> FakeEndpoint:
        """Replace the endpoint."""
        if self._is_open:
            raise ConfigurationError("this fake endpoint is already in use; make another one")
        self._is_open = True
        stand_ins.append(self._client)
        if self._model is None:
            self._restore.callback(stand_ins.remove, self._client)
            return self
        try:
            self._restore.callback(vars(self._model).update, vars(self._model).copy())
            self._model._connect(None)
        finally:
            stand_ins.remove(self._client)
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for background work, and give the model its real endpoint back."""
        try:
            self.wait()
        finally:
            self._restore.close()
            self._models.clear()
            self._is_open = False

    def _client(self, model: HybridOnnxModel, endpoint: Endpoint) -> EndpointClient:
        """Make a client for a model that shares nothing with clients of its real endpoint."""
        endpoint = _without_keys(endpoint)
        self._models.append(model)
        return client_of(
            endpoint,
            model.spec,
            make_transport=lambda _: _FakeTransport(partial(self._exchange, model)),
            sleep=self._script.sleep,
            clock=self._script.now,
            state=EndpointState(endpoint, self._script.now),
        )

    def _exchange(self, model: HybridOnnxModel, sent: HttpRequest) -> Reply:
        """Return the reply to a request, or raise the planned error."""
        if not self._is_open:
            raise ConfigurationError("the `with` block of this model's fake endpoint has ended")
        if sent.method == "GET":
            reply = self._script.play(sent.deadline, counts=False)
            return reply or describe(self._answer, model)
        request = read(model, sent)
        noted = FakeRequest(
            url=sent.url,
            headers={**sent.headers, **sent.own},
            inputs={name: array.copy() for name, array in request.inputs.items()},
            outputs=tuple(request.outputs),
            at_s=self._script.now(),
        )
        self.requests.append(noted)
        reply = self._script.play(sent.deadline, counts=True)
        return reply or respond(self._answer, model, request, sent)


@dataclass(frozen=True, slots=True)
class _FakeTransport:
    """Passes a client's requests to its fake."""

    send: Callable[[HttpRequest], Reply]

    def close(self) -> None:
        """Do nothing: there are no connections."""


def _hybrid(model: Any) -> HybridOnnxModel:
    """Return the hybrid model, also from MLflow's wrapper, if it has an endpoint."""
    unwrap = getattr(model, "get_raw_model", None)
    found = model if unwrap is None else unwrap()
    if not isinstance(found, HybridOnnxModel):
        raise ConfigurationError(
            "model is a HybridOnnxModel, or one that mlflow.pyfunc loaded, not a "
            f"{type(found).__name__}"
        )
    if found.endpoint is None:
        raise ConfigurationError("the model has no endpoint that a fake could replace")
    return found


def _without_keys(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that needs no key, and that may get data: none leaves the process."""
    if isinstance(endpoint, TritonEndpoint):
        endpoint = replace(endpoint, binary=endpoint.binary is not False)
    return replace(
        endpoint,
        auth_key_env=None,
        secondary_key_env=None,
        entra_id=False,
        origin=replace(endpoint.origin, allow=(Grant(None, endpoint.place),)),
    )
