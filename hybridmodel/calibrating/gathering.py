"""Gathers losses of a sample: of every row, or only of those that can move the threshold.

Walking down from the surest row, the threshold is settled by the first loss too many. Rows below
it need no answer, and of those above only the rows on which a loss is possible. With labels that
is where the small model is wrong. What else is to be said about the sample, such as how often each
model is right, is said by a random part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hybridmodel.calibrating.asking import Remote
from hybridmodel.calibrating.sample import taken
from hybridmodel.cascade import judges
from hybridmodel.cascade.bounds import most_failures
from hybridmodel.cascade.loss_functions import ByFunction
from hybridmodel.cascade.promises import Promise
from hybridmodel.cascade.promises_words import LOSS
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError

AnyJudge = judges.Judge | ByFunction

_LEAST_ROWS = 4
"""Of a request on the way down: fewer would cost more time than they save rows."""

_ENOUGH_ROWS = 100
"""Fewer random rows may well look odd."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a sample.

    Attributes
    ----------
    scores : ndarray of float64, shape (n,)
        How sure the small model is of each row.
    losses : ndarray, shape (n,)
        Whether it is a loss to keep each row; false for rows below `settled` of which nothing
        is known.
    settled : float
        Down to this score, all losses are known: minus infinity where that is so for all rows.
    drawn : ndarray of int, shape (m,), or None
        Positions of rows that were drawn at random; None stands for all rows.
    judged : Judged
        What the answers to these rows say.
    classes : ndarray of shape (n,) or None
        The class of every row, with labels.
    asked : int
        Rows that the endpoint was asked for.
    missing : int
        Rows that count as losses because nobody answered them.
    losses_are_differences : bool
        Whether the losses are the rows on which the models differ, as without labels.
    """

    scores: Array
    losses: Array
    settled: float
    drawn: Array | None
    judged: judges.Judged
    classes: Array | None
    asked: int
    missing: int
    losses_are_differences: bool


def only_scores(scores: Array) -> Evidence:
    """Return what is known of a sample of which nobody is asked."""
    none = np.zeros(len(scores), bool)
    return Evidence(
        scores=scores,
        losses=none,
        settled=-math.inf,
        drawn=None,
        judged=judges.Judged(losses=none, differ=none[:0]),
        classes=None,
        asked=0,
        missing=0,
        losses_are_differences=False,
    )


@dataclass
class Gathering:
    """Gathers the losses of one sample.

    Attributes
    ----------
    judge : Judge
        Says what is a loss.
    labels : object
        As `judge` read them, or None.
    small : object
        The small model's answers, as `judge` read them.
    scores : ndarray of float64, shape (n,)
        How sure the small model is of each row.
    remote : Remote
        The endpoint's answers.
    """

    judge: AnyJudge
    labels: Any
    small: Any
    scores: Array
    remote: Remote
    _losses: Array = field(init=False)
    _missing: int = field(init=False)

    def __post_init__(self) -> None:
        self._losses = np.zeros(len(self.scores), bool)
        self._missing = 0

    def enough_for(
        self, promise: Promise, size: int | None, seed: int, groups: Array | None = None
    ) -> Evidence:
        """Ask for what a promise depends on, and for so many random rows; None: for every row.

        `groups` are the names of the groups, one for each row, where each has its promise.
        """
        return self.all() if size is None else self.down_to(promise, size, seed, groups)

    def all(self) -> Evidence:
        """Ask for every row."""
        rows = np.arange(len(self.scores))
        self.remote.ask(rows)
        if not self.remote.known.all():
            missing = int((~self.remote.known).sum())
            raise ConfigurationError(
                f"{missing:,} of {len(rows):,} rows have no answer yet, and nobody may be asked "
                "(ask=False): leave these rows out if they are missing by chance; promise='loss' "
                "with subsample= counts them as losses"
            )
        return self._evidence(None, self._compared(None), -math.inf)

    def down_to(
        self, promise: Promise, size: int, seed: int, groups: Array | None = None
    ) -> Evidence:
        """Ask for so many random rows, and down from the surest for what a promise depends on.

        Only promises about losses end early; for any other, every row is asked for.
        """
        rows, remote = len(self.scores), self.remote
        is_part = size < rows and remote.by_row
        if remote.known.all() or (remote.may_ask and not is_part) or promise.kind != LOSS:
            return self.all()
        random = np.random.default_rng(seed)
        drawn = np.sort(random.choice(rows, min(size, rows), replace=False))
        self.remote.ask(drawn)
        drawn = drawn if self.remote.known[drawn].all() else drawn[:0]
        judged = self._compared(drawn)
        return self._evidence(drawn, judged, self._walk_groups(promise, groups))

    def _walk_groups(self, promise: Promise, groups: Array | None) -> float:
        """Walk down for each group, and return the score down to which all losses are known."""
        possible = self.judge.may_lose(self.labels, self.small) & ~np.isnan(self.scores)
        masks = [np.ones(len(possible), bool)]
        if groups is not None:
            masks = [groups == name for name in np.unique(groups)]
        delta = promise.delta / len(masks)
        allowed = [most_failures(int(mask.sum()), promise.epsilon, delta) for mask in masks]
        if min(allowed) < 0:
            return math.inf
        walked = [
            self._walk(most, possible & mask) for most, mask in zip(allowed, masks, strict=True)
        ]
        return max(walked)

    def _walk(self, allowed: int, possible: Array) -> float:
        """Ask for rows down to the first loss too many, and return its score."""
        order = np.flatnonzero(possible)
        order = order[np.argsort(-self.scores[order], kind="stable")]
        lost = start = 0
        while lost <= allowed and start < len(order):
            # So many rows have to be asked for at least, even if every one of them is a loss.
            rows = order[start : start + max(allowed + 1 - lost, _LEAST_ROWS)]
            lost += int(self._lost(np.sort(rows)).sum())
            start += len(rows)
        if lost <= allowed:
            return -math.inf
        found = order[:start][self._losses[order[:start]]]
        return float(self.scores[found[allowed]])

    def _lost(self, rows: Array) -> Array:
        """Find out which rows are lost; those that nobody answers count as lost."""
        self.remote.ask(rows)
        known = rows[self.remote.known[rows]]
        self._missing += len(rows) - len(known)
        self._losses[rows] = True
        self._losses[known] = self._weighed(known, self.judge.weigh).losses
        return self._losses[rows]

    def _compared(self, drawn: Array | None) -> judges.Judged:
        """Compare the answers to random rows, or to all, and say what is odd in them."""
        if drawn is None:
            found = self._weighed(np.arange(len(self.scores)), self.judge.compare)
            self._losses = found.losses
            return found
        found = self._weighed(drawn, self.judge.weigh)
        self._losses[drawn] = found.losses
        if not isinstance(self.judge, judges.ByClass) or len(drawn) < _ENOUGH_ROWS:
            return found
        remote = self.judge.read(self.remote.outputs(drawn))
        if self.labels is not None:
            judges.never_answered(self.labels, self.small, remote)
        odd = self.judge.compare(None, self.small[drawn], remote)
        return replace(found, warnings=odd.warnings)

    def _weighed(self, rows: Array, how: Callable[..., judges.Judged]) -> judges.Judged:
        """Return what the judge says about rows, by their positions in rising order."""
        if not len(rows):
            none = np.empty(0, bool)
            return judges.Judged(losses=none, differ=none)
        labels, small = self.labels, self.small
        if len(rows) < len(self.scores):
            labels, small = taken(labels, rows), taken(small, rows)
        found = how(labels, small, self.judge.read(self.remote.outputs(rows)))
        check_losses(len(found.losses), len(rows))
        return found

    def _evidence(self, drawn: Array | None, judged: judges.Judged, settled: float) -> Evidence:
        is_labelled = self.labels is not None and isinstance(self.judge, judges.ByClass)
        return Evidence(
            scores=self.scores,
            # A row without a score is never kept, so nobody has to know whether it would be lost.
            losses=self._losses * ~np.isnan(self.scores),
            settled=settled,
            drawn=drawn,
            judged=judged,
            classes=self.labels if is_labelled else None,
            asked=self.remote.asked,
            missing=self._missing,
            losses_are_differences=(self.labels is None or isinstance(self.judge, ByFunction)),
        )


def check_losses(found: int, rows: int) -> None:
    """Raise `ConfigurationError` unless a loss function returned so many losses."""
    if found != rows:
        raise ConfigurationError(
            f"the loss function has to return 0 or 1 for each of {rows} rows; it returned {found}"
        )
