"""The gateway's connections to the server of one deployment, kept for the next request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h11

from hybridmodel.deploy.rehearsal.memory import Share
from hybridmodel.deploy.rehearsal.messages import Answer, Connection, Headers, passed_on

_MOST_IDLE = 64

Place = str | tuple[str, int]


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A request as the server gets it."""

    method: bytes
    target: bytes
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)


class Upstream:
    """Exchanges requests with one server; `place` says where it listens at the moment."""

    def __init__(self, place: Callable[[], Place], most_bytes: int, key: str | None = None) -> None:
        self._place, self._most_bytes = place, most_bytes
        self._own = [(b"host", b"localhost")]
        if key is not None:
            self._own.append((b"authorization", f"Bearer {key}".encode()))
        self._idle: list[Connection] = []

    async def exchange(self, request: Forwarded, share: Share) -> Answer:
        """Return the server's answer, and count it in `share`.

        Raises OSError where there is none, and `TooLarge` or `NoRoom` for one too long to keep.
        """
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._on(connection, request, share)
            except (OSError, h11.RemoteProtocolError):
                continue  # The server ended it meanwhile.
        try:
            return await self._on(await self._connected(), request, share)
        except h11.RemoteProtocolError as error:
            raise ConnectionResetError(f"the server broke off: {error}") from error

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    async def _connected(self) -> Connection:
        place = self._place()
        if isinstance(place, str):
            reader, writer = await asyncio.open_unix_connection(place)
        else:
            reader, writer = await asyncio.open_connection(*place)
        return Connection(h11.CLIENT, reader, writer)

    async def _on(self, connection: Connection, request: Forwarded, share: Share) -> Answer:
        kept = False
        try:
            answer = await self._exchanged(connection, request, share)
            kept = _begin_again(connection) and len(self._idle) < _MOST_IDLE
        finally:
            if kept:
                self._idle.append(connection)
            else:
                connection.close()
        return answer

    async def _exchanged(self, connection: Connection, request: Forwarded, share: Share) -> Answer:
        length = (b"content-length", b"%d" % len(request.body))
        headers = [*self._own, *request.headers]
        if request.body or request.method not in (b"GET", b"HEAD"):
            headers.append(length)
        head: Any = h11.Request(method=request.method, target=request.target, headers=headers)
        body = [h11.Data(data=request.body)] if request.body else []
        await connection.send(head, *body, h11.EndOfMessage())
        while type(event := await connection.event()) is h11.InformationalResponse:
            pass
        if type(event) is not h11.Response:
            raise ConnectionResetError("the server closed the connection without an answer")
        said = await connection.body(self._most_bytes, share)
        return Answer(event.status_code, passed_on(event.headers), said, bytes(event.reason))


def _begin_again(connection: Connection) -> bool:
    """Prepare for another request; return whether the server takes one."""
    http = connection.http
    if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
        return False
    http.start_next_cycle()
    return True
