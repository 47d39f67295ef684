"""Requests whose large tensors a server on this machine reads, and writes, in shared memory.

Triton's extension of the protocol: a region is registered once, then requests say where in it a
tensor lies. What the server refuses goes in the message, as everywhere else.

Source: docs/protocol/extension_shared_memory.md of Triton's server repository.
"""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np

from hybridmodel.data.tensors import ModelSpec
from hybridmodel.exceptions import (
    AuthenticationFailed,
    EndpointError,
    EndpointRefused,
    HybridModelError,
    ProtocolError,
)
from hybridmodel.process.loops import apart, current_loop
from hybridmodel.remote.address import UNIX
from hybridmodel.remote.answers import Written
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.exchange import Call, Exchanger
from hybridmodel.remote.resilience import Clock
from hybridmodel.remote.shared_memory import segments
from hybridmodel.remote.shared_memory.control import headers_for
from hybridmodel.remote.shared_memory.plan import Plan, output_sizes, plan_for
from hybridmodel.remote.shared_memory.pool import Pool
from hybridmodel.remote.shared_memory.segments import Segment
from hybridmodel.remote.wire.protocol import (
    Extent,
    Message,
    encode_region,
    encode_shared_request,
)

R = TypeVar("R")

Send = Callable[[Call, Message, Written | None], tuple[R, int]]
"""Sends a message and reads the answer; also returns how many requests that took."""

_AGAIN_S = 60.0
"""Until a server that knows no such regions is asked again."""

_REFUSED_S = 5.0
"""Until the next attempt after a request that was refused, perhaps for the region in it."""

_SHARE = 0.25
"""Of a call's time, for registering a region."""

_FAREWELL_S = 1.0
_CANARY_BYTES = 16
_LONG_BYTES = 1 << 20
_UNKNOWN = 404
"""Triton's status for a region that it does not know, such as after its restart."""

_log = logging.getLogger("hybridmodel")


def sharing_with(
    endpoint: Endpoint, spec: ModelSpec, exchanger: Exchanger, clock: Clock = time.monotonic
) -> Sharing | None:
    """Return what shares memory with an endpoint's server, None where that cannot be.

    It is tried over Unix sockets, and with servers that this process has started.
    """
    place = endpoint.place
    near = place.scheme == UNIX or headers_for(place) is not None
    if not (near and endpoint.shared_memory and segments.are_possible()):
        return None
    return Sharing(endpoint, spec, exchanger, clock)


