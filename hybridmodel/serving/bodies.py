"""Reads the bodies of requests, within limits."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from hybridmodel.serving.limits import Limits


class Bodies:
    """Reads bodies, and counts the bytes of all that are in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._max_bytes = min(limits.max_body_bytes, limits.max_held_bytes)
        self._held_bytes = 0  # Only the thread of the event loop uses it.

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """Read a body, and count it until the block ends; 413 if it is too large, 503 for now."""
        self._check(int(request.headers.get("content-length", 0)))
        body = bytearray()
        try:
            async for chunk in request.stream():
                self._check(len(body) + len(chunk))
                body += chunk
                self._held_bytes += len(chunk)
                if self._held_bytes > self._limits.max_held_bytes:
                    message = f"the server has {self._limits.max_held_bytes} bytes of requests"
                    raise HTTPException(503, message, {"Retry-After": "1"})
            yield body
        finally:
            self._held_bytes -= len(body)

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise HTTPException(413, f"the request has more than {self._max_bytes} bytes")
