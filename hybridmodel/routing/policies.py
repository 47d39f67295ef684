"""Routing policies: frozen records of the route of a call, which the router carries out.

================  ==============================================================================
mode              which route answers
================  ==============================================================================
``local``         the local model
``azure``         the endpoint
``azure_first``   the endpoint; the local model where the endpoint is unavailable
``local_first``   the local model; the endpoint where the local model does not work
``cascade``       the local model; the endpoint for rows of which the local model is not sure
``budget``        the local model; the endpoint for so many rows, the least sure ones
``shadow``        one route; the other is asked in the background, and compared
``split``         the endpoint for a share of calls or rows, the same ones each time
``hedge``         the endpoint; the local model where the endpoint takes too long
================  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from hybridmodel.checks import check_count, check_rate, check_seconds
from hybridmodel.data.json_records import nullable, read_at
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.routing.budget import Budget
from hybridmodel.routing.policy import Policy
from hybridmodel.switch import AZURE, LOCAL

if TYPE_CHECKING:
    from hybridmodel.cascade.calibration import Calibration
    from hybridmodel.cascade.scores import Score


@dataclass(frozen=True)
class Local(Policy):
    """The local model answers."""

    mode: ClassVar[str] = LOCAL


@dataclass(frozen=True)
class Azure(Policy):
    """The endpoint answers, or it is an error."""

    mode: ClassVar[str] = AZURE


@dataclass(frozen=True)
class AzureFirst(Policy):
    """The endpoint answers, or the local model where the endpoint is unavailable.

    The endpoint is asked once, without retries. A refusal, a wrong key and an answer that does not
    fit are errors: nobody would notice them otherwise.

    Attributes
    ----------
    patience : float
        Share of the call's time that the endpoint gets; the rest is for the local model.
    """

    mode: ClassVar[str] = "azure_first"
    patience: float = 0.8

    def __post_init__(self) -> None:
        self._set(patience=check_rate("patience", self.patience, zero=False))


@dataclass(frozen=True)
class LocalFirst(Policy):
    """The local model answers, or the endpoint where the local model cannot be loaded or fails.

    Data that does not fit the local model is an error: it does not fit the other model either.
    """

    mode: ClassVar[str] = "local_first"


@dataclass(frozen=True)
class Cascade(Policy):
    """The local model answers all rows; those that it is not sure of go to the endpoint.

    Attributes
    ----------
    threshold : float
        Rows with a lower score, or with none, are escalated to the endpoint.
    score : Score
        How sure the local model is; also given by name (``"margin"``, ``"uncertainty:std"``) or as
        a function of the outputs.
    max_escalation : float or None
        Largest share of all rows that is escalated, those of the lowest scores in a call first.
        What a call leaves unused is added to what the next calls may escalate, up to 16 rows. In a
        job over files it is a share of all its rows.
    on_unavailable : str
        ``"keep"`` the local answer where the endpoint is unavailable, with the error as reason; or
        ``"raise"``. A job over files stops, and can be resumed.
    audit_rate : float
        Share of the kept rows that are sent as well, to check whether the threshold is still right.
        Their local answer is returned. A job over files audits none.
    calibration : Calibration or None
        Has the threshold and the score, where these are not given.

    Raises
    ------
    ConfigurationError
        If a value cannot work, or threshold and score are not those of the calibration.
    """

    mode: ClassVar[str] = "cascade"
    threshold: float | None = None
    score: Any = None
    max_escalation: float | None = None
    on_unavailable: str = "keep"
    audit_rate: float = 0.0
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        found = self.calibration
        threshold, score = self._given() if found is None else self._agreed(found)
        if self.on_unavailable not in ("keep", "raise"):
            raise ConfigurationError(
                f"on_unavailable is 'keep' or 'raise', not {self.on_unavailable!r}"
            )
        rate = check_rate("audit_rate", self.audit_rate)
        self._set(threshold=threshold, score=score, audit_rate=rate)
        if self.max_escalation is not None:
            self._set(max_escalation=check_rate("max_escalation", self.max_escalation))

    def _given(self) -> tuple[float, Score]:
        """Return threshold and score of a cascade without a calibration."""
        from hybridmodel.cascade.scores import as_score

        if self.threshold is None:
            raise ConfigurationError(
                "a cascade needs a threshold, or a calibration, which has one: "
                "Cascade(threshold=0.3, score='margin') or Cascade(calibration=calibrate(...))"
            )
        score = as_score(self.score or "margin")
        return score.check_threshold(self.threshold), score

    def _agreed(self, found: Calibration) -> tuple[float, Score]:
        """Return those of the calibration; arguments must not differ from it."""
        from hybridmodel.cascade.scores import as_score

        score = as_score(self.score or found.score)
        if score.output is None and score.kind == found.score.kind:
            score = found.score
        given = found.threshold if self.threshold is None else self.threshold
        threshold = score.check_threshold(given)
        if (threshold, score) != (found.threshold, found.score):
            raise ConfigurationError(
                f"the calibration is for the threshold {found.threshold:g} on {found.score}, not "
                f"for {threshold:g} on {score}; pass either the calibration or these two"
            )
        return threshold, score

    @cached_property
    def limit(self) -> float:
        """The threshold as a number."""
        return float("inf") if self.threshold is None else self.threshold

    def to_dict(self) -> dict[str, Any]:
        """Return what `policy_from_dict` takes; raises for a score that is a function."""
        return super().to_dict() | {
            # JSON has no infinities.
            "threshold": str(self.threshold),
            "score": self.score.to_store(),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
        }


@dataclass(frozen=True)
class Shadow(Policy):
    """One route answers; the other is asked the same in the background, and compared.

    Attributes
    ----------
    answer : str
        ``"local"`` or ``"azure"``: the route that answers.
    share : float
        Share of calls that are compared.
    max_pending : int
        Most calls that may wait for comparison; further calls are not compared.
    """

    mode: ClassVar[str] = "shadow"
    answer: str = LOCAL
    share: float = 1.0
    max_pending: int = 32

    def __post_init__(self) -> None:
        if self.answer not in (LOCAL, AZURE):
            raise ConfigurationError(f"answer is {LOCAL!r} or {AZURE!r}, not {self.answer!r}")
        self._set(share=check_rate("share", self.share))
        check_count("max_pending", self.max_pending, 1, 10_000)


@dataclass(frozen=True)
class Split(Policy):
    """The endpoint answers a share of calls or rows: the same ones each time.

    Attributes
    ----------
    share : float
        Share of calls or rows that the endpoint answers.
    by : str
        What is hashed: ``"call"`` the data of the whole call, ``"row"`` the data of each row,
        ``"index"`` the label of each row in a DataFrame, such as a customer number.
    salt : str
        Another salt selects other calls or rows.
    """

    mode: ClassVar[str] = "split"
    share: float = 0.5
    by: str = "call"
    salt: str = ""

    def __post_init__(self) -> None:
        self._set(share=check_rate("share", self.share))
        if self.by not in ("call", "row", "index"):
            raise ConfigurationError(f"by is 'call', 'row' or 'index', not {self.by!r}")
        if not isinstance(self.salt, str):
            raise ConfigurationError(f"salt is a str, not a {type(self.salt).__name__}")


@dataclass(frozen=True)
class Hedge(Policy):
    """The endpoint answers, or the local model where the endpoint is slow or unavailable.

    Attributes
    ----------
    delay_s : float
        How long to wait for the endpoint, in seconds, before the local model runs.
    """

    mode: ClassVar[str] = "hedge"
    delay_s: float = 0.1

    def __post_init__(self) -> None:
        self._set(delay_s=check_seconds("delay_s", self.delay_s))


POLICIES: Mapping[str, type[Policy]] = {
    kind.mode: kind
    for kind in (Local, Azure, AzureFirst, LocalFirst, Cascade, Budget, Shadow, Split, Hedge)
}
"""Every policy by its mode."""


def as_policy(value: Any, configured: Policy | None = None, where: str = "mode") -> Any:
    """Return the policy that a caller names: a policy, a function as it is, or the name of a mode.

    The name of a mode means the configured policy of that mode, or one with default settings. A
    `ConfigurationError` begins with `where`.
    """
    if isinstance(value, Policy) or (callable(value) and not isinstance(value, type)):
        return value
    if not isinstance(value, str) or value not in POLICIES:
        shown = repr(value) if isinstance(value, str) and len(value) < 40 else type(value).__name__
        raise ConfigurationError(
            f"{where} is one of {', '.join(POLICIES)}, or a policy; not {shown}"
        )
    if configured is not None and configured.mode == value:
        return configured
    return POLICIES[value]()


def policy_from_dict(stored: Mapping[str, Any]) -> Policy:
    """Read what `Policy.to_dict` wrote; unknown settings, of a later minor version, are ignored."""
    try:
        kind = POLICIES[stored["mode"]]
        given = {item.name: stored[item.name] for item in fields(kind) if item.name in stored}
        if kind is Budget:
            return Budget.read(given)
        return kind(**(_read_cascade(given) if kind is Cascade else given))
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"not a stored routing policy: {error!r}") from error


def _read_cascade(stored: dict[str, Any]) -> dict[str, Any]:
    from hybridmodel.cascade.calibration import Calibration
    from hybridmodel.cascade.scores import Score

    found = stored.get("calibration")
    return stored | {
        "threshold": float(stored["threshold"]),
        "score": read_at("score", Score.from_dict, stored["score"]),
        "calibration": read_at("calibration", nullable(Calibration.from_dict), found),
    }
