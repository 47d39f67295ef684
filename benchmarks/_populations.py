"""Seven populations, each with a small and a big model, on which promises are tried.

Made from a description each, with scikit-learn and random numbers; nothing is downloaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.cascade import Score

Array = np.ndarray[Any, Any]

TRAINING = 8_000
SCORE = Score("margin", "p")


@dataclass(frozen=True)
class Rows:
    """What is known about rows: of a whole population, or of a sample.

    Attributes
    ----------
    scores : ndarray of float64, shape (n,)
        How sure the small model is.
    small, big : ndarray of bool, shape (n,)
        Who is right.
    cost : ndarray of float64, shape (n,)
        What is lost, from 0 to 1, when the small model answers in place of the big one.
    groups : ndarray of int, shape (n,)
        A class, or a part of the rows.
    features : ndarray of float32, shape (n, k), or None
        The inputs, where a gate is tried.
    """

    scores: Array
    small: Array
    big: Array
    cost: Array
    groups: Array
    features: Array | None = None

    def __getitem__(self, rows: Any) -> Rows:
        features = None if self.features is None else self.features[rows]
        parts = (self.scores, self.small, self.big, self.cost, self.groups)
        return Rows(*(part[rows] for part in parts), features)

    def __len__(self) -> int:
        return len(self.scores)


def covtype_like(rows: int, random: np.random.Generator) -> Rows:
    """Seven classes, two with 85 % of the rows; ten numbers, and a code with forty values."""
    total = TRAINING + rows
    height, wet = random.random(total), random.random(total)
    rest = random.normal(size=(total, 8))
    codes = random.integers(40, size=total)
    effect = random.normal(0, 0.6, (40, 7))
    middles = np.array([0.55, 0.35, 0.15, 0.02, 0.5, 0.12, 0.9])
    likely = np.log([0.365, 0.485, 0.06, 0.01, 0.02, 0.03, 0.03])
    likely = likely - ((height[:, None] - middles) / 0.12) ** 2 + effect[codes]
    likely[:, 1] += 3.0 * np.sin(6 * wet) * rest[:, 0]
    y = (1.5 * likely + random.gumbel(size=(total, 7))).argmax(axis=1)
    X = np.column_stack([height, wet, rest, np.eye(40)[codes]])
    return _classified(X, y, _logistic(), _boosted(60))


def label_noise(rows: int, random: np.random.Generator) -> Rows:
    """Four classes, where 15 % of the labels are drawn by lot: nobody can know them."""
    X, y = _classes(rows, random, n_classes=4, n_informative=6, class_sep=1.6)
    lot = random.random(len(y)) < 0.15
    y = np.where(lot, random.integers(0, 4, len(y)), y)
    return _classified(X, y, _logistic(), _network((64,)), keep=True)


def rare(rows: int, random: np.random.Generator) -> Rows:
    """One row of 200 is of the class that matters."""
    X = random.normal(size=(TRAINING + rows, 8))
    size = X[:, 0] ** 2 + X[:, 1] ** 2
    X = np.column_stack([np.abs(X[:, 0]), X[:, 1], X, size + random.normal(0, 0.3, len(X))])
    y = (size > -2 * np.log(0.005)).astype(int)
    return _classified(X, y, _logistic(), _boosted(60), columns=slice(0, 2))


def many_classes(rows: int, random: np.random.Generator) -> Rows:
    """Twenty-five classes, told apart by a naive Bayes model that is far too sure."""
    from sklearn.naive_bayes import GaussianNB

    X, y = _classes(
        rows, random, n_classes=25, n_informative=10, class_sep=1.8, n_clusters_per_class=1
    )
    return _classified(X, y, GaussianNB(), _network((128,)))


def sparse_text(rows: int, random: np.random.Generator) -> Rows:
    """Six subjects of short texts; the small model knows 150 of 1,500 words."""
    from scipy.sparse import csr_matrix
    from sklearn.naive_bayes import MultinomialNB

    total, words, subjects = TRAINING + rows, 1_500, 6
    usual = 1 / np.arange(1, words + 1)
    tilt = np.where(random.random((subjects, words)) < 0.12, 4.0, 1.0)
    tables = usual * tilt
    tables /= tables.sum(axis=1, keepdims=True)
    y = random.integers(subjects, size=total)
    lengths = 8 + random.poisson(12, total)
    cumulated = tables.cumsum(axis=1)
    which = np.repeat(np.arange(total), lengths)
    drawn = random.random(len(which))
    columns = np.empty(len(which), np.int64)
    for subject in range(subjects):
        mine = y[which] == subject
        columns[mine] = np.searchsorted(cumulated[subject], drawn[mine])
    columns = np.minimum(columns, words - 1)
    X = csr_matrix((np.ones(len(which)), (which, columns)), shape=(total, words))
    return _classified(X, y, MultinomialNB(), _logistic(), columns=slice(0, 150))


def deep_tree(rows: int, random: np.random.Generator) -> Rows:
    """Three classes by a tree that is grown to the end: it is always sure, and often wrong."""
    from sklearn.tree import DecisionTreeClassifier

    X, y = _classes(rows, random, n_classes=3, n_informative=6, class_sep=1.6)
    return _classified(X, y, DecisionTreeClassifier(random_state=0), _network((64,)), keep=True)


def regression(rows: int, random: np.random.Generator) -> Rows:
    """Numbers, right within 0.5; noise grows with one input, and the small model knows that."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression

    total = TRAINING + rows
    X = random.normal(size=(total, 6))
    spread = 0.08 + 0.1 * np.abs(X[:, 5])
    truth = X[:, 0] + 0.5 * X[:, 1] + 0.8 * np.maximum(X[:, 2], 0.8) * X[:, 3]
    y = truth + spread * random.normal(size=total)
    first, rest = slice(0, TRAINING), slice(TRAINING, None)
    small = LinearRegression().fit(X[first], y[first])
    wide = HistGradientBoostingRegressor(max_iter=30, random_state=0)
    wide.fit(X[first], np.abs(y[first] - small.predict(X[first])))
    big = HistGradientBoostingRegressor(max_iter=120, random_state=0).fit(X[first], y[first])
    off = np.abs(small.predict(X[rest]) - y[rest])
    big_off = np.abs(big.predict(X[rest]) - y[rest])
    cost = np.clip(off - big_off, 0, 2) / 2
    groups = np.digitize(X[rest, 0], [-0.5, 0.5])
    return Rows(-wide.predict(X[rest]), off <= 0.5, big_off <= 0.5, cost, groups)


