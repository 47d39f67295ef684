"""`Budget`: so many rows for the endpoint, those of which the local model is least sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hybridmodel.checks import check_count, check_rate, check_tolerance
from hybridmodel.data.json_records import read_at
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.routing.policy import Policy

if TYPE_CHECKING:
    from fractions import Fraction

    from hybridmodel.cascade.calibration import Calibration

_MOST_ROWS = (1 << 63) - 1

_LIMITS = "Budget(share=0.05), Budget(rows=1000) or Budget(cost=20.0, cost_per_row=0.001)"


@dataclass(frozen=True)
class Budget(Policy):
    """The local model answers all rows; the endpoint answers as many as the budget allows.

    These are exactly those of the lowest scores, the earlier of rows with the same score (as
    float32, which is how files keep it), and first of all those without a score. They go to the
    endpoint in as few requests as it takes. A budget is met to the row, whatever the data are like;
    a threshold (`Cascade`) is not. Exactly one of `share`, `rows` and `cost` is given.

    Attributes
    ----------
    share : float or None
        Of the rows of a call, or of a job over files, from 0 to 1. Fractions of rows that remain
        are added to those of the next calls.
    rows : int or None
        The number of rows of each call, or of a whole job over files.
    cost : float or None
        The most that a call, or a whole job over files, may cost.
    cost_per_call, cost_per_row : float
        What a request costs, and what a row in it does, in the unit of `cost`. Requests count as
        the rows are packed; those that are sent again after a failure are in the statistics only.
    score : Score
        How sure the local model is, as `Cascade` takes it; default is ``"margin"``.
    on_unavailable : str
        ``"keep"`` the local answer where the endpoint is unavailable, with the error as reason; or
        ``"raise"``. A job over files stops, and can be resumed.
    audit_rate : float
        Share of the rows allowed that are drawn from all the others instead, and sent only to
        estimate how often the two models differ on rows that are kept. A job over files audits
        none.

    Raises
    ------
    ConfigurationError
        If a value cannot work, or not exactly one limit is given.
    """

    mode: ClassVar[str] = "budget"
    calibration: ClassVar[Calibration | None] = None
    share: float | None = None
    rows: int | None = None
    cost: float | None = None
    cost_per_call: float = 0.0
    cost_per_row: float = 0.0
    score: Any = None
    on_unavailable: str = "keep"
    audit_rate: float = 0.0

    def __post_init__(self) -> None:
        from hybridmodel.cascade.scores import as_score

        if sum(limit is not None for limit in (self.share, self.rows, self.cost)) != 1:
            raise ConfigurationError(f"a budget has exactly one limit: {_LIMITS}")
        if self.on_unavailable not in ("keep", "raise"):
            raise ConfigurationError(
                f"on_unavailable is 'keep' or 'raise', not {self.on_unavailable!r}"
            )
        self._check_limit()
        self._set(score=as_score(self.score or "margin"))
        self._set(audit_rate=check_rate("audit_rate", self.audit_rate))

    def most_rows(
        self, rows: int, request_rows: int | None = None, left_over: Fraction | int = 0
    ) -> tuple[int, Fraction | int]:
        """Return how many rows may go to the endpoint.

        Decimal fractions count as they are written: 0.29 of 100 rows are 29, as floats 28.

        Parameters
        ----------
        rows : int
            Of the call or job.
        request_rows : int, optional
            Rows that a request takes, where a cost depends on that; default is all of them.
        left_over : Fraction or int, optional
            Of a row, from earlier calls, where the limit is a share.

        Returns
        -------
        allowed : int
            At most `rows`.
        left_over : Fraction or int
            Of a row, for the next call.
        """
        if self.share is not None:
            allowed = _exactly(self.share) * rows + left_over
            return min(int(allowed), rows), allowed % 1
        if self.rows is not None:
            return min(self.rows, rows), left_over
        return self._affordable(rows, request_rows or rows), left_over

    @property
    def counts_requests(self) -> bool:
        """Whether the number of rows depends on how many a request takes."""
        return self.cost is not None and self.cost_per_call > 0

    def to_dict(self) -> dict[str, Any]:
        """Return what `policy_from_dict` takes; raises for a score that is a function."""
        return super().to_dict() | {"score": self.score.to_store()}

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Budget:
        """Read the settings that `to_dict` wrote; raises as `policy_from_dict` does."""
        from hybridmodel.cascade.scores import Score

        return cls(**{**stored, "score": read_at("score", Score.from_dict, stored["score"])})

    def _check_limit(self) -> None:
        call = check_tolerance("cost_per_call", self.cost_per_call)
        row = check_tolerance("cost_per_row", self.cost_per_row)
        self._set(cost_per_call=call, cost_per_row=row)
        if self.share is not None:
            self._set(share=check_rate("share", self.share))
        if self.rows is not None:
            check_count("rows", self.rows, 0, _MOST_ROWS)
        if self.cost is not None:
            self._set(cost=check_tolerance("cost", self.cost))
        if (self.cost is not None) != (call + row > 0):
            raise ConfigurationError(
                "cost goes with what a request or a row costs, and the other way round: "
                "Budget(cost=20.0, cost_per_call=0.01, cost_per_row=0.001)"
            )

    def _affordable(self, rows: int, request_rows: int) -> int:
        """Return how many rows the cost allows in full requests, and in one more."""
        size = max(1, min(rows, request_rows))
        cost, call, row = map(_exactly, (self.cost or 0, self.cost_per_call, self.cost_per_row))
        requests, rest = divmod(cost, call + row * size)
        further = int((rest - call) / row) if rest >= call and row else 0
        return min(int(requests) * size + further, rows)


def _exactly(number: float) -> Fraction:
    """Return a float as the decimal fraction that it is written as."""
    from fractions import Fraction  # 2 ms that `import hybridmodel` does without.

    return Fraction(str(number))
