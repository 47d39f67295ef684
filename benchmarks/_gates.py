"""What a gate that sees the inputs saves, and whether its promise is kept.

As `hybridmodel.calibrating.train_gate` does it: half of each sample trains the gate, the other half
finds its threshold, the plain score has all rows, both with half of delta; the one is kept that
escalates fewer of the rows that the gate did not learn from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from _measure import Aim
from _populations import Rows, deep_tree, label_noise
from _promises import DELTA, SIGNIFICANT, Whole, harm_of, seeded

from hybridmodel.cascade import escalated
from hybridmodel.cascade.bounds import tail
from hybridmodel.cascade.gate_models import BOOSTING, trained
from hybridmodel.cascade.promises import Promise
from hybridmodel.cascade.promises_words import LOSS

Array = np.ndarray[Any, Any]

ROWS, DRAWS, EPSILON = 30_000, 300, 0.02
SAMPLE = 5_000
GATED = {"label noise": label_noise, "deep tree": deep_tree}


@dataclass(frozen=True)
class Gates:
    """What became of many gates of one population.

    Attributes
    ----------
    broken, kept : int
        Of `draws`: promises broken, whichever score was kept; gates that were kept.
    plain, gated, oracle : float
        True share escalated by the plain score with all of delta, and by what was kept, in the
        mean; and by who knows the population, with the plain score.
    """

    population: str
    rows: int
    draws: int
    broken: int
    kept: int
    plain: float
    gated: float
    oracle: float

    @property
    def p_value(self) -> float:
        """The chance that as many promises are broken if delta is the chance of each."""
        return 1 - tail(self.broken - 1, self.draws, DELTA)


def gate_study(quick: bool) -> Iterator[Gates]:
    """Train many gates on each population."""
    from threadpoolctl import threadpool_limits

    for name, make in GATED.items():
        rows = make(ROWS, np.random.default_rng(len(name)))
        # Small trees in many threads are slower than in one, where a machine does other things.
        with threadpool_limits(1):
            yield _of_population(name, rows, DRAWS // 10 if quick else DRAWS)


def _of_population(name: str, rows: Rows, draws: int) -> Gates:
    harm = harm_of(LOSS, rows)
    whole, random = Whole(rows, harm), seeded(name, "gate")
    broken = kept = 0
    plain = gated = 0.0
    for draw in range(draws):
        picked = random.integers(len(rows), size=SAMPLE)
        scores, threshold = _kept(rows, harm, picked, draw)
        if scores is None:
            scores = rows.scores
        else:
            kept += 1
        gone = escalated(scores, threshold)
        broken += bool(harm[~gone].sum() / len(rows) > EPSILON + 1e-12)
        gated += float(gone.mean()) / draws
        usual = Promise(epsilon=EPSILON, delta=DELTA).threshold(rows.scores[picked], harm[picked])
        plain += float(escalated(rows.scores, usual).mean()) / draws
    return Gates(name, SAMPLE, draws, broken, kept, plain, gated, whole.oracle(EPSILON))


def _kept(rows: Rows, harm: Array, picked: Array, seed: int) -> tuple[Array | None, float]:
    """Return the gate's scores of the population, None for the plain score, and the threshold."""
    promise = Promise(epsilon=EPSILON, delta=DELTA / 2)
    learned, held = picked[: SAMPLE // 2], picked[SAMPLE // 2 :]
    features: Any = rows.features
    gate = trained(BOOSTING, features[learned], harm[learned] > 0, seed)
    sure = -gate.predict_proba(features[held])[:, 1]
    plain = promise.threshold(rows.scores[picked], harm[picked])
    other = promise.threshold(sure, harm[held])
    if escalated(sure, other).mean() >= escalated(rows.scores[held], plain).mean():
        return None, plain
    return -gate.predict_proba(features)[:, 1], other


def gates_table(outcomes: Sequence[Gates]) -> tuple[list[str], list[list[str]]]:
    """Lay out the study."""
    head = [
        "population",
        "n",
        "draws",
        "gates kept",
        "broken",
        "p",
        "plain score",
        "kept",
        "oracle",
    ]
    rows = [
        [
            item.population,
            f"{item.rows}",
            f"{item.draws}",
            f"{item.kept / item.draws:.2f}",
            f"{item.broken / item.draws:.3f}",
            f"{item.p_value:.3f}",
            f"{item.plain:.3f}",
            f"{item.gated:.3f}",
            f"{item.oracle:.3f}",
        ]
        for item in outcomes
    ]
    return head, rows


def gates_aims(outcomes: Sequence[Gates]) -> Iterator[Aim]:
    """Hold broken promises against delta, and what is escalated against the plain score."""
    for item in outcomes:
        yield Aim(
            f"gate, {item.population}: broken in {DELTA:.0%} of {item.draws} at most, and less "
            "escalated than with the plain score",
            f"{item.broken / item.draws:.1%}, {item.plain:.3f} to {item.gated:.3f}",
            item.p_value >= SIGNIFICANT and item.gated < item.plain,
        )
