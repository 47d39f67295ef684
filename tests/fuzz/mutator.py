"""Changes that keep a message JSON: what random bytes hardly ever do."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

from hybridmodel.data.tensors import BY_DATATYPE

VALUES: list[Any] = [
    *(0, 1, 2, 3, 8, 255, 256, 70_000, 2**31, 2**32, 2**40, 2**60, 2**63, 2**64, -1, -(2**63)),
    *(True, False, None, 0.0, 1.5, 1e39, float("nan"), float("inf")),
    *("", "a", "y", "z", "id", "-1", "\ud800", "\u0000", "ß", [], {}, [[]], [0], [1], [2, 2]),
    *BY_DATATYPE,
]


def mutate(data: bytes, choose: random.Random) -> bytes:
    """Return a message in which a few places of the JSON line say something else.

    What is not JSON, or too deep for it, is returned as it is.
    """
    header, line_feed, raw = data.partition(b"\n")
    try:
        head = json.loads(header)
        for _ in range(choose.randint(1, 3)):
            _change(head, choose)
        changed = json.dumps(head, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return data
    return changed + line_feed + _changed_raw(raw, choose)


def _change(head: Any, choose: random.Random) -> None:
    """Replace, remove, repeat or move one value, wherever it stands."""
    places = [(owner, key) for owner in _owners(head) for key in _keys(owner)]
    if not places:
        return
    owner, key = choose.choice(places)
    how = choose.randrange(5)
    if how == 0:
        del owner[key]
    elif how == 1 and isinstance(owner, list):
        owner.insert(key, deepcopy(owner[key]))
    elif how == 2:
        other, place = choose.choice(places)
        owner[key] = deepcopy(other[place])
    else:
        owner[key] = deepcopy(choose.choice(VALUES))


def _owners(head: Any) -> list[Any]:
    owners = [head] if isinstance(head, (dict, list)) else []
    for owner in owners:  # Grows meanwhile.
        inner = owner.values() if isinstance(owner, dict) else owner
        owners += [item for item in inner if isinstance(item, (dict, list))]
    return owners


def _keys(owner: Any) -> list[Any]:
    return list(owner) if isinstance(owner, dict) else list(range(len(owner)))


def _changed_raw(raw: bytes, choose: random.Random) -> bytes:
    how = choose.randrange(4)
    if how == 0:
        return raw[: choose.randrange(len(raw) + 1)]
    if how == 1:
        return raw + choose.randbytes(choose.choice([1, 4, 8]))
    return raw
