"""The kinds of promises, and what they say in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    from hybridmodel.cascade.calibration import Calibration
    from hybridmodel.cascade.promises_groups import Group

LOSS, ACCURACY, MEAN_LOSS, ESCALATION = "loss", "accuracy", "mean_loss", "escalation"
KINDS = (LOSS, ACCURACY, MEAN_LOSS, ESCALATION)

_MOST_SHOWN = 10


def check_kind(kind: str) -> str:
    """Return a kind of promise; raise `ConfigurationError` for anything else."""
    if kind not in KINDS:
        raise ConfigurationError(
            f"promise is one of {', '.join(map(repr, KINDS))}, not {shown(kind)}"
        )
    return kind


def promised(found: Calibration) -> str:
    """Return a promise as a clause, such as "at most 1.00% of all rows are kept at a loss"."""
    epsilon, loss, groups = found.epsilon, found.loss, len(found.groups)
    rows = f"the rows of each of {groups} groups" if groups else "all rows"
    said = {
        LOSS: f"at most {epsilon:.2%} of {rows} are kept at a loss ({loss})",
        ACCURACY: f"the big model is right for at most {epsilon:.2%} more of {rows} than both are",
        MEAN_LOSS: f"at most {epsilon:.4g} is lost in the mean over {rows} ({loss})",
        ESCALATION: f"at most {epsilon:.2%} of {rows} go to the endpoint",
    }
    return said[found.promise]


def told_of_groups(groups: Sequence[Group], rows: int, escalation: float) -> Iterator[str]:
    """Say what each group needs, and what one threshold for all of them costs."""
    if not groups:
        return
    own = sum(group.rows * group.escalation for group in groups) / rows
    yield (
        f"groups: one threshold for each would escalate {own:.1%} of the rows, this one for all "
        f"escalates {escalation:.1%}"
    )
    for group in groups[:_MOST_SHOWN]:
        yield (
            f"  {group.name} ({group.rows:,} rows): threshold {group.threshold:.6g} of its own, "
            f"which escalates {group.escalation:.1%}"
        )
    if len(groups) > _MOST_SHOWN:
        yield f"  … {len(groups) - _MOST_SHOWN} more"
