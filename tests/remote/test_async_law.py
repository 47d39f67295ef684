"""A law of calls that coroutines gather: each gets exactly what it would have got alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel import HybridOnnxModel
from hybridmodel.data.answer import Answer
from tests.support.counting_server import CountingServer
from tests.support.two_routes import REMOTE, X, assert_same

ALONE = HybridOnnxModel(REMOTE)


class Caller(NamedTuple):
    """One call: its rows, the output that it wants, and after how many turns it is cancelled."""

    start: int
    rows: int
    output: str | None
    mode: str
    cancelled_after: int | None


CALLERS = st.builds(
    Caller,
    start=st.integers(0, 20),
    rows=st.integers(1, 12),
    output=st.sampled_from([None, "label", "probabilities"]),
    mode=st.sampled_from(["azure", "azure_first"]),
    cancelled_after=st.none() | st.integers(0, 30),
)


@pytest.fixture(scope="module")
def model() -> Iterator[HybridOnnxModel]:
    """Make a model whose calls go together in requests of up to 10 rows."""
    server = CountingServer(REMOTE)
    with HybridOnnxModel(REMOTE, endpoint=server.endpoint(coalesce_rows=10)) as made:
        yield made
    server.close()


async def call(model: HybridOnnxModel, caller: Caller) -> Answer:
    """Call."""
    data = X[caller.start : caller.start + caller.rows]
    return await model.ainfer(data, mode=caller.mode, output=caller.output)


async def all_of(model: HybridOnnxModel, callers: list[Caller]) -> list[Any]:
    """Call for everybody at once, and cancel who wants to leave."""
    tasks = [asyncio.ensure_future(call(model, caller)) for caller in callers]
    for turn in range(31):
        for task, caller in zip(tasks, callers, strict=True):
            if caller.cancelled_after == turn:
                task.cancel()
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


@settings(max_examples=40, deadline=None)
@given(callers=st.lists(CALLERS, min_size=1, max_size=20))
def test_whatever_is_gathered_with_whatever(model: HybridOnnxModel, callers: list[Caller]) -> None:
    """Rows, outputs and ids are the caller's own, whoever shares, or leaves, its request."""
    ends = asyncio.run(all_of(model, callers))
    for caller, end in zip(callers, ends, strict=True):
        if caller.cancelled_after is not None and isinstance(end, asyncio.CancelledError):
            continue
        data = X[caller.start : caller.start + caller.rows]
        assert_same(end.outputs, ALONE.infer(data, output=caller.output).outputs)
        assert (end.route, end.row_count) == ("azure", len(data))
    answered = [end.request_id for end in ends if isinstance(end, Answer)]
    assert len(set(answered)) == len(answered)
    assert model.stats()["azure.in_flight"] == 0
    assert model.stats()["azure.circuit_open"] == 0


def test_rows_of_others_do_not_stay(model: HybridOnnxModel) -> None:
    """An answer owns its arrays: writing to one changes no neighbour's."""
    callers = [Caller(0, 1, "probabilities", "azure", None)] * 10
    first, *others = asyncio.run(all_of(model, callers))
    before = [answer.outputs["probabilities"].copy() for answer in others]
    first.outputs["probabilities"][:] = -1
    for answer, kept in zip(others, before, strict=True):
        np.testing.assert_array_equal(answer.outputs["probabilities"], kept)
