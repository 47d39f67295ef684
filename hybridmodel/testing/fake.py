"""`FakeEndpoint`: what stands between a model's client and the network, in a test."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybridmodel.checks import check_seconds, shown
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.model import HybridOnnxModel
from hybridmodel.remote.attempts import EndpointState
from hybridmodel.remote.client import EndpointClient, stand_ins
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.http.connection import HttpRequest, Reply
from hybridmodel.remote.trust.grants import Grant
from hybridmodel.remote.wire.protocol import HEADER_LENGTH, decode_request, split_body
from hybridmodel.testing.answers import as_answer, describe, json_reply, respond
from hybridmodel.testing.script import TICK_S, Event, FakeTime, Script

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeRequest:
    """A request for an answer that a fake endpoint got.

    Attributes
    ----------
    url : str
        Where it would have gone.
    headers : mapping of str to str
        As they were sent. There is never a key among them.
    inputs : dict of str to ndarray
        By name, as they were decoded.
    outputs : tuple of str
        Names that were asked for.
    at_s : float
        When it came: seconds of the fake's own time.
    """

    url: str
    headers: Mapping[str, str]
    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    at_s: float


def fake_endpoint(model: Any = None, answer: Any = None) -> FakeEndpoint:
    """Return what answers instead of a model's endpoint, within a ``with`` block.

    Parameters
    ----------
    model : HybridOnnxModel or mlflow.pyfunc.PyFuncModel, optional
        The model. Left out, the fake answers for every model that is made or loaded in the block.
    answer : callable, ONNX model, HybridOnnxModel, or arrays, optional
        What the endpoint computes. A function gets the inputs by name, and returns the outputs by
        name, or the only one; so do arrays that are given at once. An ONNX model (path, bytes or
        ModelProto) is run. By default it is the local model itself.

    Raises
    ------
    ConfigurationError
        If `model` is no hybrid model or has no endpoint, or the ONNX model cannot be loaded.

    Examples
    --------
    >>> with fake_endpoint(model) as fake:  # doctest: +SKIP
    ...     fake.fail(503, headers={"Retry-After": "2"})
    ...     assert model.infer(X, mode="azure_first").route == "local"
    """
    return FakeEndpoint(None if model is None else _hybrid(model), answer)


class FakeEndpoint:
    """An endpoint that is not there; `fake_endpoint` makes it. Safe to share between threads.

    What was said with `times` comes first, in its order; what was said without it then holds until
    something else is said, or `recover`. Only requests for an answer count.

    Attributes
    ----------
    requests : list of FakeRequest
        What was asked, also where it failed.
    """

    def __init__(self, model: HybridOnnxModel | None, answer: Any) -> None:
        self.requests: list[FakeRequest] = []
        self._model = model
        self._answer = as_answer(answer)
        self._time = FakeTime()
        self._script = Script(self._time)
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
            To so many requests; to all of them if it is left out.
        message : str, optional
            What is wrong, as Triton says it: a 500 is the model's own failure then, and without a
            message that of a gateway.
        headers : mapping of str to str, optional
            Such as ``{"Retry-After": "2"}``.

        Raises
        ------
        ConfigurationError
            If `status` or `times` is no such number.
        """
        if type(status) is not int or not 201 <= status <= 599:
            raise ConfigurationError(f"status is a number from 201 to 599, not {shown(status)}")
        named = {name.lower(): value for name, value in (headers or {}).items()}
        reply = Reply(status, named, b"", b"")
        if message is not None:
            said = json_reply(status, {"error": message})
            reply = replace(said, headers={**said.headers, **named})
        self._script.plan(Event(reply=reply), times)

    def disconnect(self, *, times: int | None = None) -> None:
        """Let no connection come about, for so many requests or for all."""
        self._script.plan(Event(connects=False), times)

    def time_out(self, *, times: int | None = None) -> None:
        """Give no answer while there is time, to so many requests or to all."""
        self._script.plan(Event(seconds=float("inf")), times)

    def slow(self, seconds: float, *, times: int | None = None) -> None:
        """Answer so late; where there is less time, it is an `EndpointTimeout`.

        It takes no time of yours, but where a `Hedge` waits: that waits for its `delay_s`.
        """
        self._script.plan(Event(seconds=check_seconds("seconds", seconds)), times)

    def recover(self) -> None:
        """Answer again."""
        self._script.recover()

    def advance(self, seconds: float) -> None:
        """Let time pass, such as that after which an open circuit is tried again."""
        self._time.sleep(check_seconds("seconds", seconds))

    def wait(self, timeout_s: float = 10.0) -> bool:
        """Wait until nothing goes on in the background, and tell whether that is so.

        Parameters
        ----------
        timeout_s : float, default=10
            At most so many seconds. Shadow mode compares in the background, and requests that a
            hedge did not wait for end there.
        """
        until = time.monotonic() + timeout_s
        while any(map(_is_busy, self._models)):
            if time.monotonic() > until:
                return False
            time.sleep(TICK_S)
        return True

    def __enter__(self) -> FakeEndpoint:
        """Begin to answer."""
        if self._is_open:
            raise ConfigurationError("this fake endpoint is in use already; make another one")
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
        """Wait for what goes on in the background, and give the endpoint back to the model."""
        try:
            self.wait()
        finally:
            self._restore.close()
            self._models.clear()
            self._is_open = False

    def _client(self, model: HybridOnnxModel, endpoint: TritonEndpoint) -> EndpointClient:
        """Make the client of a model, which shares nothing with those of its real endpoint."""
        endpoint = _without_keys(endpoint)
        self._models.append(model)
        return EndpointClient(
            endpoint,
            model.spec,
            make_transport=lambda _: _FakeTransport(self, model),
            sleep=self._time.sleep,
            clock=self._time.now,
            state=EndpointState(endpoint, self._time.now),
        )

    def _exchange(self, model: HybridOnnxModel, sent: HttpRequest) -> Reply:
        """Give the reply to one request, or fail as was said."""
        if not self._is_open:
            raise ConfigurationError("the `with` block of this model's fake endpoint has ended")
        if sent.method == "GET":
            reply = self._script.play(sent.deadline, counts=False)
            return reply or describe(self._answer, model)
        body = bytearray(b"".join(sent.body))
        request = decode_request(*split_body(body, sent.headers.get(HEADER_LENGTH)))
        noted = FakeRequest(
            url=sent.url,
            headers=sent.headers,
            inputs={name: array.copy() for name, array in request.inputs.items()},
            outputs=tuple(request.outputs),
            at_s=self._time.now(),
        )
        self.requests.append(noted)
        reply = self._script.play(sent.deadline, counts=True)
        return reply or respond(self._answer, model, request)


