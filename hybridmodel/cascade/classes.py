"""What a cascade does to each class: a promise about all rows says nothing about a rare one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hybridmodel.cascade.bounds import interval
from hybridmodel.data.tensors import Array

MOST = 100
"""Of more classes, only those that lose most are told."""

_LEAST_LOSS = 0.05
"""A class is warned of when it loses more than this, beyond what chance may have done."""

_MOST_WARNINGS = 3


@dataclass(frozen=True, kw_only=True)
class ClassShare:
    """One class of a sample.

    Attributes
    ----------
    label : str
        The class, as text: the label, or without labels the big model's answer.
    rows : int
        Rows of the class.
    lost : float
        Share of them that is kept at a loss.
    small, big, cascade : float or None
        Recall: the share of the class that the small model, the big one and both together get
        right. None without labels, or where no row of the class was drawn to find out.
    """

    label: str
    rows: int
    lost: float
    small: float | None = None
    big: float | None = None
    cascade: float | None = None

    def __str__(self) -> str:
        text = f"{self.label} ({self.rows:,} rows): {self.lost:.1%} kept at a loss"
        if self.small is None or self.big is None or self.cascade is None:
            return text
        return (
            f"{text}; recall small {self.small:.1%}, big {self.big:.1%}, cascade {self.cascade:.1%}"
        )


def by_class(
    classes: Array,
    lost: Array,
    right: tuple[Array, Array, Array] | None,
    drawn: Array | None = None,
) -> tuple[ClassShare, ...]:
    """Count each class, those that lose most first.

    Parameters
    ----------
    classes : ndarray of shape (n,)
        The class of each row.
    lost : ndarray of bool, shape (n,)
        Which rows are kept at a loss.
    right : (ndarray, ndarray, ndarray) of bool, shape (m,), or None
        Whether the small model, the big one and the cascade are right about rows.
    drawn : ndarray of int, shape (m,), or None
        Positions of these rows; None stands for all.
    """
    names, codes = np.unique(classes, return_inverse=True)
    counts = np.bincount(codes, minlength=len(names))
    shares = np.bincount(codes, weights=lost, minlength=len(names)) / counts
    part = codes if drawn is None else codes[drawn]
    found = np.bincount(part, minlength=len(names))
    order = np.argsort(-shares, kind="stable")[:MOST]

    def recall(place: int) -> dict[str, float]:
        if right is None or not found[place]:
            return {}
        who = zip(("small", "big", "cascade"), right, strict=True)
        return {name: float(flags[part == place].mean()) for name, flags in who}

    return tuple(
        ClassShare(
            label=str(names[place]),
            rows=int(counts[place]),
            lost=float(shares[place]),
            **recall(place),
        )
        for place in order
    )


def destroyed(classes: tuple[ClassShare, ...], epsilon: float) -> Iterator[str]:
    """Warn of classes that certainly lose more than all rows together may, and more than a few."""
    least = max(_LEAST_LOSS, epsilon)
    bad = [item for item in classes if interval(round(item.lost * item.rows), item.rows)[0] > least]
    for item in bad[:_MOST_WARNINGS]:
        yield (
            f"class {item}: the promise is about all rows together, of which this class is a small "
            "part. Promise less (a smaller epsilon), or for each class (by=y)"
        )
    if len(bad) > _MOST_WARNINGS:
        yield f"{len(bad) - _MOST_WARNINGS} more classes lose as much"
