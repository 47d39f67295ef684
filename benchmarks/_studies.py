"""What a cascade gains, and whether its promise holds: studies on data that needs no download.

Both use the package's own scores and threshold search on the outputs of scikit-learn's models.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hybridmodel.cascade import Score, escalated, find_threshold
from hybridmodel.cascade.bounds import interval, most_failures, tail
from hybridmodel.cascade.thresholds import threshold_allowing

Array = np.ndarray[Any, Any]

SHARES = (0.05, 0.10, 0.20, 0.30, 0.50)
DELTA = 0.1


@dataclass(frozen=True)
class Answers:
    """What two models say to the same rows: how sure the small one is, and who is right."""

    scores: Array
    small: Array
    big: Array

    @property
    def losses(self) -> Array:
        """Rows that are kept at a loss."""
        return self.big & ~self.small

    def cascade(self, threshold: float) -> Array:
        """Tell for each row whether the cascade is right."""
        return np.where(escalated(self.scores, threshold), self.big, self.small)

    def __getitem__(self, rows: Any) -> Answers:
        return Answers(self.scores[rows], self.small[rows], self.big[rows])


# Study 1: what is gained ---------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A data set with a small and a big model.

    Attributes
    ----------
    fit : callable
        Takes rows and labels to train on; returns what makes `Answers` to rows and labels.
    epsilon : float
        What to promise.
    """

    name: str
    X: Array
    y: Array
    fit: Callable[[Array, Array], Callable[[Array, Array], Answers]]
    epsilon: float
    classes: bool = True


@dataclass(frozen=True)
class Gains:
    """Shares of test rows that are right, as means over all splits."""

    task: Task
    small: float
    big: float
    at: Mapping[float, float]
    promised: Mapping[str, float]


def tasks() -> list[Task]:
    """Make the data sets, each with its models."""
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine

    digits = load_digits(return_X_y=True)
    cancer, wine = load_breast_cancer(return_X_y=True), load_wine(return_X_y=True)
    few = partial(_fit_classifiers, scaled=True, c_small=1.0)
    return [
        Task("digits", digits[0] / 16, digits[1], _fit_classifiers, 0.02),
        Task("breast cancer", *cancer, partial(few, columns=[0, 1, 4]), 0.05),
        Task("wine", *wine, partial(few, columns=[0, 1]), 0.10),
        Task("regression", *_waves(1_500), _fit_regressors, 0.05, classes=False),
    ]


def gains(task: Task, splits: int) -> Gains:
    """Train, calibrate and test on so many splits of 40, 30 and 30 %."""
    found = [_one_split(task, seed) for seed in range(splits)]
    mean = {key: float(np.mean([item[key] for item in found])) for key in found[0]}
    return Gains(
        task,
        small=mean["small"],
        big=mean["big"],
        at={share: mean[f"at {share}"] for share in SHARES},
        promised={key: mean[key] for key in ("escalation", "accuracy", "risk")},
    )


def _one_split(task: Task, seed: int) -> dict[str, float]:
    train, calibration, test = _split(task, seed)
    answer = task.fit(task.X[train], task.y[train])
    sample = answer(task.X[calibration], task.y[calibration])
    unseen = answer(task.X[test], task.y[test])
    row = {"small": unseen.small.mean(), "big": unseen.big.mean()}
    for share in SHARES:
        threshold = float(np.quantile(sample.scores, share))
        row[f"at {share}"] = unseen.cascade(threshold).mean()
    threshold = find_threshold(sample.scores, sample.losses, epsilon=task.epsilon, delta=DELTA)
    gone = escalated(unseen.scores, threshold)
    return row | {
        "escalation": gone.mean(),
        "accuracy": unseen.cascade(threshold).mean(),
        "risk": (unseen.losses & ~gone).mean(),
    }


def _split(task: Task, seed: int) -> tuple[Array, Array, Array]:
    from sklearn.model_selection import train_test_split

    def classes(rows: Array) -> Array | None:
        return task.y[rows] if task.classes else None

    rows = np.arange(len(task.y))
    train, rest = train_test_split(rows, train_size=0.4, random_state=seed, stratify=classes(rows))
    calibration, test = train_test_split(
        rest, test_size=0.5, random_state=seed, stratify=classes(rest)
    )
    return train, calibration, test


def _fit_classifiers(
    X: Array,
    y: Array,
    *,
    columns: Any = slice(None),
    scaled: bool = False,
    c_small: float = 0.1,
) -> Callable[[Array, Array], Answers]:
    """Fit a logistic regression of some columns, and support vectors of all."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    def pipeline(model: Any) -> Any:
        return make_pipeline(*([StandardScaler()] if scaled else []), model)

    small = pipeline(LogisticRegression(C=c_small, max_iter=1000)).fit(X[:, columns], y)
    big = pipeline(SVC(C=10)).fit(X, y)
    score = Score("margin", "probabilities")

    def answer(rows: Array, labels: Array) -> Answers:
        probabilities = small.predict_proba(rows[:, columns])
        return Answers(
            score.of({"probabilities": probabilities}),
            small.classes_[probabilities.argmax(axis=1)] == labels,
            big.predict(rows) == labels,
        )

    return answer


def _waves(rows: int) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    X = random.normal(size=(rows, 3))
    y = 3 * np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + X[:, 1] + random.normal(0, 0.1, rows)
    return X, y


def _fit_regressors(
    X: Array, y: Array, tolerance: float = 0.5
) -> Callable[[Array, Array], Answers]:
    """Fit a Gaussian process to 100 rows, which says how unsure it is, and support vectors."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    from sklearn.svm import SVR

    kernel = 10 * RBF(1.0) + WhiteKernel(0.1)
    small = GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True)
    small.fit(X[:100], y[:100])
    big = SVR(C=100).fit(X, y)
    score = Score("uncertainty", "std")

    def answer(rows: Array, truth: Array) -> Answers:
        guess, std = small.predict(rows, return_std=True)
        return Answers(
            score.of({"std": std}),
            np.abs(guess - truth) <= tolerance,
            np.abs(big.predict(rows) - truth) <= tolerance,
        )

    return answer


