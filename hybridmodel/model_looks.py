"""What a notebook shows of a model: both sides, and which rows each of them answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.looks.card import Card, Side, listed, render
from hybridmodel.routing.words import NONE, duties, promise_of

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel


def html_of(model: HybridOnnxModel) -> str:
    """Return a model as a piece of HTML."""
    return render(card_of(model))


def card_of(model: HybridOnnxModel) -> Card:
    """Return what is shown of a model: what calls do that name no route. It holds no secret."""
    try:
        policy, refused = model.policies.for_call(), None
    except ConfigurationError as error:
        policy, refused = model.routing, str(error)
    return Card(
        name=type(model).__name__,
        state=f"mode {getattr(policy, 'mode', 'function')}",
        sides=sides_of(model, policy),
        facts=tuple(_facts(model, policy, refused)),
    )


def sides_of(model: HybridOnnxModel, policy: Any) -> tuple[Side, ...]:
    """Return the local model and the endpoint, with their duties under a policy."""
    here, there = duties(policy)
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


def _facts(model: HybridOnnxModel, policy: Any, refused: str | None) -> Iterator[tuple[str, str]]:
    if refused is not None:
        yield "calls raise", refused
    yield "inputs", listed(model.inputs)
    if model.feature_names is not None:
        yield "columns", listed(model.feature_names)
    yield "outputs", listed(model.outputs)
    if model.output is not None:
        yield "predict returns", model.output
    promise = promise_of(policy)
    if promise is not None:
        yield "promise", promise
