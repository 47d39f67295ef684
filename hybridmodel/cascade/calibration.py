"""`Calibration`: a threshold, the promise it keeps, and the sample it was found on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hybridmodel.cascade.classes import ClassShare
from hybridmodel.cascade.promises_groups import Group
from hybridmodel.cascade.promises_words import ACCURACY, LOSS, check_kind
from hybridmodel.cascade.scores import Score
from hybridmodel.cascade.thresholds import Accuracy, Curve
from hybridmodel.checks import check_share
from hybridmodel.data import json_records as records
from hybridmodel.data.json_records import loads
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.looks import shown_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")

SCHEMA_VERSION = 1

_METRICS = ("epsilon", "delta", "rows", "escalation", "risk", "risk_bound")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What `hybridmodel.calibrating` found; plain data, equal to what it is read back as.

    The promise: with probability at least ``1 - delta`` over samples, at most a share `epsilon` of
    all rows like those of the sample are kept local although that is a `loss`.

    Attributes
    ----------
    threshold : float
        Rows with a lower score, or none, are escalated; infinity escalates all.
    score : Score
        How the score is made. A score function is known by name only once it was stored.
    loss : str
        What counts as a loss, in words.
    answer, tolerance, loss_function : str, float, str, each or None
        What judged: the output that was compared, the difference that does not matter, or the name
        of a function.
    epsilon, delta : float
        The promise.
    rows : int
        Size of the sample.
    required_rows : int
        Smallest sample with which this promise can save anything.
    escalation : float
        Share of the sample that is escalated.
    escalation_interval : (float, float)
        Where that share lies in the population, with 95 % confidence.
    risk : float
        Share of the sample kept at a loss.
    risk_bound : float
        Upper bound of that share in the population, with confidence ``1 - delta``; 0 when
        everything is escalated.
    difference_bound : float
        Upper bound, with the same confidence if other rows had chosen the threshold, of the share
        of rows that are kept local although the big model answers differently; at least `epsilon`.
        A larger share, seen later, shows without labels that the rows have changed. For a loss
        function it is `epsilon`.
    missing_scores : int
        Rows of the sample without a score, all of them escalated.
    accuracy : Accuracy or None
        Shares of the sample that are right; None where nothing tells.
    warnings : tuple of str
        What stands in the way of a good threshold, in sentences.
    small_sha256 : str
        Of the local model's file.
    big_sha256 : str or None
        Of the endpoint's model, as the caller said.
    endpoint : str
        URL of the model at the endpoint.
    model_version : str or None
        The version that the endpoint said has answered.
    data_sha256 : str
        Of the sample: input tensors and labels.
    date : str
        When, in ISO 8601 with the time zone.
    curve : Curve
        What other thresholds would have done to the sample.
    asked_rows : int or None
        Rows of the sample that the endpoint was asked for; others were answered before, or need
        no answer. None for a calibration by an older version, which asked for all.
    drawn_rows : int or None
        Rows drawn at random that tell `accuracy`, recall by class, `difference_bound` and the
        curve beyond the threshold. None when all rows do.
    classes : tuple of ClassShare
        What becomes of each class, those that lose most first; empty where there are none.
    promise, method : str, str or None
        What is at most epsilon, and what `risk` and `risk_bound` are about: ``loss`` as above, or
        another kind of `hybridmodel.cascade.promises`; and the test, where a kind has several.
    groups : tuple of Group
        What was found for each group that has its promise.
    cost_remote : float or None
        What chose the threshold among those that keep the promise.
    """

    threshold: float
    score: Score
    loss: str
    answer: str | None
    tolerance: float | None
    loss_function: str | None
    epsilon: float
    delta: float
    rows: int
    required_rows: int
    escalation: float
    escalation_interval: tuple[float, float]
    risk: float
    risk_bound: float
    difference_bound: float
    missing_scores: int
    accuracy: Accuracy | None
    warnings: tuple[str, ...]
    small_sha256: str
    big_sha256: str | None
    endpoint: str
    model_version: str | None
    data_sha256: str
    date: str
    curve: Curve = field(repr=False)
    asked_rows: int | None = None
    drawn_rows: int | None = None
    classes: tuple[ClassShare, ...] = field(default=(), repr=False)
    promise: str = LOSS
    method: str | None = None
    groups: tuple[Group, ...] = field(default=(), repr=False)
    cost_remote: float | None = None

    def __post_init__(self) -> None:
        check_share("epsilon", self.epsilon)
        check_share("delta", self.delta)
        check_kind(self.promise)
        self.score.check_threshold(self.threshold)
        low, high = self.escalation_interval
        least = -1.0 if self.promise == ACCURACY else 0.0
        fits = 0 <= low <= self.escalation <= high <= 1 and 0 <= self.difference_bound <= 1
        fits = fits and all(least <= share <= 1 for share in (self.risk, self.risk_bound))
        if not fits or self.rows < 1 or not 0 <= self.missing_scores <= self.rows:
            raise ConfigurationError(
                "not a calibration: its shares and counts contradict each other"
            )

    @property
    def escalates_everything(self) -> bool:
        """Whether only the endpoint may answer, since no threshold keeps the promise."""
        return self.threshold == math.inf

    def __str__(self) -> str:
        from hybridmodel.cascade.looks import text_of

        return text_of(self)

    def __repr__(self) -> str:
        from hybridmodel.cascade.looks import line_of

        return line_of(self)

    _repr_html_ = shown_by("hybridmodel.cascade.looks")

    def metrics(self) -> dict[str, float]:
        """Return the numbers worth tracking, by name; an infinite threshold is left out."""
        low, high = self.escalation_interval
        numbers = {name: float(getattr(self, name)) for name in _METRICS}
        numbers |= {"escalation_low": low, "escalation_high": high}
        if math.isfinite(self.threshold):
            numbers["threshold"] = self.threshold
        if self.accuracy is not None:
            numbers |= {f"accuracy_{key}": value for key, value in asdict(self.accuracy).items()}
        if self.asked_rows is not None:
            numbers["asked_rows"] = float(self.asked_rows)
        if self.classes:
            numbers["worst_class_lost"] = self.classes[0].lost
        return {f"calibration_{name}": value for name, value in numbers.items()}

    def differences(
        self,
        *,
        small_sha256: str | None = None,
        big_sha256: str | None = None,
        endpoint: str | None = None,
        model_version: str | None = None,
    ) -> tuple[str, ...]:
        """Return one sentence for each reason why the promise may not hold for these models.

        Only facts that are passed in and known from the calibration are compared.
        """
        pairs = [
            ("the local model's sha256", self.small_sha256, small_sha256),
            ("the endpoint's model's sha256", self.big_sha256, big_sha256),
            ("the endpoint", self.endpoint, endpoint),
            ("the model version that answers", self.model_version, model_version),
        ]
        return tuple(
            f"{what} is {now}, but the calibration was made with {then}: calibrate again"
            for what, then, now in pairs
            if None not in (then, now) and then != now
        )

    def plot(
        self,
        path: str | Path | None = None,
        *,
        cost_local: float = 0.0,
        cost_remote: float = 1.0,
    ) -> Figure:
        """Draw accuracy, risk and cost against the share of rows escalated.

        Parameters
        ----------
        path : path, optional
            Where to save the picture, in the format that its ending names.
        cost_local, cost_remote : float
            Of a row answered locally, and of asking the endpoint for one, in the same unit.

        Raises
        ------
        MissingDependency
            If matplotlib is not installed.
        """
        from hybridmodel.cascade.pictures import picture

        figure = picture(self, cost_local, cost_remote)
        if path is not None:
            figure.savefig(path, dpi=130)
        return figure

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, in JSON's types; infinities are the text ``inf``.

        What older versions do not know is left out where it says nothing.
        """
        found = records.members(self)
        for item in fields(self):
            if getattr(self, item.name) == item.default:
                del found[item.name]
        return {"schema_version": SCHEMA_VERSION, **found}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` wrote; keys of a later minor version are ignored.

        Raises
        ------
        ConfigurationError
            If it is not the description of a calibration, or of a later major version; the message
            has the path to what is wrong.
        """
        records.required(stored, "schema_version", _check_version)
        return _read(cls, stored)

    def to_json(self) -> str:
        """Return the record as a JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Calibration:
        """Read what `to_json` wrote.

        Raises
        ------
        ConfigurationError
            If it is not JSON, or not the description of a calibration.
        """
        what = "not the description of a calibration"
        stored = loads(text, what)
        try:
            return cls.from_dict(stored)
        except ConfigurationError as error:
            raise ConfigurationError(f"{what}: {error}") from error


def _check_version(version: Any) -> None:
    if version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"the calibration has schema_version {version!r}; this hybridmodel reads "
            f"{SCHEMA_VERSION}"
        )


def _interval(stored: Any) -> tuple[float, ...]:
    found = records.numbers(stored)
    if len(found) != 2:
        raise records.expected("two numbers", stored)
    return found


def _read(kind: type[T], stored: Any) -> T:
    """Read a record, each field as its annotation says."""
    of: Any = kind
    readers = {item.name: _READERS[item.type] for item in fields(of)}
    return records.read_record(kind, stored, readers)


_READERS: Mapping[Any, Any] = {  # By annotation.
    "float": records.number,
    "int": records.count,
    "str": records.text,
    "float | None": records.nullable(records.number),
    "str | None": records.nullable(records.text),
    "tuple[str, ...]": records.texts,
    "tuple[float, ...]": records.numbers,
    "tuple[float, ...] | None": records.nullable(records.numbers),
    "tuple[float, float]": _interval,
    "Score": Score.from_dict,
    "int | None": records.nullable(records.count),
    "Accuracy | None": records.nullable(partial(_read, Accuracy)),
    "tuple[ClassShare, ...]": records.listed(partial(_read, ClassShare), "classes"),
    "tuple[Group, ...]": records.listed(partial(_read, Group), "groups"),
    "Curve": partial(_read, Curve),
}
