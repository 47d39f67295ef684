"""What an audit has seen of a promise, and whether it speaks against it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hybridmodel.cascade.sequential import (
    ChangeDetector,
    Floats,
    lower_limit,
    upper_limit,
)
from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError

LOWER_ALPHA = 0.005
UPPER_ALPHA = 0.045
"""How often a limit of the interval is ever wrong: 5 % together. The lower one gives an alarm."""

_OF_SENT = 0.2
"""The part of that for rows that an outage has left here."""

_NO_VALUES = np.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What became of all rows of an audited cascade.

    Attributes
    ----------
    rows : int
        All of them.
    kept : int
        Those that nobody wanted to send, or that a cap left here: some are audited.
    left : int
        Those that were to be sent and could not be, since the endpoint was unavailable.
    audited : int
        Those kept that both models have answered.
    """

    rows: int = 0
    kept: int = 0
    left: int = 0
    audited: int = 0

    def __post_init__(self) -> None:
        if self.kept + self.left > self.rows or self.audited > self.kept:
            raise ConfigurationError(
                "there are more rows kept than rows, or more audited than kept"
            )

    def __add__(self, other: Composition) -> Composition:
        return Composition(
            rows=self.rows + other.rows,
            kept=self.kept + other.kept,
            left=self.left + other.left,
            audited=self.audited + other.audited,
        )

    def weighed(self, kept: float, left: float) -> float:
        """Return the share of all rows, of its share in the rows that were kept, and left."""
        return (self.kept * kept + self.left * left) / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """Number and sum of losses, which are from 0 to 1 each."""

    count: int = 0
    total: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.total <= self.count:
            raise ConfigurationError("there are more losses than rows")

    def __add__(self, other: Sum) -> Sum:
        return Sum(count=self.count + other.count, total=self.total + other.total)

    @classmethod
    def of(cls, losses: Floats) -> Sum:
        """Add up an array."""
        return cls(count=len(losses), total=float(losses.sum()))

    @property
    def mean(self) -> float:
        """The mean; 1, the worst, before the first value."""
        return self.total / self.count if self.count else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """The first sign that a promise does not hold.

    Attributes
    ----------
    kind : str
        ``"level"``: the risk of all rows so far is above the bound. ``"change"``: it has risen
        above the bound of late.
    row : int
        How many audited rows had been seen.
    time_s : float
        When, in seconds since 1970.
    """

    kind: str
    row: int
    time_s: float


class Evidence(NamedTuple):
    """What a call tells of a promise.

    Attributes
    ----------
    kept : ndarray of float64, shape (n,)
        Losses of the audited rows.
    sent : ndarray of float64, shape (m,)
        What it would have cost to keep some of the rows that were sent, and answered.
    zeros : float
        Rows that were sent and answered, so that nothing is lost, times the audited share.
    left : float
        Rows that an outage has left here, times the audited share.
    """

    kept: Floats = _NO_VALUES
    sent: Floats = _NO_VALUES
    zeros: float = 0.0
    left: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A promise, and all that was seen of it; each step returns a new record.

    Attributes
    ----------
    kept : Sum
        Losses of audited rows.
    sent : Sum
        What it would have cost to keep rows that were sent: that is what rows cost which an outage
        has left here, and which nobody can look at.
    owed : float
        Of these, those that still wait for a row that was sent, to stand in for them in the
        detector.
    detector : ChangeDetector or None
        None where nothing is promised.
    alarm : Alarm or None
        The first; it stays.
    """

    kept: Sum = Sum()
    sent: Sum = Sum()
    owed: float = 0.0
    detector: ChangeDetector | None = None
    alarm: Alarm | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.owed < math.inf:
            raise ConfigurationError(f"owed rows are a number from 0 up, not {shown(self.owed)}")

    @classmethod
    def of(cls, bound: float | None) -> Watch:
        """Begin to watch a promise; a bound of 0 or 1 or more leaves nothing to be tested."""
        tested = bound is not None and 0 < bound < 1
        return cls(detector=ChangeDetector(bound=bound) if bound and tested else None)

    def seen(self, new: Evidence, composition: Composition, time_s: float) -> Watch:
        """Return the watch after a call, which `composition` counts already."""
        found = replace(self, kept=self.kept + Sum.of(new.kept), sent=self.sent + Sum.of(new.sent))
        if self.detector is None or self.alarm is not None:
            return found
        owed = self.owed + new.left
        paid = new.sent[: int(owed)]
        # Evenly spread: in a row, they alone would seem a change.
        places = np.linspace(0, len(new.kept), len(paid) + 2)[1:-1].astype(np.int64)
        detector, place = self.detector.after(np.insert(new.kept, places, paid), new.zeros)
        found = replace(found, owed=owed - len(paid), detector=detector)
        if place is not None:
            before = np.count_nonzero(places + np.arange(len(paid)) <= place)
            row = self.kept.count + place + 1 - int(before)
            return replace(found, alarm=Alarm(kind="change", row=row, time_s=time_s))
        return found.checked(composition, time_s)

    def checked(self, composition: Composition, time_s: float) -> Watch:
        """Return the watch with an alarm if what it has seen by now is reason enough."""
        if self.alarm is not None or self.detector is None:
            return self
        bound, kind = self.detector.bound, "level"
        if self.detector.share >= 1:
            kind = "change"
        elif self.risk(composition) <= bound or self._low(composition) <= bound:
            return self
        return replace(self, alarm=Alarm(kind=kind, row=self.kept.count, time_s=time_s))

    def risk(self, composition: Composition) -> float:
        """Return the estimated share of all rows that are kept at a loss."""
        return composition.weighed(self.kept.mean, self.sent.mean if composition.left else 0.0)

    def interval(self, composition: Composition) -> tuple[float, float]:
        """Return limits of that share, all of which hold with 95 % probability, at all times."""
        return self._low(composition), self._limit(upper_limit, UPPER_ALPHA, composition)

    def _low(self, composition: Composition) -> float:
        return self._limit(lower_limit, LOWER_ALPHA, composition)

    def _limit(self, limit: Callable[..., float], alpha: float, composition: Composition) -> float:
        kept = limit(self.kept.total, self.kept.count, alpha * (1 - _OF_SENT))
        if not composition.left:
            return composition.weighed(kept, 0.0)
        sent = limit(self.sent.total, self.sent.count, alpha * _OF_SENT)
        return composition.weighed(kept, sent)

    def __add__(self, other: Watch) -> Watch:
        """Return the watch of two processes; of two alarms, the earlier."""
        detector = self.detector
        if detector is not None and other.detector is not None:
            detector = detector + other.detector
        alarms = [item.alarm for item in (self, other) if item.alarm is not None]
        return Watch(
            kept=self.kept + other.kept,
            sent=self.sent + other.sent,
            owed=self.owed + other.owed,
            detector=detector,
            alarm=min(alarms, key=lambda alarm: alarm.time_s, default=None),
        )
