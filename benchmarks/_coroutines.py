"""Many coroutines of one loop that ask for a row each, again and again: ours and NVIDIA's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from _clients import Case

AskOnce = Callable[[], Awaitable[Any]]


def load_of_ours(model: Any, row: Any, callers: int, seconds: float) -> list[float]:
    """Return the seconds of each call of ``await model.apredict(row, use_azure=True)``."""
    return asyncio.run(_load(lambda: model.apredict(row, use_azure=True), callers, seconds))


def load_of_aio(uri: str, case: Case, row: Any, callers: int, seconds: float) -> list[float]:
    """Return the seconds of each call of ``tritonclient.http.aio``, with a connection a caller.

    Its inputs are ready, as in the benchmark of single calls; its answers are made arrays.
    """
    return asyncio.run(_load_of_aio(uri, case, row, callers, seconds))


async def _load_of_aio(uri: str, case: Case, row: Any, callers: int, seconds: float) -> list[float]:
    from tritonclient.http import InferInput, InferRequestedOutput
    from tritonclient.http.aio import InferenceServerClient

    ready = InferInput("x", list(row.shape), "FP32")
    ready.set_data_from_numpy(row)
    wanted = InferRequestedOutput("y")
    address = uri.removeprefix("http://")
    async with InferenceServerClient(address, conn_limit=callers) as client:

        async def ask() -> Any:
            answer = await client.infer(case.model, [ready], outputs=[wanted])
            return answer.as_numpy("y")

        return await _load(ask, callers, seconds)


async def _load(ask: AskOnce, callers: int, seconds: float) -> list[float]:
    """Let each caller ask again as soon as it has its answer, until the time is over."""
    await asyncio.gather(*(ask() for _ in range(callers)))  # Connections are made before.
    times: list[float] = []
    until = time.perf_counter() + seconds

    async def call_again() -> None:
        started = time.perf_counter()
        while started < until:
            await ask()
            ended = time.perf_counter()
            times.append(ended - started)
            started = ended

    await asyncio.gather(*(call_again() for _ in range(callers)))
    return times
