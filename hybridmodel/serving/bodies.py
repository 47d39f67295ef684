"""Reading the bodies of requests, no more of them than fit."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from hybridmodel.serving.limits import Limits


class Bodies:
    """Reads bodies and counts what is held of all of them.

    Parameters
    ----------
    limits : Limits
        How much may be held.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._max_bytes = min(limits.max_body_bytes, limits.max_held_bytes)
        self._held_bytes = 0  # Touched by the thread of the event loop only.

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """Read a body and count it until the block ends.

        Raises
        ------
        HTTPException
            413 if it is, or says that it is, larger than one may be; 503 if too many are held.
        ClientDisconnect
            If the client goes before the end.
        """
        self._check(int(request.headers.get("content-length", 0)))
        body = bytearray()
        try:
            async for chunk in request.stream():
                self._check(len(body) + len(chunk))
                body += chunk
                self._held_bytes += len(chunk)
                if self._held_bytes > self._limits.max_held_bytes:
                    message = f"the server holds {self._limits.max_held_bytes} bytes of requests"
                    raise HTTPException(503, message, {"Retry-After": "1"})
            yield body
        finally:
            self._held_bytes -= len(body)

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise HTTPException(
                413, f"a request may have {self._max_bytes} bytes, and this has more"
            )
