"""The tables of ``cascade.py``."""

from __future__ import annotations

from _overhead import Cost, Outage
from _studies import SHARES, Gains, Outcome, Population

Rows = tuple[list[str], list[list[str]]]


def gains_table(gained: list[Gains]) -> Rows:
    """Lay out study 1."""
    head = ["data", "small", *(f"{share:.0%}" for share in SHARES), "big", "epsilon"]
    head += ["escalated", "right", "at a loss"]
    rows = [
        [
            item.task.name,
            f"{item.small:.4f}",
            *(f"{item.at[share]:.4f}" for share in SHARES),
            f"{item.big:.4f}",
            f"{item.task.epsilon:g}",
            *(f"{item.promised[key]:.4f}" for key in ("escalation", "accuracy", "risk")),
        ]
        for item in gained
    ]
    return head, rows


def promise_table(outcomes: list[Outcome]) -> Rows:
    """Lay out study 2."""
    head = ["epsilon", "n", "broken", "95 %", "exact", "escalated", "oracle", "more"]
    head += ["in its interval", "naive broken", "naive escalated"]
    rows = [
        [
            f"{item.epsilon:g}",
            f"{item.rows}",
            f"{item.broken / item.draws:.3f}",
            "{:.3f} to {:.3f}".format(*item.broken_interval),
            f"{item.exact:.3f}",
            f"{item.escalation:.3f}",
            f"{item.oracle:.3f}",
            f"{item.escalation - item.oracle:+.3f}",
            f"{item.covered:.3f}",
            f"{item.naive_broken:.3f}",
            f"{item.naive_escalation:.3f}",
        ]
        for item in outcomes
    ]
    return head, rows


def overhead_table(measured: list[Cost]) -> Rows:
    """Lay out study 5."""
    head = ["local model", "local ms", "cascade ms", "added µs", "ratio", "middle half"]
    head += ["apart ms", "cascade ms", "ratio", "middle half"]
    rows = []
    for item in measured:
        ms, ratios = item.medians_ms(), item.ratios()
        row = [item.small]
        for base, name in (("local", "kept"), ("apart", "escalated")):
            middle, low, high = ratios[name]
            added = [f"{item.added_us:+.0f}"] if name == "kept" else []
            row += [f"{ms[base]:.2f}", f"{ms[name]:.2f}", *added, f"{middle:.2f}"]
            row += [f"{low:.2f} to {high:.2f}"]
        rows.append(row)
    return head, rows


def outage_table(happened: list[Outage]) -> Rows:
    """Lay out study 6."""
    head = ["server", "mode", "rows there", "rows here", "lost", "longest s", "calls that raised"]
    rows = [
        [
            item.how,
            item.mode,
            f"{item.there}",
            f"{item.here}",
            f"{item.lost}",
            f"{item.longest_s:.3f}",
            ", ".join(f"{count} {kind}" for kind, count in item.errors.items()) or "none",
        ]
        for item in happened
    ]
    return head, rows


def described(known: Population) -> str:
    """Say what the population is like."""
    small, big = known.answers.small.mean(), known.answers.big.mean()
    return f"{len(known.answers.scores):,} rows, small {small:.3f}, big {big:.3f}"
