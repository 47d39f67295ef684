"""What a report shows, as plain records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hybridmodel.cascade.calibration import Accuracy
from hybridmodel.cascade.thresholds import Curve
from hybridmodel.compare.comparison import ComparisonSummary


@dataclass(frozen=True, kw_only=True)
class ClassRight:
    """How often both sides are right about the rows of one label.

    Attributes
    ----------
    label : Any
    rows, agreed, local, azure : int
        Of this label; on which both agree; that each gets right.
    """

    label: Any
    rows: int
    agreed: int
    local: int
    azure: int


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What labels tell about classes, or about numbers with a tolerance.

    Attributes
    ----------
    both, only_local, only_azure, neither : int
        Rows by which side is right.
    classes : tuple of ClassRight
        Empty for numbers.
    """

    both: int
    only_local: int
    only_azure: int
    neither: int
    classes: tuple[ClassRight, ...] = ()

    @property
    def rows(self) -> int:
        """All of them."""
        return self.both + self.only_local + self.only_azure + self.neither

    @property
    def local(self) -> float:
        """Share that the local model gets right."""
        return (self.both + self.only_local) / self.rows

    @property
    def azure(self) -> float:
        """Share that the endpoint gets right."""
        return (self.both + self.only_azure) / self.rows


@dataclass(frozen=True, kw_only=True)
class Errors:
    """How far the numbers of one side are from the labels.

    Attributes
    ----------
    mean_abs, root_mean_square : float
    """

    mean_abs: float
    root_mean_square: float


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Both sides' numbers.

    Attributes
    ----------
    output : str
        Where they are from.
    pairs : tuple of (float, float)
        Local and endpoint's number of some rows, evenly spaced over all.
    edges : tuple of float
        Of the bins for endpoint minus local, one more than `counts`.
    counts : tuple of int
        Rows in each bin.
    skipped : int
        Rows in which one of them is no finite number.
    local_errors, azure_errors : Errors or None
        Where there are labels.
    """

    output: str
    pairs: tuple[tuple[float, float], ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    skipped: int = 0
    local_errors: Errors | None = None
    azure_errors: Errors | None = None


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class Escalation:
    """What each share of escalated rows would cost.

    Attributes
    ----------
    score : str
        By which rows are put in order.
    loss : str
        What counts as a loss.
    curve : Curve
    delta : float
        Each of its bounds may be wrong that often.
    chosen : Chosen or None
        Where the model has a threshold for this score.
    """

    score: str
    loss: str
    curve: Curve
    delta: float
    chosen: Chosen | None = None


@dataclass(frozen=True, kw_only=True)
class Durations:
    """How long calls took, in seconds, in the order they were made.

    Attributes
    ----------
    local_s, azure_s : tuple of float
        Calls of one row each, or if there are none, the calls for all rows.
    of_one_row : bool
    local_rows_per_s, azure_rows_per_s : float
        Over all rows, in the batches that were sent.
    batch_rows : int
        Rows of the largest of them.
    """

    local_s: tuple[float, ...]
    azure_s: tuple[float, ...]
    of_one_row: bool
    local_rows_per_s: float
    azure_rows_per_s: float
    batch_rows: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row on which the sides disagree, in JSON's types.

    Attributes
    ----------
    position : int
        Counted from 0.
    local, azure : Any
        Both answers.
    score : float or None
        How sure the local model was.
    label : Any
        The right answer; None where nothing tells.
    inputs : dict of str to Any
        What was asked.
    """

    position: int
    local: Any
    azure: Any
    score: float | None
    label: Any
    inputs: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that a report shows.

    Attributes
    ----------
    title : str
        The model.
    facts : tuple of (str, str)
        What was asked, and with what; names and values.
    summary : ComparisonSummary
    durations : Durations
    labelled : Labelled or None
    numbers : Numbers or None
    escalation : Escalation or None
    why_no_curve : str
        Why there is no `escalation`.
    rows : tuple of Row
        Some of those on which the sides disagree.
    rows_order : str
        In which order they come.
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