def multi_label(rows: int, random: np.random.Generator) -> Rows:
    """Five labels a row, right when all are; as surely as the least sure of them."""
    from sklearn.linear_model import LogisticRegression

    total = TRAINING + rows
    X = random.normal(size=(total, 12))
    weights = random.normal(size=(12, 5))
    pairs = X[:, :5] * X[:, 5:10]
    y = X @ weights + 1.5 * pairs + random.normal(0, 0.5, (total, 5)) > 0
    first, rest = slice(0, TRAINING), slice(TRAINING, None)
    big = _network((64,)).fit(X[first], y[first].astype(int))
    models = [LogisticRegression().fit(X[first], y[first, i]) for i in range(5)]
    sure = np.stack([model.predict_proba(X[rest])[:, 1] for model in models], axis=1)
    small_right = (sure > 0.5) == y[rest]
    big_right = big.predict(X[rest]).astype(bool) == y[rest]
    cost = (big_right & ~small_right).mean(axis=1)
    scores = np.abs(2 * sure - 1).min(axis=1)
    small, both = small_right.all(axis=1), big_right.all(axis=1)
    return Rows(scores, small, both, cost, y[rest].sum(axis=1).clip(1, 4))


POPULATIONS: Mapping[str, Callable[[int, np.random.Generator], Rows]] = {
    "covtype-like": covtype_like,
    "label noise": label_noise,
    "1:200": rare,
    "25 classes": many_classes,
    "sparse text": sparse_text,
    "regression": regression,
    "multi-label": multi_label,
}


def populations(rows: int, names: Any = tuple(POPULATIONS)) -> Iterator[tuple[str, Rows]]:
    """Make the populations that are named, of so many rows each."""
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Models could learn longer, and need not.
            yield name, POPULATIONS[name](rows, np.random.default_rng(len(name)))


def _classes(rows: int, random: np.random.Generator, **of: Any) -> tuple[Array, Array]:
    from sklearn.datasets import make_classification

    state = int(random.integers(1 << 30))
    X, y = make_classification(
        TRAINING + rows, n_features=20, n_redundant=2, random_state=state, **of
    )
    return X, y


def _classified(
    X: Any, y: Array, small: Any, big: Any, *, columns: Any = slice(None), keep: bool = False
) -> Rows:
    """Train both on the first rows, and let them answer the others.

    Errors cost more the rarer a class is: from a fifth up to 1.
    """
    small.fit(X[:TRAINING][:, columns], y[:TRAINING])
    big.fit(X[:TRAINING], y[:TRAINING])
    rest, truth = X[TRAINING:], y[TRAINING:]
    probabilities = small.predict_proba(rest[:, columns])
    right = small.classes_[probabilities.argmax(axis=1)] == truth
    both = big.predict(rest) == truth
    price = np.empty(len(small.classes_))
    price[np.argsort(np.bincount(truth, minlength=len(price)))] = np.linspace(1, 0.2, len(price))
    return Rows(
        SCORE.of({"p": probabilities}),
        right,
        both,
        np.where(both & ~right, price[truth], 0.0),
        np.minimum(truth, 3),
        _features(rest, probabilities) if keep else None,
    )


def _features(inputs: Array, probabilities: Array) -> Array:
    """Return what a gate sees: inputs, outputs, and the two largest of these."""
    top = np.sort(probabilities, axis=1)[:, -2:]
    return np.hstack([inputs, probabilities, top]).astype(np.float32)


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=200)


def _boosted(rounds: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=rounds, random_state=0)


def _network(layers: tuple[int, ...]) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(layers, max_iter=30, random_state=0)
