"""Connections to the embedded server: limits on their number, and on the time of each step.

uvicorn ends connections that are idle between two requests. This module also ends those whose
client does not finish its request, or does not take its answer.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from hybridmodel.serving.limits import Limits


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with limits; each server has a subclass with its own."""

    limits = Limits()
    _step: str | None = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, instead of an idle one if there are too many, or refuse it."""
        if len(self.connections) >= self.limits.max_connections and not self._end_an_idle_one():
            self.transport = transport
            self._end(503, f"the server already has {self.limits.max_connections} busy connections")
            return
        super().connection_made(transport)
        self._enter("head")

    def data_received(self, data: bytes) -> None:
        """Process the bytes, and note which step comes next."""
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """Wait until the client has taken its answer, or has sent the rest of its request."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE or self.transport.is_closing():
            self._enter("answer" if self.transport.get_write_buffer_size() else None)
        else:
            self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._enter(None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse invalid HTTP, in the form of the protocol's errors."""
        self._end(400, msg)

    @property
    def is_idle(self) -> bool:
        """Whether the connection is between two requests."""
        answered = self.cycle is not None and self.cycle.response_complete
        return answered and self._step is None and not self.transport.is_closing()

    def _end_an_idle_one(self) -> bool:
        for other in self.connections:
            if isinstance(other, BoundedProtocol) and other.is_idle:
                other.shutdown()
                return True
        return False

    def _follow(self) -> None:
        if not self.transport.is_closing():
            self._enter({h11.IDLE: "head", h11.SEND_BODY: "body"}.get(self.conn.their_state))

    def _enter(self, step: str | None) -> None:
        """Begin a step; the next piece of the same step does not restart its time."""
        if step == self._step:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._step, self._timer = step, None
        if step is not None:
            timeout_s = getattr(self.limits, f"{step}_timeout_s")
            self._timer = self.loop.call_later(timeout_s, self._expire)

    def _expire(self) -> None:
        if self._step != "answer":
            self._end(408, f"the {self._step} of the request did not arrive in time")
        elif self.transport.get_write_buffer_size():
            self.transport.abort()

    def _end(self, status: int, message: str) -> None:
        """Close, with an error as the answer if none has begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": message}).encode()
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
                "Content-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self.transport.close()
        else:
            self.transport.abort()
