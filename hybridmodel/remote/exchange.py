"""One request to an endpoint: with its key, on its connection, and its failure in full.

Below `hybridmodel.remote.client`, which decides what to ask and how often.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hybridmodel.exceptions import (
    EndpointError,
    EndpointRefused,
    InputMismatch,
    ProtocolError,
)
from hybridmodel.per_process import PerProcess
from hybridmodel.remote.connection import Reply
from hybridmodel.remote.credentials import KeySource, key_source
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.json_text import JSON_BYTES, JsonLimit, decode_object
from hybridmodel.remote.protocol import (
    BINARY_EXTENSION,
    MAX_BODY_BYTES,
    Message,
)
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.statuses import refusal
from hybridmodel.remote.tensor_data import Buffer
from hybridmodel.remote.transport import PooledTransport, Transport
from hybridmodel.tracing import trace_context

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "hybridmodel"}
"""Sent with every request. Triton would compress each answer that may be compressed."""

_SMALL = JsonLimit(JSON_BYTES, 1_000, 1_000)
_CONFIG = JsonLimit(JSON_BYTES, 20_000, 20_000)
"""Of a model with hundreds of inputs."""

DEPLOYMENT = "azureml-model-deployment"
"""Header that picks a deployment of an Azure Machine Learning endpoint."""

_DELAYS = (
    "ms-azureml-bandwidth-request-delay-ms",
    "ms-azureml-bandwidth-response-delay-ms",
)

_log = logging.getLogger("hybridmodel")


@dataclass(frozen=True)
class Call:
    """What all requests of one logical call share.

    Attributes
    ----------
    deadline : Deadline
        When it ends.
    request_id : str or None
        For the logs of both sides.
    key : str or None
        Never part of a repr or message.
    renewed : bool
        Whether the key was asked for again already.
    patient : bool
        Whether it waits and tries again where that may help.
    """

    deadline: Deadline
    request_id: str | None
    key: str | None = field(repr=False)
    renewed: bool = False
    patient: bool = True

    def without_key(self, text: str) -> str:
        """Blot out the key, which a server may repeat in anything it says."""
        return text.replace(self.key, "***") if self.key else text


class Exchanger:
    """Sends requests to one endpoint; makes its transport once in each process.

    Parameters
    ----------
    endpoint : TritonEndpoint
        Where.
    credential : object, optional
        As `hybridmodel.remote.credentials.key_source` takes it.
    make_transport : callable, default=PooledTransport
        Makes the transport.

    Raises
    ------
    ConfigurationError
        If the credential is of no known kind.
    """

    def __init__(
        self,
        endpoint: TritonEndpoint,
        credential: Any = None,
        make_transport: Callable[[TritonEndpoint], Transport] = PooledTransport,
    ) -> None:
        self.endpoint = endpoint
        self.keys: KeySource = key_source(endpoint, credential)
        self._make_transport = make_transport
        self._transport: PerProcess[Transport] = PerProcess()
        self._speaks_binary = endpoint.binary
        self._told_of_delay = False
        self._headers = dict(_HEADERS)
        if endpoint.deployment is not None:
            self._headers[DEPLOYMENT] = endpoint.deployment

    def begin(self, timeout_s: float | None, request_id: str | None = None) -> Call:
        """Start a call: its deadline, and its key."""
        deadline = Deadline(self.endpoint.timeout_s if timeout_s is None else timeout_s)
        return Call(deadline, request_id, self.keys.key(deadline))

    def exchange(
        self,
        call: Call,
        method: str,
        url: str,
        message: Message | None = None,
        json_bytes: int = JSON_BYTES,
    ) -> Reply:
        """Send one request, and return its reply if it is a 200 with at most so much JSON.

        Raises
        ------
        EndpointError
            Of the kind that the status, or what happened instead, stands for.
        InputMismatch
            If the request is larger than any server takes.
        """
        headers = {**self._headers, **trace_context()}
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
                method,
                url,
                headers=headers,
                body=body,
                deadline=call.deadline,
                json_bytes=json_bytes,
            )
        except EndpointError as error:
            raise self.placed(call, error) from error.__cause__
        if reply.status != 200:
            raise self.placed(call, refusal(reply), reply)
        self._note_delay(reply)
        return reply

    def placed(self, call: Call, error: EndpointError, reply: Reply | None = None) -> EndpointError:
        """Say at which endpoint, with which status and for which request it happened."""
        error.endpoint = self.endpoint.model_url
        error.request_id = call.request_id
        text = error.args[0]
        if reply is not None:
            error.status = reply.status
            text += _unlike_the_protocol(reply)
        error.args = (call.without_key(f"{self.endpoint.model_url}: {text}"),)
        return error

    @property
    def knows_binary(self) -> bool:
        """Whether `speaks_binary` answers without asking the server."""
        return self._speaks_binary is not None

    def speaks_binary(self, call: Call) -> bool:
        """Tell whether the server takes binary tensors; asks it once."""
        if self._speaks_binary is None:
            try:
                reply = self.exchange(call, "GET", f"{self.endpoint.uri}/v2")
                extensions = decode_object(reply.header, _SMALL).get("extensions")
            except (EndpointRefused, ProtocolError):
                # Endpoints may hide their metadata; what hides it is as a rule a gateway to Triton.
                extensions = [BINARY_EXTENSION]
            self._speaks_binary = isinstance(extensions, list) and BINARY_EXTENSION in extensions
        return self._speaks_binary

    def max_batch_size(self, call: Call) -> int:
        """Ask how many rows the server takes at a time; `sys.maxsize` where it does not say."""
        try:
            reply = self.exchange(call, "GET", f"{self.endpoint.model_url}/config")
            most = decode_object(reply.header, _CONFIG).get("max_batch_size")
        except EndpointError:
            # What was refused is the caller's news, not that the reason cannot be found.
            return sys.maxsize
        return most if isinstance(most, int) and most > 0 else sys.maxsize

    def close(self) -> None:
        """Close the connections of this process; the next request opens others."""
        transport = self._transport.discard()
        if transport is not None:
            transport.close()

    def _note_delay(self, reply: Reply) -> None:
        delays = [reply.headers[name] for name in _DELAYS if name in reply.headers]
        if delays and not self._told_of_delay:
            self._told_of_delay = True
            _log.warning(
                "%s: delayed by %s ms, the endpoint's bandwidth is used up (5 MB/s unless raised); "
                "send fewer rows or ask for fewer outputs; said once",
                self.endpoint.model_url,
                " and ".join(delays),
            )

    def _connect(self) -> Transport:
        return self._make_transport(self.endpoint)


def _unlike_the_protocol(reply: Reply) -> str:
    """Show the beginning of what should have been JSON: a login page as a rule."""
    if reply.status != 200 or reply.header[:1] == b"{":
        return ""
    kind = reply.headers.get("content-type", "none")
    return f" (Content-Type {kind}, it begins {bytes(reply.header[:200])!r})"


def _check_size(message: Message) -> None:
    if message.size_bytes > MAX_BODY_BYTES:
        raise InputMismatch(
            f"the request would have {message.size_bytes} bytes, and a server takes at most "
            f"{MAX_BODY_BYTES}; send fewer rows at a time"
        )
