"""One connection to the embedded server: how many there may be, and how long each step may take.

uvicorn ends connections that are idle between two requests. Here end as well those that do not
send what they began, or do not take what they asked for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from hybridmodel.serving.limits import Limits

if TYPE_CHECKING:
    import asyncio

_REASONS = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with limits; `protocol_within` makes the class for a server."""

    limits = Limits()
    _step: str | None = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, in the place of an idle one if need be, or say that all are taken."""
        if len(self.connections) >= self.limits.max_connections and not self._end_an_idle_one():
            self.transport = transport
            self._end(503, f"the server has {self.limits.max_connections} busy connections already")
            return
        super().connection_made(transport)
        self._enter("head", self.limits.head_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Take what came, and see what is to come next."""
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """Wait for the client to take its answer, or for what it has yet to send."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE or self.transport.is_closing():
            waits = self.transport.get_write_buffer_size() > 0
            self._enter("answer" if waits else None, self.limits.answer_timeout_s)
        else:
            self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._enter(None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the form of the protocol's errors."""
        self._end(400, msg)

    @property
    def is_idle(self) -> bool:
        """Whether it rests between two requests."""
        answered = self.cycle is not None and self.cycle.response_complete
        return answered and self._step is None and not self.transport.is_closing()

    def _end_an_idle_one(self) -> bool:
        for other in self.connections:
            if isinstance(other, BoundedProtocol) and other.is_idle:
                other.shutdown()
                return True
        return False

    def _follow(self) -> None:
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE:
            self._enter("head", self.limits.head_timeout_s)
        elif self.conn.their_state is h11.SEND_BODY:
            self._enter("body", self.limits.body_timeout_s)
        else:
            self._enter(None)

    def _enter(self, step: str | None, timeout_s: float = 0.0) -> None:
        """Begin a step; what comes in small pieces does not begin it again."""
        if step == self._step:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._step = step
        self._timer = self.loop.call_later(timeout_s, self._expire) if step else None

    def _expire(self) -> None:
        if self._step != "answer":
            self._end(408, f"the {self._step} of the request did not come in time")
        elif self.transport.get_write_buffer_size():
            self.transport.abort()

    def _end(self, status: int, message: str) -> None:
        """Close, and say why where no answer has begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": message}).encode()
            head = (
                f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self.transport.close()
        else:
            self.transport.abort()


def protocol_within(limits: Limits) -> type[BoundedProtocol]:
    """Return the class whose connections keep to `limits`."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