class Sharing:
    """Sends the requests of one client that have large tensors; safe to share between threads."""

    def __init__(
        self, endpoint: Endpoint, spec: ModelSpec, exchanger: Exchanger, clock: Clock
    ) -> None:
        self._exchanger = exchanger
        self._place = endpoint.place
        self._base = f"{endpoint.uri}/v2/systemsharedmemory/region"
        self._pool = Pool()
        self._clock = clock
        self._off_until = 0.0
        self._swept_by = 0
        self._output_sizes = lru_cache(64)(partial(output_sizes, spec))
        _live.add(self)

    def ask(self, call: Call, message: Message, send: Send[R]) -> tuple[R, int]:
        """Send a call by shared memory, or by a message with all its tensors where that cannot be.

        Raises what `send` does. The number is that of requests, also of those in vain.
        """
        plan = plan_for(call.feeds, self._output_sizes(call.outputs, call.rows))
        segment = None if plan is None else self._segment(call, plan.size_bytes)
        if plan is None or segment is None:
            return send(call, message, None)
        try:
            return self._asked(call, plan, segment, send)
        except EndpointRefused as error:
            if isinstance(error, AuthenticationFailed):
                raise
            self._refused(error)
            in_vain = error.attempts
        except ProtocolError:
            # It may say that it knows regions, and never look into them.
            self._off_until = self._clock() + _AGAIN_S
            raise
        read, requests = send(call, message, None)
        return read, requests + in_vain

    def _asked(self, call: Call, plan: Plan, segment: Segment, send: Send[R]) -> tuple[R, int]:
        """Send a call whose large tensors lie in a segment."""
        over = False
        try:
            message = _off_the_loop(plan.size_bytes, partial(_message, call, plan, segment))
            read = send(call, message, _outputs(plan, segment))
            over = True
            return read
        finally:
            # After any failure the server may still be writing.
            (self._pool.give_back if over else self._pool.discard)(segment)

    def close(self, timeout_s: float = _FAREWELL_S) -> None:
        """Remove all segments, and have the server forget them if it answers in this time."""
        self._pool.clear()
        if self._pool.gone and timeout_s > 0:
            with suppress(HybridModelError, OSError):
                self._forget(self._exchanger.begin(timeout_s))

    def close_later(self) -> None:
        """Do the same in another thread: a garbage collector must not wait, or take a lock."""
        if self._pool.is_used:
            with suppress(RuntimeError):
                _thread.start_new_thread(self.close, ())

    def _segment(self, call: Call, size_bytes: int) -> Segment | None:
        """Return a segment that the server knows, None where it takes none."""
        if self._clock() < self._off_until:
            return None
        free = self._pool.take(size_bytes)
        if free is not None:
            return free
        made = None
        call = replace(call, deadline=call.deadline.part(_SHARE))
        try:
            self._sweep()
            self._forget(call)
            made = self._pool.make(size_bytes)
            if made is not None:
                body = encode_region(made.name, made.size_bytes)
                self._order(call, made.name, "register", body)
            return made
        except (EndpointError, OSError) as error:
            _log.debug("no memory is shared with %s: %s", self._place, type(error).__name__)
            self._off_until = self._clock() + _AGAIN_S
            if made is not None:
                self._pool.discard(made)
            return None

    def _sweep(self) -> None:
        """Remove, once in a process, what killed ones have left."""
        if self._swept_by != os.getpid():
            self._swept_by = os.getpid()
            self._pool.still_known(segments.swept())

    def _forget(self, call: Call) -> None:
        """Have the server forget removed segments; one that is in use is tried again later."""
        names = self._pool.names_to_forget()
        for at, name in enumerate(names):
            try:
                self._order(call, name, "unregister", Message(b""))
            except EndpointRefused:
                self._pool.still_known([name])
            except EndpointError:
                self._pool.still_known(names[at:])
                return

    def _order(self, call: Call, name: str, order: str, message: Message) -> None:
        control = headers_for(self._place)
        self._exchanger.exchange(
            call, f"{self._base}/{name}/{order}", message, more_headers=control
        )

    def _refused(self, error: EndpointRefused) -> None:
        """Go on without memory for a while; a server that was restarted knows no region."""
        self._pool.clear()
        if error.status != _UNKNOWN:
            self._off_until = self._clock() + _REFUSED_S


def _read(segment: Segment, extent: Extent, canary: bytes) -> memoryview:
    """Copy an output out of a segment, which is used again."""
    copies = partial(np.array, segment.memory[extent.start : extent.end], np.uint8)
    copy: memoryview = _off_the_loop(extent.size_bytes, copies).data
    if copy[-_CANARY_BYTES:] == canary:
        raise ProtocolError("an output was not written into the shared memory")
    return copy


def _off_the_loop(size_bytes: int, copies: Callable[[], R]) -> R:
    """Copy so many bytes, in a thread where that would hold up an event loop."""
    if size_bytes > _LONG_BYTES and current_loop() is not None:
        return apart(copies)
    return copies()


def _message(call: Call, plan: Plan, segment: Segment) -> Message:
    """Copy the large inputs into a segment, and write the message that says so."""
    for name, extent in plan.inputs.items():
        array = call.feeds[name]
        np.copyto(np.ndarray(array.shape, array.dtype, segment.memory, extent.start), array)
    return encode_shared_request(
        call.feeds,
        call.outputs,
        request_id=call.request_id or "",
        region=segment.name,
        inputs=plan.inputs,
        written=plan.outputs,
    )


def _outputs(plan: Plan, segment: Segment) -> Written:
    """Put random bytes at the end of each output, by which an unwritten one is known."""
    found = {}
    for name, extent in plan.outputs.items():
        canary = os.urandom(_CANARY_BYTES)
        segment.memory[extent.end - _CANARY_BYTES : extent.end] = canary
        found[name] = partial(_read, segment, extent, canary)
    return found


_live: weakref.WeakSet[Sharing] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    until = time.monotonic() + _FAREWELL_S
    for sharing in list(_live):
        sharing.close(until - time.monotonic())
