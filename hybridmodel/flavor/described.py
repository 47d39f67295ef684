"""What MLflow's pages say of a model: facts for params and tags, and a description in Markdown.

Nothing secret is in them, nor the name of a variable that holds a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hybridmodel.routing.words import duties, promise_of

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

PREFIX = "hybridmodel."

_LONGEST = 250
"""Letters of a value: no tracking server refuses so many."""

_MOST_LISTED = 20

_NOT_IN_CODE = re.compile(r"[\x00-\x1f\x7f-\x9f`]+")

_MARKS = re.compile(r"[\\*_{}\[\]()<>#+!~&|]")

_ABOUT = (
    "A hybrid model: a local ONNX file, and an endpoint that serves this or a larger model. "
    "The mode of the model, or a call, says which of the two answers."
)
_ABOUT_LOCAL = "A hybrid model without an endpoint: a local ONNX file, which answers every row."


def facts_of(model: HybridOnnxModel) -> dict[str, str]:
    """Return what is told of a model, by name; what does not apply is left out.

    ``mode``, ``local`` and ``endpoint`` (which rows each of them answers), ``promise``, ``sha256``
    (of the ONNX file), ``endpoint_host``, ``endpoint_model`` and ``endpoint_kind``; each of the
    last three has one value for each endpoint, in their order.
    """
    here, there = duties(model.routing)
    found = {
        "mode": model.routing.mode,
        "local": here,
        "endpoint": there if model.endpoints else None,
        "promise": promise_of(model.routing),
        "sha256": model.onnx.sha256,
        "endpoint_host": ", ".join(item.place.host for item in model.endpoints),
        "endpoint_model": ", ".join(item.served_name for item in model.endpoints),
        "endpoint_kind": ", ".join(item.kind for item in model.endpoints),
    }
    return {f"{PREFIX}{name}": _cut(value) for name, value in found.items() if value}


def description_of(model: HybridOnnxModel, uri: str) -> str:
    """Describe a model in Markdown: both sides, promise, inputs and outputs, and how to call it.

    `uri` is what the model is loaded by.
    """
    promise = promise_of(model.routing)
    parts = [
        _about(model),
        _sides(model),
        None if promise is None else f"**Promise:** {_text(promise)}",
        f"**Inputs:** {_listed(model.inputs)}  \n**Outputs:** {_listed(model.outputs)}",
        _calls(model, uri),
    ]
    return "\n\n".join(part for part in parts if part)


def general_description_of(model: HybridOnnxModel, uri: str) -> str:
    """Describe what all versions of a registered model have in common."""
    told = "What a version asks, answers and promises stands in its own description."
    return "\n\n".join([_about(model), told, _calls(model, uri)])


def _about(model: HybridOnnxModel) -> str:
    return _ABOUT if model.endpoints else _ABOUT_LOCAL


def _sides(model: HybridOnnxModel) -> str:
    """List both sides; in MLflow's pages the cells of a table would stick together."""
    here, there = duties(model.routing)
    lines = [
        f"With mode {_code(model.routing.mode)}:",
        "",
        f"- **local:** ONNX, sha256 {_code(model.onnx.sha256[:12])}…; it {_text(here)}",
    ]
    for item in model.endpoints:
        what = f"{_code(item.served_name)} at {_code(item.place.host)}, {item.kind}"
        lines.append(f"- **endpoint:** {what}; it {_text(there)}")
    return "\n".join(lines)


def _calls(model: HybridOnnxModel, uri: str) -> str:
    lines = [
        "```python",
        "import hybridmodel",
        "",
        f"model = hybridmodel.load_model({json.dumps(_plain(uri))})",
        "model.predict(rows)                   # as the model's mode says",
    ]
    if model.endpoints:
        lines.append("model.predict(rows, use_azure=True)   # asks the endpoint")
        lines.append("model.predict(rows, use_azure=False)  # asks nobody")
    return "\n".join([*lines, "```"])


def _listed(items: Iterable[object]) -> str:
    texts = [_code(str(item)) for item in items]
    more = len(texts) - _MOST_LISTED
    return ", ".join(texts[:_MOST_LISTED]) + (f", and {more} more" if more > 0 else "")


def _text(text: str) -> str:
    """Return a text without what Markdown or HTML would see in it."""
    return _MARKS.sub(r"\\\g<0>", _plain(text))


def _code(text: str) -> str:
    """Return a text in which Markdown sees nothing but a text."""
    return f"`{_plain(text) or '?'}`"


def _plain(text: str) -> str:
    return _cut(_NOT_IN_CODE.sub(" ", text).strip())


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
