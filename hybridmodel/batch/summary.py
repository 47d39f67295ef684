"""`Summary`: the result of a job; `Counts`: who answered how many rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Who answered some rows: ``rows == local + remote + errors``, without `resent`."""

    rows: int = 0
    local: int = 0
    remote: int = 0
    errors: int = 0
    resent: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Return the sum of both."""
        return Counts(
            **{item.name: getattr(self, item.name) + getattr(other, item.name) for item in _FIELDS}
        )

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


_FIELDS = fields(Counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The result of a job.

    Attributes
    ----------
    rows : int
        Of all inputs.
    local, remote, errors : int
        Rows that the local model answered, that the endpoint answered, and that are bad; together
        `rows`.
    resent : int
        Rows that were sent to the endpoint more than once, after a kill or a retry.
    parts : int
        Parts of the job.
    resumed : int
        Parts that an earlier run had finished.
    elapsed_s : float
        Seconds of this run.
    output : str
        The file or folder that was written.
    bad_rows : str or None
        The file with the bad rows, if there are any.
    """

    rows: int
    local: int
    remote: int
    errors: int = 0
    resent: int = 0
    parts: int = 0
    resumed: int = 0
    elapsed_s: float = 0.0
    output: str = ""
    bad_rows: str | None = None

    @property
    def rows_per_s(self) -> float:
        """Rows per second of this run."""
        return self.rows / self.elapsed_s if self.elapsed_s else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, in JSON's types."""
        return asdict(self)
