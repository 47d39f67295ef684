"""What a notebook shows of a model: both sides, and which rows each of them answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from hybridmodel.looks.card import Card, Side, listed, render
from hybridmodel.routing.words import NONE, duties, promise_of

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel


def html_of(model: HybridOnnxModel) -> str:
    """Return a model as a piece of HTML."""
    return render(card_of(model))


def card_of(model: HybridOnnxModel) -> Card:
    """Return what is shown of a model; nothing secret is in it."""
    return Card(
        name=type(model).__name__,
        state=f"mode {model.routing.mode}",
        sides=sides_of(model),
        facts=tuple(_facts(model)),
    )


def sides_of(model: HybridOnnxModel) -> tuple[Side, ...]:
    """Return the local model and the endpoint, with their duties under the model's own policy."""
    here, there = duties(model.routing)
    told = [f"{item.served_name} at {item.uri}" for item in model.endpoints]
    return (
        Side(name="local", lines=_file(model), duty=here, answers=here != NONE),
        Side(
            name="endpoint" if len(told) < 2 else f"{len(told)} endpoints, in this order",
            lines=tuple(told) or ("none",),
            duty=there,
            answers=bool(told) and there != NONE,
        ),
    )


def _file(model: HybridOnnxModel) -> tuple[str, ...]:
    """Name the local file, its size and its hash; a file may be gone by now."""
    onnx = model.onnx
    lines = ["ONNX in memory" if onnx.path is None else onnx.path.name]
    with suppress(OSError):
        lines[0] += f", {onnx.size_bytes / 1e3:,.1f} kB"
    return (*lines, f"sha256 {onnx.sha256[:12]}…") if onnx.sha256 else tuple(lines)


def _facts(model: HybridOnnxModel) -> Iterator[tuple[str, str]]:
    yield "inputs", listed(model.inputs)
    if model.feature_names is not None:
        yield "columns", listed(model.feature_names)
    yield "outputs", listed(model.outputs)
    if model.output is not None:
        yield "predict returns", model.output
    promise = promise_of(model.routing)
    if promise is not None:
        yield "promise", promise
