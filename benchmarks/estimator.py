"""What the estimators of `hybridmodel.sklearn` cost beyond `predict` of the model itself.

    python benchmarks/estimator.py [--quick] [--plot FILE.png] [--json FILE]

Needs the ``dev`` extra. Prints a table, one line for each aim, and ends with status 1 when an aim
is not met. The model is a logistic regression of 30 features and 3 classes; all contestants of a
case take turns. Peers are `HybridOnnxModel.predict`, and the same fitted estimator in scikit-learn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Aim, Times, difference_us, machine, median_us, ratio, report, take_turns
from _results import Ratio, Results

FEATURES, MOST_US = 30, 30.0
ROWS = (1, 1_000)
PACKAGES = ("hybridmodel", "numpy", "pandas", "onnxruntime", "scikit-learn")
SKLEARN = "scikit-learn's LogisticRegression"
Cases = dict[tuple[int, str], Times]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, more noise")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(arguments)
    results = Results("estimator", "What an estimator of scikit-learn costs", PACKAGES)
    print(machine(*PACKAGES))
    cases = measure(0.3 if options.quick else 3.0)
    show(results, cases)
    aims = [
        Aim(f"an estimator adds at most {MOST_US:g} µs to one row ({kind})", f"{cost:.1f} µs", ok)
        for (rows, kind), times in cases.items()
        if rows == 1
        for cost in (difference_us(times, "estimator", "model"),)
        for ok in (cost <= MOST_US,)
    ]
    if options.plot:
        plot(cases, options.plot)
    if options.json:
        results.write(options.json, aims, plots=[options.plot] if options.plot else [])
    return report(aims)


def measure(seconds: float) -> Cases:
    """Time one call for every size and kind of rows."""
    import pandas as pd
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    from hybridmodel import HybridOnnxModel
    from hybridmodel.sklearn import HybridClassifier

    random = np.random.default_rng(0)
    X = random.normal(size=(max(ROWS), FEATURES)).astype(np.float32)
    y = X[:, :3].argmax(axis=1)
    names = [f"x{number}" for number in range(FEATURES)]
    cases: Cases = {}
    for kind in ("array", "frame"):
        rows: Any = X if kind == "array" else pd.DataFrame(X, columns=names)
        theirs = LogisticRegression().fit(rows, y)
        graph = to_onnx(theirs, X[:1], options={"zipmap": False}).SerializeToString()
        model = HybridOnnxModel(
            graph,
            feature_names=names,
            output="label",
            session_options={"intra_op_num_threads": 1},
        )
        ours = HybridClassifier(model).fit(rows, y)
        for number in ROWS:
            some = rows[:number]
            cases[number, kind] = take_turns(
                {
                    "model": lambda some=some, model=model: model.predict(some),
                    "estimator": lambda some=some, ours=ours: ours.predict(some),
                    "scikit-learn": lambda some=some, theirs=theirs: theirs.predict(some),
                },
                total_s=seconds,
            )
    return cases


def show(results: Results, cases: Cases) -> None:
    """Print and keep the table and the ratios."""
    contestants = ("model", "estimator", "scikit-learn")
    results.show(
        f"Labels of n rows of {FEATURES} features [µs]",
        ("rows", *contestants, "estimator − model"),
        [
            (
                f"{rows:,} ({kind})",
                *(f"{median_us(times, name):.1f}" for name in contestants),
                f"{difference_us(times, 'estimator', 'model'):+.1f}",
            )
            for (rows, kind), times in cases.items()
        ],
    )
    results.ratios += [
        Ratio(f"{rows:,} rows ({kind})", SKLEARN, ratio(times, "estimator", "scikit-learn"))
        for (rows, kind), times in cases.items()
    ]


def plot(cases: Cases, path: Path) -> None:
    """Draw what one row takes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
    bars = [(kind, name) for rows, kind in cases if rows == 1 for name in cases[rows, kind]]
    axes.barh(
        [f"{name}, {kind}" for kind, name in bars],
        [median_us(cases[1, kind], name) for kind, name in bars],
    )
    axes.set_xlabel("one row [µs]")
    axes.invert_yaxis()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
