"""The states of a job, and what is shown of it."""

from __future__ import annotations

from dataclasses import dataclass

COMPLETED = ("completed", "succeeded", "finished")
FAILED = ("failed", "canceled", "cancelled")
"""States that end a job, in lower case; all others go on: Azure has a dozen, and may have more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job at one moment.

    Attributes
    ----------
    name : str
        The job's name.
    state : str
        The endpoint's word, such as ``Queued``, ``Running``, ``Completed`` or ``Failed``.
    error : str, optional
        Why it failed, if the endpoint says so.
    output_uri : str, optional
        Where its results are, as far as the endpoint says.
    link : str, optional
        A page about it.
    """

    name: str
    state: str
    error: str | None = None
    output_uri: str | None = None
    link: str | None = None

    @property
    def is_completed(self) -> bool:
        """Whether all its results are there."""
        return self.state.lower() in COMPLETED

    @property
    def is_over(self) -> bool:
        """Whether nothing changes any more."""
        return self.is_completed or self.state.lower() in FAILED

    def __str__(self) -> str:
        return f"{self.name}: {self.state}" + (f" ({self.error})" if self.error else "")