class _FakeTransport:
    """Hands what a client sends to the fake that answers for its model."""

    def __init__(self, fake: FakeEndpoint, model: HybridOnnxModel) -> None:
        self._fake = fake
        self._model = model

    def send(self, request: HttpRequest) -> Reply:
        """Return what the fake says to a request, or raise what it does instead."""
        return self._fake._exchange(self._model, request)

    def close(self) -> None:
        """Do nothing: there are no connections."""


def _hybrid(model: Any) -> HybridOnnxModel:
    """Return the model itself, also of what MLflow has wrapped around it."""
    unwrap = getattr(model, "get_raw_model", None)
    found = model if unwrap is None else unwrap()
    if not isinstance(found, HybridOnnxModel):
        raise ConfigurationError(
            "model is a HybridOnnxModel, or one loaded by mlflow.pyfunc, not a "
            f"{type(found).__name__}"
        )
    if found.endpoint is None:
        raise ConfigurationError("the model has no endpoint that a fake could stand for")
    return found


def _without_keys(endpoint: TritonEndpoint) -> TritonEndpoint:
    """Return an endpoint that wants no key, and to which data may be sent: it goes nowhere."""
    return replace(
        endpoint,
        auth_key_env=None,
        secondary_key_env=None,
        entra_id=False,
        binary=endpoint.binary is not False,
        origin=replace(endpoint.origin, allow=(Grant(None, endpoint.place),)),
    )


def _is_busy(model: HybridOnnxModel) -> bool:
    return bool(model.stats().get("shadow.pending") or model.client.hedging.size)
