"""All that an audit knows, as a record: added up over processes, and in JSON's types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hybridmodel.cascade.sequential import TIMES, ChangeDetector
from hybridmodel.cascade.watch import Alarm, Composition, Sum, Watch
from hybridmodel.data import json_records as records
from hybridmodel.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditState:
    """All that an audit knows of a cascade, as it is stored and added up over processes.

    Attributes
    ----------
    cascade : str
        Which cascade this is about, as a hash.
    composition : Composition
    differences : Watch
        Of rows that both models answer differently.
    losses : Watch
        Of rows with labels.
    """

    cascade: str
    composition: Composition = field(default_factory=Composition)
    differences: Watch = field(default_factory=Watch)
    losses: Watch = field(default_factory=Watch)

    @property
    def alarm(self) -> Alarm | None:
        """The first alarm of both watches."""
        found = [item.alarm for item in (self.differences, self.losses) if item.alarm is not None]
        return min(found, key=lambda alarm: alarm.time_s, default=None)

    def is_like(self, other: AuditState) -> bool:
        """Tell whether both are about the same cascade and the same promises."""
        return _promises(self) == _promises(other)

    def __add__(self, other: AuditState) -> AuditState:
        """Add the state of another process.

        Rows add up, and so does what speaks against the promise: the audited rows of both are one
        stream in the order in which they came, of which each part is seen with the same
        probabilities. Either has to be added once only.

        Raises
        ------
        ConfigurationError
            If it is about another cascade, or another promise.
        """
        if not self.is_like(other):
            raise ConfigurationError(
                "these audits are of different cascades: threshold, score and calibration have "
                "to be the same"
            )
        return AuditState(
            cascade=self.cascade,
            composition=self.composition + other.composition,
            differences=self.differences + other.differences,
            losses=self.losses + other.losses,
        )

    def checked(self, time_s: float) -> AuditState:
        """Return the state, with an alarm where all of it together is reason enough."""
        return replace(
            self,
            differences=self.differences.checked(self.composition, time_s),
            losses=self.losses.checked(self.composition, time_s),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, in JSON's types."""
        return records.members(self)

    @classmethod
    def from_dict(cls, stored: Any) -> AuditState:
        """Read what `to_dict` wrote; raise `ConfigurationError` for anything else."""
        found: AuditState = _read(cls, stored)
        return found


def _promises(state: AuditState) -> tuple[Any, ...]:
    detectors = state.differences.detector, state.losses.detector
    return (state.cascade, *(None if found is None else found.bound for found in detectors))


def _whole(stored: Any) -> int:
    number = records.count(stored)
    if not 0 <= number < 1 << 53:
        raise records.expected("a whole number from 0 up", stored)
    return number


def _finite(stored: Any) -> float:
    number = records.number(stored)
    if not math.isfinite(number):
        raise records.expected("a finite number", stored)
    return number


def _bets(least: float) -> Any:
    """Return the reader of a number of each bet."""

    def read(stored: Any) -> tuple[float, ...]:
        found = tuple(map(_finite, records.numbers(stored)))
        if len(found) != len(TIMES) or min(found) < least:
            raise records.expected(f"{len(TIMES)} numbers from {least:g} up", stored)
        return found

    return read


def _bound(stored: Any) -> float:
    number = records.number(stored)
    if not 0 < number < 1:
        raise records.expected("a number between 0 and 1", stored)
    return number


def _kind(stored: Any) -> str:
    if stored not in ("level", "change"):
        raise records.expected("'level' or 'change'", stored)
    return str(stored)


def _read(kind: Any, stored: Any) -> Any:
    return records.read_record(kind, stored, _READERS[kind])


_READERS: Mapping[Any, Mapping[str, Any]] = {
    Composition: dict.fromkeys(("rows", "kept", "left", "audited"), _whole),
    Sum: {"count": _whole, "total": _finite},
    ChangeDetector: {"bound": _bound, "first": _bets(-math.inf), "later": _bets(0.0)},
    Alarm: {"kind": _kind, "row": _whole, "time_s": _finite},
    Watch: {
        "kept": partial(_read, Sum),
        "sent": partial(_read, Sum),
        "owed": _finite,
        "detector": records.nullable(partial(_read, ChangeDetector)),
        "alarm": records.nullable(partial(_read, Alarm)),
    },
    AuditState: {
        "cascade": records.text,
        "composition": partial(_read, Composition),
        "differences": partial(_read, Watch),
        "losses": partial(_read, Watch),
    },
}
