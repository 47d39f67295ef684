"""Records of what a report shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hybridmodel.cascade.thresholds import Accuracy, Curve
from hybridmodel.compare.comparison import ComparisonSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRight:
    """How often both routes are right about the rows of one label.

    Attributes
    ----------
    label : Any
    rows, agreed, local, remote : int
        All rows of this label; those on which both agree; those that each gets right.
    """

    label: Any
    rows: int
    agreed: int
    local: int
    remote: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Which routes are right about classes, or about numbers within a tolerance.

    Attributes
    ----------
    both, only_local, only_remote, neither : int
        Rows by which route is right.
    classes : tuple of ClassRight
        Empty for numbers.
    """

    both: int
    only_local: int
    only_remote: int
    neither: int
    classes: tuple[ClassRight, ...] = ()

    @property
    def rows(self) -> int:
        """All labelled rows."""
        return self.both + self.only_local + self.only_remote + self.neither

    @property
    def local(self) -> float:
        """Share that the local model gets right."""
        return (self.both + self.only_local) / self.rows

    @property
    def remote(self) -> float:
        """Share that the endpoint gets right."""
        return (self.both + self.only_remote) / self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Errors of the numbers of one route against the labels.

    Attributes
    ----------
    mean_abs, root_mean_square : float
    """

    mean_abs: float
    root_mean_square: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The numbers of both routes.

    Attributes
    ----------
    output : str
        The output's name.
    pairs : tuple of (float, float)
        Local and remote numbers of some rows, evenly spaced over all.
    edges : tuple of float
        Of the bins for remote minus local, one more than `counts`.
    counts : tuple of int
        Rows in each bin.
    skipped : int
        Rows with a number that is not finite.
    local_errors, remote_errors : Errors or None
        Where there are labels.
    """

    output: str
    pairs: tuple[tuple[float, float], ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    skipped: int = 0
    local_errors: Errors | None = None
    remote_errors: Errors | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the model's own threshold does to the rows.

    Attributes
    ----------
    threshold, escalation, risk : float
    accuracy : Accuracy or None
        Where there are labels.
    epsilon : float or None
        The risk that its calibration promised not to exceed.
    """

    threshold: float
    escalation: float
    risk: float
    accuracy: Accuracy | None = None
    epsilon: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """What each share of escalated rows would cost.

    Attributes
    ----------
    score : str
        The score that orders the rows.
    loss : str
        What counts as a loss.
    curve : Curve
    delta : float
        How often each of its bounds may be wrong.
    chosen : Chosen or None
        Where the model has a threshold for this score.
    """

    score: str
    loss: str
    curve: Curve
    delta: float
    chosen: Chosen | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long calls took, in seconds, in the order they were made.

    Attributes
    ----------
    local_s, remote_s : tuple of float
        Calls of one row each, or if there are none, the calls for all rows.
    of_one_row : bool
    local_rows_per_s, remote_rows_per_s : float
        Over all rows, in the batches that were sent.
    batch_rows : int
        Rows of the largest of them.
    """

    local_s: tuple[float, ...]
    remote_s: tuple[float, ...]
    of_one_row: bool
    local_rows_per_s: float
    remote_rows_per_s: float
    batch_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row on which the routes disagree, in JSON's types.

    Attributes
    ----------
    position : int
        Counted from 0.
    local, remote : Any
        Both answers.
    score : float or None
        Of the local model's answer.
    label : Any
        The right answer; None if unknown.
    inputs : dict of str to Any
        The row's input.
    """

    position: int
    local: Any
    remote: Any
    score: float | None
    label: Any
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A section of a sentence and a table.

    Attributes
    ----------
    name, title, lead : str
        Its address within the page, its title, and the sentence.
    head : tuple of str
        Names of the columns.
    rows : tuple of tuple of str
        The first cell of each names the row.
    """

    name: str
    title: str
    lead: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that a report shows.

    Attributes
    ----------
    title : str
        The model.
    facts : tuple of (str, str)
        Names and values that say what was compared.
    summary : ComparisonSummary
    durations : Durations
    labelled : Labelled or None
    numbers : Numbers or None
    escalation : Escalation or None
    why_no_curve : str
        Why `escalation` is None.
    rows : tuple of Row
        Some of those on which the routes disagree.
    rows_order : str
        Their order, in words.
    extras : tuple of Extra
        Further sections.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    summary: ComparisonSummary
    durations: Durations
    labelled: Labelled | None = None
    numbers: Numbers | None = None
    escalation: Escalation | None = None
    why_no_curve: str = ""
    rows: tuple[Row, ...] = field(default=(), repr=False)
    rows_order: str = ""
    extras: tuple[Extra, ...] = ()
