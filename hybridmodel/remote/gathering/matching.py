"""Which calls may share a request: those that one request answers as each alone would be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from math import frexp
from typing import Any

import numpy as np

from hybridmodel.data.tensors import WILDCARD, ModelSpec
from hybridmodel.remote.answers import can_cut
from hybridmodel.remote.exchange import Call

Inputs = tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]
"""Name, dtype and inner shape of each input."""


Kind = tuple[object, str | None, bool, int, tuple[str, ...], Inputs]
"""What calls of one request have in common; never shown, because it holds the key.

It begins with the event loop, None in a thread: coroutines share a request with others of their
loop only. Then come key, right to retries, patience, outputs and inputs. Patience is the power of
two above a call's whole time: a caller of one second is not bound to what hangs with a caller of
thirty.
"""


KindOf = Callable[[Call, object], Kind | None]
"""Says what kind a call of a loop is, None for a call that goes alone."""


def kind_finder(spec: ModelSpec, most_rows: int) -> KindOf:
    """Return what says the kind of calls of this model; those of so many rows go alone."""
    may_share = lru_cache(64)(partial(rows_are_apart, spec))

    def kind_of(call: Call, loop: object) -> Kind | None:
        if not call.rows or call.rows >= most_rows or not may_share(call.outputs):
            return None
        inputs = tuple([(name, item.dtype, item.shape[1:]) for name, item in call.feeds.items()])
        patience = frexp(call.deadline.timeout_s)[1]
        return loop, call.key, call.retry, patience, call.outputs, inputs

    return kind_of


def rows_are_apart(spec: ModelSpec, outputs: Sequence[str]) -> bool:
    """Tell whether each row has its own answer, in a shape that other rows cannot change.

    An inner dimension that the model leaves open may become as large as the largest row needs.
    """
    shapes = [spec.output(name).shape[1:] for name in outputs]
    return can_cut(spec, outputs) and not any(WILDCARD in shape for shape in shapes)