# Study 2: whether the promise holds ----------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of many calibrations of one size and one promise.

    Attributes
    ----------
    broken : int
        Of `draws`, those whose threshold has a true risk above epsilon.
    exact : float
        The probability of that, as the binomial distribution says.
    escalation : float
        True share escalated, as a mean over the draws.
    covered : float
        Share of the draws whose interval for that share holds the truth.
    naive_broken, naive_escalation : float
        The same for the threshold at which the sample's own risk is epsilon.
    oracle : float
        Least share that keeps the promise, for whoever knows the population.
    """

    epsilon: float
    rows: int
    draws: int
    broken: int
    exact: float
    escalation: float
    covered: float
    naive_broken: float
    naive_escalation: float
    oracle: float

    @property
    def broken_interval(self) -> tuple[float, float]:
        """Where the probability of a broken promise lies, with 95 % confidence."""
        return interval(self.broken, self.draws)


class Population:
    """Rows of which everything is known, so that what a threshold does to them is exact."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        order = np.argsort(answers.scores)
        self._scores = answers.scores[order]
        kept_at_loss = np.cumsum(answers.losses[order][::-1])[::-1]
        self._risks = np.append(kept_at_loss, 0) / len(order)

    def escalation(self, threshold: float) -> float:
        """Return the share of rows that a threshold escalates."""
        return self._place(threshold) / len(self._scores)

    def risk(self, threshold: float) -> float:
        """Return the share of rows that it keeps at a loss."""
        return float(self._risks[self._place(threshold)])

    def cheapest(self, epsilon: float) -> float:
        """Return the least share of rows to escalate for a risk of at most `epsilon`."""
        return int(np.argmax(self._risks <= epsilon)) / len(self._scores)

    def lowest_above(self, epsilon: float) -> float:
        """Return the smallest risk above `epsilon` that a threshold can have."""
        return float(self._risks[self._risks > epsilon].min())

    def _place(self, threshold: float) -> int:
        return int(np.searchsorted(self._scores, threshold))


def population(rows: int, training: int = 20_000) -> Population:
    """Train both models on one synthetic sample, and let them answer `rows` others."""
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    X, y = make_classification(
        training + rows,
        n_features=20,
        n_informative=8,
        n_redundant=2,
        n_classes=3,
        class_sep=1.5,
        random_state=0,
    )
    small = LogisticRegression(max_iter=200).fit(X[:training], y[:training])
    big = MLPClassifier((64, 64), max_iter=20, random_state=0)
    _fit_quietly(big, X[:training], y[:training])
    probabilities, truth = small.predict_proba(X[training:]), y[training:]
    return Population(
        Answers(
            Score("margin", "probabilities").of({"probabilities": probabilities}),
            probabilities.argmax(axis=1) == truth,
            big.predict(X[training:]) == truth,
        )
    )


def _fit_quietly(model: Any, X: Array, y: Array) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It could learn longer, and need not.
        model.fit(X, y)


def promise(
    known: Population, epsilons: Sequence[float], sizes: Sequence[int], draws: int
) -> list[Outcome]:
    """Calibrate on many samples of each size; the samples are drawn with replacement."""
    random = np.random.default_rng(0)
    outcomes = []
    for size in sizes:
        picks = random.integers(len(known.answers.scores), size=(draws, size))
        samples = [known.answers[rows] for rows in picks]
        outcomes += [_outcome(known, samples, epsilon) for epsilon in epsilons]
    return sorted(outcomes, key=lambda item: (item.epsilon, item.rows))


def _outcome(known: Population, samples: Sequence[Answers], epsilon: float) -> Outcome:
    size = len(samples[0].scores)
    ours, naive, covered = [], [], []
    for sample in samples:
        found = find_threshold(sample.scores, sample.losses, epsilon=epsilon, delta=DELTA)
        ours.append(found)
        covered.append(_holds(known, sample, found))
        allowed = math.floor(epsilon * size)
        naive.append(threshold_allowing(sample.scores, sample.losses, allowed))
    return Outcome(
        epsilon=epsilon,
        rows=size,
        draws=len(samples),
        broken=sum(known.risk(item) > epsilon for item in ours),
        exact=tail(most_failures(size, epsilon, DELTA), size, known.lowest_above(epsilon)),
        escalation=float(np.mean([known.escalation(item) for item in ours])),
        covered=float(np.mean(covered)),
        naive_broken=float(np.mean([known.risk(item) > epsilon for item in naive])),
        naive_escalation=float(np.mean([known.escalation(item) for item in naive])),
        oracle=known.cheapest(epsilon),
    )


def _holds(known: Population, sample: Answers, threshold: float) -> bool:
    if threshold == math.inf:
        return True
    low, high = interval(int(escalated(sample.scores, threshold).sum()), len(sample.scores))
    return low <= known.escalation(threshold) <= high
