"""Requests and answers on their way through the gateway, over h11."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import h11

from hybridmodel.deploy.rehearsal.memory import Share

Headers = Sequence[tuple[bytes, bytes]]

_READ_BYTES = 1 << 16
_PIECE_BYTES = 1 << 18
_LINGER_S = 1.0

_HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"content-length"),
        *(b"expect", b"host", b"authorization"),
    )
)


class TooLarge(Exception):
    """Raise where a body has more bytes than are taken."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status with headers and a body; `trailers` come after it."""

    status: int
    headers: Headers
    body: bytes = field(default=b"", repr=False)
    reason: bytes = b""
    trailers: Headers = ()


def passed_on(headers: Any) -> list[tuple[bytes, bytes]]:
    """Return the headers that go from one side of a gateway to the other: no key, no framing."""
    return [(name, value) for name, value in headers if name not in _HOP_BY_HOP]


def header(request: h11.Request, name: bytes) -> str | None:
    """Return the first header of a name in lower case, None where there is none."""
    for key, value in request.headers:
        if key == name:
            return value.decode("latin-1")
    return None


class Connection:
    """One side's connection, whichever it is: events in, bytes out."""

    def __init__(
        self,
        role: Any,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        idle_s: float | None = None,
    ) -> None:
        self.http = h11.Connection(role, max_incomplete_event_size=_READ_BYTES)
        self._reader, self._writer, self._idle_s = reader, writer, idle_s

    async def event(self) -> Any:
        """Return the next event; raises TimeoutError where nothing comes for too long."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            if self.http.they_are_waiting_for_100_continue:
                self._writer.write(
                    self._sent(h11.InformationalResponse(status_code=100, headers=[]))
                )
            async with asyncio.timeout(self._idle_s):
                self.http.receive_data(await self._reader.read(_READ_BYTES))
        return event

    async def body(self, most_bytes: int, share: Share) -> bytes:
        """Read a body to its end, and count it in `share`.

        Raises `TooLarge` before more than `most_bytes` are kept, and `NoRoom`.
        """
        parts, size = [], 0
        while type(event := await self.event()) is h11.Data:
            size += len(event.data)
            if size > most_bytes:
                raise TooLarge
            share.take(len(event.data))
            parts.append(bytes(event.data))
        if type(event) is h11.ConnectionClosed:
            raise ConnectionResetError("the connection ended in a body")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def is_whole(self) -> bool:
        """Tell whether all of a request has come already; what has come of its body is dropped."""
        with suppress(h11.RemoteProtocolError):
            while (event := self.http.next_event()) is not h11.NEED_DATA:
                if type(event) is not h11.Data:
                    return type(event) is h11.EndOfMessage
        return False

    @property
    def has_ended(self) -> bool:
        """Whether the other side sends nothing more."""
        return self.http.trailing_data[1]

    async def send(self, *events: Any) -> None:
        """Send events; raises TimeoutError where the other side takes nothing for long."""
        data = memoryview(b"".join(map(self._sent, events)))
        # A stream over TLS swallows a single piece of any size, and says that it is through.
        for at in range(0, len(data), _PIECE_BYTES):
            self._writer.write(data[at : at + _PIECE_BYTES])
            async with asyncio.timeout(self._idle_s):
                await self._writer.drain()

    async def linger(self) -> None:
        """Read what still comes, for a moment: a socket that is closed unread takes back an answer.

        The other side is still sending, and would lose what was said to it.
        """
        try:
            async with asyncio.timeout(_LINGER_S):
                while await self._reader.read(_READ_BYTES):
                    pass
        except (TimeoutError, OSError):
            pass

    def close(self) -> None:
        """Close the connection, after what is still to be sent."""
        self._writer.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._writer.transport.abort()

    def _sent(self, event: Any) -> bytes:
        return self.http.send(event) or b""


async def respond(connection: Connection, answer: Answer, *, close: bool, is_head: bool) -> None:
    """Send an answer; `is_head` leaves out the body."""
    headers = list(answer.headers)
    takes_trailers = connection.http.their_http_version != b"1.0" and not is_head
    trailers = list(answer.trailers) if takes_trailers else []
    if trailers:
        names = b", ".join(name for name, _ in trailers)
        headers += [(b"transfer-encoding", b"chunked"), (b"trailer", names)]
    else:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    if close:
        headers.append((b"connection", b"close"))
    events: list[Any] = [h11.Response(status_code=answer.status, headers=headers)]
    if answer.body and not is_head:
        events.append(h11.Data(data=answer.body))
    await connection.send(*events, h11.EndOfMessage(headers=trailers))
