"""One request to an endpoint: with its key, on its connection, and its failure in full.

Below `hybridmodel.remote.client`, which decides what to ask and how often.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import EndpointError, EndpointRefused, ProtocolError
from hybridmodel.process.metering import attributes_of, record, request_durations
from hybridmodel.process.per_process import PerProcess, reset_in_child
from hybridmodel.process.tracing import active_tracer, trace_context
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.http.connection import HttpRequest, Reply
from hybridmodel.remote.http.transport import Transport
from hybridmodel.remote.redaction import Redaction, fit_cause, proxy_secrets
from hybridmodel.remote.resilience import Clock, Deadline
from hybridmodel.remote.statuses import error_from_reply
from hybridmodel.remote.trust.credentials import key_source
from hybridmodel.remote.trust.key_sources import KeySource
from hybridmodel.remote.trust.permission import permission_of
from hybridmodel.remote.trust.variables import capped
from hybridmodel.remote.wire.json_text import JSON_BYTES, JsonLimit, decode_object
from hybridmodel.remote.wire.protocol import BINARY_EXTENSION, Message, body_headers

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "hybridmodel"}
"""Sent with every request; without ``identity``, Triton would compress its answers."""

_KINDS = 16
"""Kinds of requests whose headers are kept; they differ in the length of the JSON part."""

_SMALL = JsonLimit(JSON_BYTES, 1_000, 1_000)
_CONFIG = JsonLimit(JSON_BYTES, 20_000, 20_000)
"""Large enough for a model with hundreds of inputs."""

_REQUEST_ID = "x-ms-client-request-id"

_DELAYS = frozenset(
    ("ms-azureml-bandwidth-request-delay-ms", "ms-azureml-bandwidth-response-delay-ms")
)

_MOST_SHOWN = 1000
"""The most characters of a message."""

_LONGEST_VERSION, _VERSIONS = 100, 64
"""The longest version that is shown, and how many are remembered that need no redaction."""

_AGAIN_S, _ASKED_LATELY_S = 60.0, 5.0
"""When to ask a server again, which may have been replaced, and when it is too soon."""

_log = logging.getLogger("hybridmodel")


@dataclass(slots=True, kw_only=True)  # Frozen, it would take 1.6 µs more to make, for each call.
class Call:
    """One logical call, which may take several requests; it is never changed.

    `rows` is None where nobody counts them; `first_row` is the place of the first where a call was
    cut. `renewed` says that the key was asked for again already, and `retry` whether another
    attempt may follow a pause. Keys and data are never part of a repr.
    """

    deadline: Deadline
    request_id: str | None
    key: str | None = field(repr=False)
    renewed: bool = False
    retry: bool = True
    earlier_key: str | None = field(default=None, repr=False)
    feeds: Mapping[str, Array] = field(default_factory=dict, repr=False)
    outputs: tuple[str, ...] = ()
    rows: int | None = None
    first_row: int = 0


class Exchanger:
    """Sends requests to one endpoint; makes its transport once in each process."""

    def __init__(
        self,
        endpoint: Endpoint,
        credential: Any,
        make_transport: Callable[[Endpoint], Transport],
        clock: Clock,
    ) -> None:
        self.endpoint = endpoint
        self._permission = permission_of(endpoint)
        self.keys: KeySource = key_source(endpoint, credential)
        self._check_key: Callable[[], None] = getattr(self.keys, "check", lambda: None)
        self._known_keys: Callable[[], tuple[str, ...]] = getattr(self.keys, "known", tuple)
        self._connect = partial(make_transport, endpoint)
        self._transport: PerProcess[Transport] = PerProcess()
        self._clock = clock
        self.speaks_binary = endpoint.binary
        self._binary_since = float("inf") if endpoint.binary is not None else 0.0
        self._told_of_delay = False
        self._fit_versions: set[str] = set()
        # Kept, because it takes time to make; where `vars` does not show the keys.
        self._redaction = lru_cache(maxsize=1)(Redaction)
        self._headers = lru_cache(_KINDS)(partial(_headers, endpoint))

    def begin(
        self,
        timeout_s: float | None,
        request_id: str | None = None,
        deadline: Deadline | None = None,
        **asked: Any,
    ) -> Call:
        """Start a call: its deadline, where it has none yet, and its key; `asked` as in `Call`."""
        try:
            if deadline is None:
                deadline = self.deadline(timeout_s)
            key = self.keys.key(deadline)
        except EndpointError as error:
            error.endpoint, error.request_id = self.endpoint.model_url, request_id
            error.attempts = 0
            raise
        return Call(deadline=deadline, request_id=request_id, key=key, **asked)

    def deadline(self, timeout_s: float | None) -> Deadline:
        """Return the time of a call; default is the endpoint's."""
        seconds = self.endpoint.timeout_s if timeout_s is None else timeout_s
        return Deadline(capped(seconds), self._clock)

    def exchange(
        self,
        call: Call,
        url: str,
        message: Message | None = None,
        json_bytes: int = JSON_BYTES,
        *,
        creates: bool = False,
        more_headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request, and return its reply if it is a success with at most so much JSON.

        That is a 200, or any 2xx for what `creates` something there, which is sent only once.
        `more_headers` are for this request alone.

        Raises the `EndpointError` that the status, or what happened instead, stands for, and
        `ConfigurationError` if a saved model wants what is not granted, or no longer.
        """
        self._check_permission(call, url)
        own = {} if call.request_id is None else {_REQUEST_ID: call.request_id}
        if active_tracer() is not None:
            own.update(trace_context())
        if more_headers is not None:
            own.update(more_headers)
        method = "GET"
        header_bytes: int | None = None
        body: tuple[Any, ...] = ()
        if message is not None:
            method, header_bytes = "POST", message.header_bytes
            body = (message.header, *message.tensors)
        request = HttpRequest(
            method=method,
            url=url,
            headers=self._headers(call.key, header_bytes),
            own=own,
            body=body,
            deadline=call.deadline,
            json_bytes=json_bytes,
            creates=creates,
        )
        try:
            reply = self._send(request)
        except EndpointError as error:
            raise self.with_context(call, error) from error.__cause__
        if reply.status not in request.successes:
            raise self.with_context(call, error_from_reply(reply, self.redaction(call)), reply)
        if not self._told_of_delay and not _DELAYS.isdisjoint(reply.headers):
            self._note_delay(call, reply)
        return reply

    def _check_permission(self, call: Call, url: str) -> None:
        if self._permission is not None:
            self._permission.check_request(url)
            if call.key is not None:
                self._check_key()

    def _send(self, request: HttpRequest) -> Reply:
        transport, durations = self._transport.get(self._connect), request_durations()
        if durations is None:
            return transport.send(request)
        return self._measured(transport, request, durations)

    def _measured(self, transport: Transport, request: HttpRequest, into: Histogram) -> Reply:
        """Send a request, and record for how long and how it ended."""
        method, place, started = request.method, self.endpoint.place, time.perf_counter()
        try:
            reply = transport.send(request)
        except EndpointError as error:
            ended = attributes_of(method, place.host, place.port, error)
            record(into, time.perf_counter() - started, ended)
            raise
        ended = attributes_of(method, place.host, place.port, reply.status)
        record(into, time.perf_counter() - started, ended)
        return reply

    def with_context(
        self, call: Call, error: EndpointError, reply: Reply | None = None
    ) -> EndpointError:
        """Set at which endpoint, for which request and with which reply an error happened."""
        redaction = self.redaction(call)
        error.endpoint = redaction(self.endpoint.model_url, _MOST_SHOWN)
        error.request_id = call.request_id
        text = error.args[0]
        if reply is not None:
            error.status, error.attempts = reply.status, reply.attempts
            text += _unlike_the_protocol(reply, redaction)
        # Redacted here, where the keys of the call are known.
        error.args = (redaction(text, _MOST_SHOWN),)
        # A traceback shows what it came from as well.
        error.__context__ = None
        error.__cause__ = fit_cause(error, redaction)
        return error

    def redaction(self, call: Call) -> Redaction:
        """Return what keeps the keys of a call, and others that are known, out of what is shown."""
        keys = filter(None, (call.key, call.earlier_key, *self._known_keys()))
        return self._redaction((*keys, *proxy_secrets()))

    def version(self, call: Call, said: str | None) -> str | None:
        """Return the version that a server says has answered, fit to be shown."""
        if said is None or said in self._fit_versions:
            return said
        shown = self.redaction(call)(said, _LONGEST_VERSION)
        if shown == said and len(self._fit_versions) < _VERSIONS:
            self._fit_versions.add(said)
        return shown

    @property
    def binary(self) -> bool | None:
        """Whether the server takes binary tensors; None where it has to be asked."""
        speaks = self.speaks_binary
        # JSON does everywhere, but a server that takes more may have come in its place.
        fresh = speaks or self._clock() - self._binary_since < _AGAIN_S
        return speaks if fresh else None

    def ask_binary(self, call: Call) -> tuple[bool, int]:
        """Ask whether the server takes binary tensors, unless another thread did meanwhile.

        The number that is returned beside the answer is that of requests.
        """
        known = self.binary
        if known is not None:
            return known, 0
        attempts = 1
        try:
            reply = self.exchange(call, f"{self.endpoint.uri}/v2")
            attempts = reply.attempts
            extensions = decode_object(reply.header, _SMALL).get("extensions")
        except (EndpointRefused, ProtocolError):
            # Endpoints may hide their metadata; what hides it is usually a gateway to Triton.
            extensions = [BINARY_EXTENSION]
        speaks = isinstance(extensions, list) and BINARY_EXTENSION in extensions
        self.speaks_binary = speaks
        self._binary_since = self._clock()
        return speaks, attempts

    def doubt_binary(self) -> None:
        """Ask the server again before the next request, unless it was asked just now."""
        if self._clock() - self._binary_since >= _ASKED_LATELY_S:
            self.speaks_binary = None

    def max_batch_size(self, call: Call) -> int | None:
        """Ask how many rows the server takes at a time: `sys.maxsize` for any, None if unsaid."""
        try:
            reply = self.exchange(call, f"{self.endpoint.model_url}/config")
            most = decode_object(reply.header, _CONFIG).get("max_batch_size")
        except EndpointError:
            # The caller learns what was refused, and not that the reason is unknown.
            return None
        return (most if most > 0 else sys.maxsize) if type(most) is int else None

    def close(self) -> None:
        """Close the connections of this process; the next request opens others."""
        transport = self._transport.discard()
        if transport is not None:
            transport.close()

    def _note_delay(self, call: Call, reply: Reply) -> None:
        delays = [reply.headers[name] for name in sorted(_DELAYS) if name in reply.headers]
        self._told_of_delay = True
        _log.warning(
            "%s: delayed by %s ms, the endpoint's bandwidth is used up (5 MB/s unless raised); "
            "send fewer rows or ask for fewer outputs; this is logged once",
            self.endpoint.model_url,
            self.redaction(call)(" and ".join(delays), _LONGEST_VERSION),
        )


def _headers(endpoint: Endpoint, key: str | None, header_bytes: int | None) -> Mapping[str, str]:
    """Return the headers that requests with this key, and a body of this kind, share."""
    found = {**_HEADERS, **endpoint.headers}
    if key is not None:
        found.update(endpoint.key_headers(key))
    if header_bytes is not None:
        found.update(body_headers(header_bytes))
    return MappingProxyType(found)


def _unlike_the_protocol(reply: Reply, redaction: Redaction) -> str:
    """Show the beginning of what should have been JSON: usually a login page."""
    if reply.status != 200 or reply.header[:1] == b"{":
        return ""
    kind = redaction(reply.headers.get("content-type", "none"), _LONGEST_VERSION)
    begin = redaction(repr(bytes(reply.header[:1000])), 200)
    return f" (Content-Type {kind}, it begins {begin})"


class _RequestIds:
    """UUIDs of version 8: 72 random bits for each process, then a number.

    `os.urandom` for each would let another thread run, which costs more than all else.
    """

    def __init__(self) -> None:
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Begin anew with other random bits."""
        text = os.urandom(10).hex()
        begin = f"{text[:8]}-{text[8:12]}-8{text[12:15]}-a{text[15:18]}-"
        self.next = map((begin + "{:012x}").format, count()).__next__


_ids = _RequestIds()


def new_request_id() -> str:
    """Return an id that no other request has, in any process."""
    return _ids.next()
