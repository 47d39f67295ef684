"""One promise for each group of rows, all kept at once.

Each group has a threshold of its own, found on its rows with its part of delta; all promises hold
together with probability at least ``1 - delta`` (C. E. Bonferroni's inequality). The highest of the
thresholds keeps them all, since each promise holds for every threshold above its own: that is the
one to use where the group of a row to come is not known, such as its class. Of promises of a share
escalated it is the lowest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybridmodel.cascade.formatting import some
from hybridmodel.cascade.promises import Promise
from hybridmodel.cascade.promises_words import ESCALATION
from hybridmodel.cascade.scores import escalated
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError, InputMismatch

_MOST_GROUPS = 1000


@dataclass(frozen=True, kw_only=True)
class Group:
    """What was found for one group of a sample.

    Attributes
    ----------
    name : str
        The group's value.
    rows : int
        In the sample.
    threshold : float
        Of its own: the least that keeps its promise.
    escalation : float
        Share of its rows that its own threshold escalates.
    risk, risk_bound : float
        Of its rows, with the threshold of all groups; the bound has the group's part of delta.
    """

    name: str
    rows: int
    threshold: float
    escalation: float
    risk: float
    risk_bound: float


def group_names(by: Any, rows: int) -> Array:
    """Return the group of each row as a text; raise `InputMismatch` unless each row has one."""
    values = np.asarray(by, dtype=object)
    if values.shape != (rows,):
        raise InputMismatch(
            f"by has to hold the group of each of {rows} rows; its shape is {list(values.shape)}"
        )
    missing = np.array([item is None or item != item for item in values.tolist()])
    if missing.any():
        raise InputMismatch(f"by is missing for {int(missing.sum())} of {rows} rows")
    names = np.array([str(item) for item in values.tolist()], dtype=object)
    found = np.unique(names)
    if len(found) > _MOST_GROUPS:
        raise ConfigurationError(
            f"by has {len(found)} groups, such as {some(found, 3)}; at most {_MOST_GROUPS} are "
            "possible, and each needs rows of its own: use coarser groups"
        )
    return names


def find_by_group(
    promise: Promise, scores: Array, harm: Array, names: Array
) -> tuple[float, tuple[Group, ...]]:
    """Return the threshold that keeps the promise in every group, and what each group has found.

    Parameters
    ----------
    promise : Promise
        About each group; its delta is divided evenly among them.
    scores, harm : ndarray of shape (n,)
        As `Promise.threshold` takes them.
    names : ndarray of str, shape (n,)
        As `group_names` returns them.

    Returns
    -------
    threshold : float
        For the rows of all groups.
    groups : tuple of Group
        In the order of their names.
    """
    groups = np.unique(names)
    part = replace(promise, delta=promise.delta / len(groups))
    own = [part.threshold(scores[names == name], harm[names == name]) for name in groups]
    threshold = common(promise, own, [_lowest(scores[names == name]) for name in groups])
    found = [
        _found(part, name, scores[names == name], harm[names == name], (limit, threshold))
        for name, limit in zip(groups, own, strict=True)
    ]
    return threshold, tuple(found)


def common(promise: Promise, thresholds: Sequence[float], lowest: Sequence[float]) -> float:
    """Return the threshold that keeps the promises of all groups.

    `lowest` are the groups' lowest scores: a group all of whose rows may be kept asks for nothing.
    """
    if promise.kind == ESCALATION:
        return min(thresholds)
    pairs = zip(thresholds, lowest, strict=True)
    binding = [own for own, low in pairs if own > low or math.isnan(low)]
    return max(binding) if binding else min(thresholds)


def _lowest(scores: Array) -> float:
    return float(np.fmin.reduce(scores, initial=math.nan))


def notes(promise: Promise, groups: tuple[Group, ...]) -> Iterator[str]:
    """Say which groups are too small for any promise."""
    part = replace(promise, delta=promise.delta / len(groups))
    small = [group for group in groups if group.rows < part.required_rows(group.rows)]
    if small:
        listed = ", ".join(f"{group.name!r} {group.rows}" for group in small[:10])
        more = f", … {len(small) - 10} more" if len(small) > 10 else ""
        yield (
            f"groups with too few rows: {listed}{more}; each of {len(groups)} groups needs at "
            f"least {part.required_rows(max(group.rows for group in small))}, or else all rows "
            "have to be escalated"
        )


def _found(
    part: Promise, name: str, scores: Array, harm: Array, limits: tuple[float, float]
) -> Group:
    own, common = (escalated(scores, limit) for limit in limits)
    return Group(
        name=str(name),
        rows=len(scores),
        threshold=limits[0],
        escalation=float(own.mean()),
        risk=part.risk(harm, common),
        risk_bound=0.0 if limits[1] == math.inf else part.bound(harm, common),
    )
