"""What happens in a rehearsal, as server-sent events (the HTML standard, section 9.2).

============  ======================================================  ==========================
event         data                                                    when
============  ======================================================  ==========================
``start``     ``{"commands": [...], "history": [...]}``               first
``state``     ``{"snapshot": {...}, "sample": {...}}``                at once, then each second
``end``       ``{}``                                                  the rehearsal ends
============  ======================================================  ==========================

Nothing waits for a listener that is slow: it gets the next state when it has taken the last one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from hybridmodel.deploy.rehearsal.history import History
from hybridmodel.deploy.rehearsal.live_endpoint import LiveEndpoint

INTERVAL_S = 1.0
_LAST_S = 0.5
MOST_LISTENERS = 4
"""A browser opens six connections to a host, and the buttons need one, too."""


class Events:
    """An ASGI application that tells at most 4 listeners at a time, from `open` to `close`.

    Parameters
    ----------
    endpoint : LiveEndpoint
        What is told about.
    commands : iterable of (str, str)
        Command lines that the page shows, each after what it is for.
    """

    def __init__(self, endpoint: LiveEndpoint, commands: Iterable[tuple[str, str]] = ()) -> None:
        self._endpoint, self._commands = endpoint, tuple(commands)
        self._history = History(endpoint)
        self._listening: set[asyncio.Task[Any]] = set()
        self._closed = asyncio.Event()
        self._next = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._listening)

    def open(self) -> None:
        """Begin to watch; to be called in the loop."""
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        """Tell all listeners the end, and wait shortly for those that take it."""
        self._closed.set()
        self._next.set()
        if self._watching is not None:
            await self._watching
        if self._listening:
            await asyncio.wait(self._listening, timeout=_LAST_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell one listener everything until it goes, or the end."""
        if self.listeners >= MOST_LISTENERS:
            reason = f"{MOST_LISTENERS} pages show this rehearsal already; close one of them"
            await JSONResponse({"error": reason}, 503)(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        telling = loop.create_task(self._tell(send))
        self._listening.add(telling)
        gone = loop.create_task(_gone(receive))
        try:
            await asyncio.wait({telling, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, gone):
                task.cancel()
            ended, _ = await asyncio.gather(telling, gone, return_exceptions=True)
            self._listening.discard(telling)
        if isinstance(ended, Exception):
            raise ended

    async def _tell(self, send: Send) -> None:
        kind = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        history = [asdict(sample) for sample in self._history.samples]
        await _send(send, _event("start", {"commands": self._commands, "history": history}))
        while not self._closed.is_set():
            next_ = self._next
            await _send(send, self._seen())
            await next_.wait()
        await _send(send, _event("end", {}), more=False)

    async def _watch(self) -> None:
        while not self._closed.is_set():
            self._history.take()
            told, self._next = self._next, asyncio.Event()
            told.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), INTERVAL_S)

    def _seen(self) -> bytes:
        samples = self._history.samples
        sample = asdict(samples[-1]) if samples else None
        return _event("state", {"snapshot": self._endpoint.snapshot().as_json(), "sample": sample})


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
