"""The remote route: ask an endpoint for outputs, and believe only an answer that adds up.

`EndpointClient.infer` encodes; `_exchange` adds the key and turns statuses into errors; the
transport below does the I/O; `_checked` compares the answer with what the local model promises.
"""

from __future__ import annotations

import itertools
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hybridmodel.exceptions import (
    AuthenticationFailed,
    EndpointError,
    EndpointRefused,
    EndpointUnavailable,
    InputMismatch,
    ProtocolError,
    SpecMismatch,
)
from hybridmodel.per_process import PerProcess
from hybridmodel.remote.connection import Reply
from hybridmodel.remote.credentials import key_source
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.protocol import (
    BINARY_EXTENSION,
    MAX_BODY_BYTES,
    InferResponse,
    Message,
    decode_metadata,
    decode_object,
    decode_response,
    encode_request,
)
from hybridmodel.remote.resilience import Deadline, RetryBudget, RetryPolicy
from hybridmodel.remote.statuses import refusal
from hybridmodel.remote.tensor_data import Buffer
from hybridmodel.remote.transport import PooledTransport, Transport
from hybridmodel.tensors import ModelSpec, format_shape

Array = np.ndarray[Any, Any]

_log = logging.getLogger("hybridmodel")

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "hybridmodel"}
"""Sent with every request. Triton would compress each answer that may be compressed."""


@dataclass(frozen=True)
class RemoteAnswer:
    """What the endpoint computed, and how it was asked.

    Attributes
    ----------
    outputs : dict of str to ndarray
        In the order asked; writable, and the caller's own.
    model_version : str or None
        The version that answered, as the server says.
    attempts : int
        Requests sent, the last included.
    request_id : str
        The id they carried.
    """

    outputs: dict[str, Array]
    model_version: str | None
    attempts: int
    request_id: str


@dataclass(frozen=True)
class _Call:
    """What all requests of one logical call share."""

    deadline: Deadline
    request_id: str | None
    key: str | None = field(repr=False)
    renewed: bool = False

    def without_key(self, text: str) -> str:
        """Blot out the key, which a server may repeat in anything it says."""
        return text.replace(self.key, "***") if self.key else text


