"""What a policy means for both sides, in words that complete "this side …"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hybridmodel.switch import AZURE, LOCAL

EVERY, NONE = "answers every row", "is not asked"

_UNAVAILABLE = "where the endpoint is unavailable"


def duties(policy: Any) -> tuple[str, str]:
    """Return which rows the local model and the endpoint answer under a policy or a function."""
    tell = _DUTIES.get(getattr(policy, "mode", ""))
    if tell is None:
        return "answers where the function says so", "answers where the function says so"
    return tell(policy)


def _cascade(policy: Any) -> tuple[str, str]:
    most = policy.max_escalation
    limit = "" if most is None else f", at most {most:.1%} of the rows"
    score, threshold = policy.score, f"{policy.threshold:.6g}"
    return (
        f"answers rows it is sure of: {score} from {threshold} up",
        f"answers the other rows{limit}",
    )


def _budget(policy: Any) -> tuple[str, str]:
    if policy.share is not None:
        limit = f"{policy.share:.1%} of the rows"
    elif policy.rows is not None:
        limit = f"{policy.rows:,} rows"
    else:
        limit = f"rows for at most {policy.cost:g}"
    return f"answers the other rows, the surest by {policy.score}", f"answers {limit}, least sure"


def _shadow(policy: Any) -> tuple[str, str]:
    asked = f"is compared in {policy.share:.1%} of the calls, in the background"
    return (EVERY, asked) if policy.answer == LOCAL else (asked, EVERY)


def _split(policy: Any) -> tuple[str, str]:
    what = "calls" if policy.by == "call" else "rows"
    return f"answers the other {what}", f"answers {policy.share:.1%} of the {what}"


_DUTIES: Mapping[str, Callable[[Any], tuple[str, str]]] = {
    LOCAL: lambda _: (EVERY, NONE),
    AZURE: lambda _: (NONE, EVERY),
    "azure_first": lambda _: (f"answers {_UNAVAILABLE}", EVERY),
    "local_first": lambda _: (EVERY, "answers where the local model does not work"),
    "cascade": _cascade,
    "budget": _budget,
    "shadow": _shadow,
    "split": _split,
    "hedge": lambda policy: (
        f"answers where the endpoint takes longer than {policy.delay_s:g} s or is unavailable",
        EVERY,
    ),
}


def promise_of(policy: Any) -> str | None:
    """Return what a policy promises, None where it promises nothing."""
    from hybridmodel.cascade.promises_words import promised

    found = getattr(policy, "calibration", None)
    if found is None:
        return None
    return f"with {1 - found.delta:.0%} confidence {promised(found)}"
