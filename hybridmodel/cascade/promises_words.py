"""The kinds of promises, and what they say in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hybridmodel.cascade.promises_groups import Group

LOSS, ACCURACY, MEAN_LOSS, ESCALATION = "loss", "accuracy", "mean_loss", "escalation"
KINDS = (LOSS, ACCURACY, MEAN_LOSS, ESCALATION)

_MOST_SHOWN = 10


def promised(kind: str, epsilon: float, loss: str, groups: int = 0) -> str:
    """Return a promise as a clause, such as "at most 1.00% of all rows are kept at a loss"."""
    rows = f"the rows of each of {groups} groups" if groups else "all rows"
    said = {
        LOSS: f"at most {epsilon:.2%} of {rows} are kept at a loss ({loss})",
        ACCURACY: f"at most {epsilon:.2%} of {rows} are right less often than with the big model",
        MEAN_LOSS: f"at most {epsilon:.4g} is lost in the mean over {rows} ({loss})",
        ESCALATION: f"at most {epsilon:.2%} of {rows} go to the endpoint",
    }
    return said[kind]


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