class EndpointClient:
    """Talks to one model at one endpoint; safe to share between threads, makes no call when made.

    Parameters
    ----------
    endpoint : TritonEndpoint
        Where.
    spec : ModelSpec
        What the local model takes and gives, which the endpoint has to match.
    credential : object, optional
        As `hybridmodel.remote.credentials.key_source` takes it.
    make_transport : callable, default=PooledTransport
        Makes the transport, once in each process.
    policy : RetryPolicy, optional
        How often, and after which pauses, an infer request is sent again; by default as often as
        the endpoint says.
    sleep : callable, default=time.sleep
        Waits for so many seconds.

    Raises
    ------
    ConfigurationError
        If the credential is of no known kind.
    """

    def __init__(
        self,
        endpoint: TritonEndpoint,
        spec: ModelSpec,
        credential: Any = None,
        *,
        make_transport: Callable[[TritonEndpoint], Transport] = PooledTransport,
        policy: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = endpoint
        self._spec = spec
        self._key = key_source(endpoint, credential)
        self._make_transport = make_transport
        self._policy = policy or RetryPolicy(endpoint.max_attempts)
        self._sleep = sleep
        self._budget = RetryBudget()
        self._transport: PerProcess[Transport] = PerProcess()
        self._speaks_binary = endpoint.binary
        self._infer_url = f"{endpoint.model_url}/infer"

    def infer(
        self,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        rows: int | None = None,
        timeout_s: float | None = None,
    ) -> RemoteAnswer:
        """Ask for the named outputs.

        Parameters
        ----------
        feeds : mapping of str to ndarray
            Every input by name, in its declared dtype; at least one row.
        outputs : sequence of str
            Names, in the order wanted.
        rows : int, optional
            Rows that every batched output must have.
        timeout_s : float, optional
            Total time; default is the endpoint's.

        Raises
        ------
        EndpointError
            One of its kinds, when no good answer came.
        SpecMismatch
            When the answer has other names, datatypes or shapes than the local model.
        InputMismatch
            When the request is too large to be sent.
        """
        call = self._begin(timeout_s, str(uuid.uuid4()))
        message = encode_request(
            feeds, outputs, request_id=call.request_id or "", binary=self._binary(call)
        )
        response, attempts = self._retried(call, message)
        return RemoteAnswer(
            self._checked(call, response, outputs, rows),
            response.model_version,
            attempts,
            call.request_id or "",
        )

    def metadata(self, timeout_s: float | None = None) -> ModelSpec:
        """Ask the endpoint for the inputs and outputs of its model.

        Raises
        ------
        EndpointError
            One of its kinds, when no good answer came.
        """
        call = self._begin(timeout_s)
        reply = self._exchange(call, "GET", self.endpoint.model_url)
        try:
            return decode_metadata(reply.header)
        except ProtocolError as error:
            raise self._placed(call, error, reply) from None

    def is_ready(self, timeout_s: float | None = None) -> bool:
        """Tell whether the endpoint says that it can answer for this model now.

        Raises
        ------
        EndpointError
            When it could not be asked, or not with this key.
        """
        url = f"{self.endpoint.model_url}/ready"
        try:
            self._exchange(self._begin(timeout_s), "GET", url)
        except (EndpointRefused, EndpointUnavailable) as error:
            # Servers say "not ready" with one status or another; only silence is no answer.
            if error.status is None:
                raise
            return False
        return True

    def close(self) -> None:
        """Close the connections of this process; the next call opens others."""
        transport = self._transport.discard()
        if transport is not None:
            transport.close()

    def __repr__(self) -> str:
        return f"EndpointClient({self.endpoint!r})"

    def _connect(self) -> Transport:
        return self._make_transport(self.endpoint)

    def _begin(self, timeout_s: float | None, request_id: str | None = None) -> _Call:
        deadline = Deadline(self.endpoint.timeout_s if timeout_s is None else timeout_s)
        return _Call(deadline, request_id, self._key())

    def _retried(self, call: _Call, message: Message) -> tuple[InferResponse, int]:
        """Send a request until it is answered, refused, or not worth another attempt."""
        for attempt in itertools.count(1):
            try:
                reply = self._exchange(call, "POST", self._infer_url, message)
                response = self._decoded(call, reply)
            except EndpointError as error:
                error.attempts = attempt
                call = self._next_call(call, error, attempt)
            else:
                self._budget.give_back()
                return response, attempt
        raise AssertionError("the loop ends by returning or raising")

    def _next_call(self, call: _Call, error: EndpointError, attempt: int) -> _Call:
        """Return what the next attempt is made with, after the pause before it, or raise."""
        if isinstance(error, AuthenticationFailed) and error.status == 401 and not call.renewed:
            key = self._key()
            if key != call.key:
                return replace(call, key=key, renewed=True)
        pause_s = self._policy.pause_s(error, attempt, call.deadline)
        if pause_s is None or not self._budget.take():
            raise error
        _log.info(
            "attempt %d at %s failed (%s), another in %.3f s",
            attempt,
            self.endpoint.model_url,
            type(error).__name__,
            pause_s,
        )
        self._sleep(pause_s)
        return call

    def _binary(self, call: _Call) -> bool:
        if self._speaks_binary is None:
            try:
                reply = self._exchange(call, "GET", f"{self.endpoint.uri}/v2")
                extensions = decode_object(reply.header).get("extensions")
            except (EndpointRefused, ProtocolError):
                # Endpoints may hide their metadata; what hides it is as a rule a gateway to Triton.
                extensions = [BINARY_EXTENSION]
            self._speaks_binary = isinstance(extensions, list) and BINARY_EXTENSION in extensions
        return self._speaks_binary

    def _exchange(
        self, call: _Call, method: str, url: str, message: Message | None = None
    ) -> Reply:
        headers = dict(_HEADERS)
        if call.key is not None:
            headers["Authorization"] = f"Bearer {call.key}"
        if call.request_id is not None:
            headers["x-ms-client-request-id"] = call.request_id
        body: tuple[Buffer, ...] = ()
        if message is not None:
            _check_size(message)
            headers.update(message.headers)
            body = (message.header, *message.tensors)
        try:
            reply = self._transport.get(self._connect).send(
                method, url, headers=headers, body=body, deadline=call.deadline
            )
        except EndpointError as error:
            raise self._placed(call, error) from error.__cause__
        if reply.status != 200:
            raise self._placed(call, refusal(reply), reply)
        return reply

    def _placed(
        self, call: _Call, error: EndpointError, reply: Reply | None = None
    ) -> EndpointError:
        """Say at which endpoint, with which status and for which request it happened."""
        error.endpoint = self.endpoint.model_url
        error.request_id = call.request_id
        if reply is not None:
            error.status = reply.status
        error.args = (call.without_key(f"{self.endpoint.model_url}: {error.args[0]}"),)
        return error

    def _decoded(self, call: _Call, reply: Reply) -> InferResponse:
        try:
            response = decode_response(reply.header, reply.tensors)
        except ProtocolError as error:
            raise self._placed(call, error, reply) from None
        if response.request_id not in (None, "", call.request_id):
            crossed = ProtocolError(f"the answer is that of request {response.request_id!r}")
            raise self._placed(call, crossed, reply)
        return response

    def _checked(
        self, call: _Call, response: InferResponse, outputs: Sequence[str], rows: int | None
    ) -> dict[str, Array]:
        differences = [
            call.without_key(f"output {name!r}: the local model does not have it")
            for name in response.outputs
            if name not in self._spec.output_names
        ]
        for name in outputs:
            difference = self._difference(name, response.outputs.get(name), rows)
            if difference:
                differences.append(difference)
        if differences:
            raise SpecMismatch(
                f"{self.endpoint.model_url}: the answer is not what the local model would give: "
                + "; ".join(differences),
                tuple(differences),
            )
        return {name: response.outputs[name] for name in outputs}

    def _difference(self, name: str, array: Array | None, rows: int | None) -> str | None:
        spec = self._spec.output(name)
        if array is None:
            return f"output {name!r}: missing"
        if array.dtype != spec.dtype:
            return f"output {name!r}: {array.dtype} came, {spec.dtype} was expected"
        if not spec.fits(array.shape):
            return (
                f"output {name!r}: shape {format_shape(array.shape)} came, "
                f"{format_shape(spec.shape)} was expected"
            )
        if spec.batched and rows is not None and len(array) != rows:
            return f"output {name!r}: {len(array)} rows came, {rows} were sent"
        return None


def _check_size(message: Message) -> None:
    if message.size_bytes > MAX_BODY_BYTES:
        raise InputMismatch(
            f"the request would have {message.size_bytes} bytes, and a server takes at most "
            f"{MAX_BODY_BYTES}; send fewer rows at a time"
        )
