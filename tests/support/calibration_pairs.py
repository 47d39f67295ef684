"""Pairs of models that hand through what both are to answer, so that every row is known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from onnx import helper

from hybridmodel import HybridOnnxModel
from hybridmodel.calibrating import calibrate
from tests.support.models import build, tensor
from tests.support.strategies import Array

Make = Callable[..., HybridOnnxModel]
Data = dict[str, Array]


NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


calibrate_at_noon = partial(calibrate, now=lambda: NOON)


def answering(who: str, **answers: tuple[str, tuple[Any, ...]]) -> bytes:
    """Make a model with the inputs ``small_<name>`` and ``big_<name>`` that answers `who`'s.

    Each of `answers` is a datatype and a shape.
    """
    inputs = [
        tensor(f"{size}_{name}", *declared)
        for name, declared in answers.items()
        for size in ("small", "big")
    ]
    nodes = [helper.make_node("Identity", [f"{who}_{name}"], [name]) for name in answers]
    return build(nodes, inputs, [tensor(name, *declared) for name, declared in answers.items()])


PAIRS: dict[str, dict[str, tuple[str, tuple[Any, ...]]]] = {
    "classes": {"label": ("INT64", ("N",)), "sure": ("FP32", ("N",))},
    "texts": {"label": ("BYTES", ("N", 1)), "sure": ("FP32", ("N",))},
    "tables": {"p": ("FP32", ("N", 3))},
    "open_tables": {"p": ("FP32", ("N", "k"))},
    "binary": {"p": ("FP32", ("N", 1))},
    "numbers": {"value": ("FP32", ("N", 1)), "std": ("FP32", ("N",))},
    "two_numbers": {"one": ("FP32", ("N",)), "two": ("FP32", ("N",)), "std": ("FP32", ("N",))},
    "two_labels": {"one": ("INT64", ("N",)), "two": ("INT64", ("N",)), "p": ("FP32", ("N", 2))},
}


def classes(rows: int = 1000, *, harmful: int = 20, seed: int = 0) -> tuple[Data, Array]:
    """Make answers and labels: the surer, the less often small is wrong; big is always right.

    Rows are sure from 0 to 1 in even steps, and the small model is wrong on the `harmful` least.
    """
    order = np.random.default_rng(seed).permutation(rows)
    sure = np.linspace(0, 1, rows, dtype=np.float32)
    truth = np.arange(rows) % 3
    small = np.where(np.arange(rows) < harmful, truth + 1, truth) % 3
    data = {"small_label": small, "big_label": truth, "small_sure": sure, "big_sure": -sure}
    return {name: values[order] for name, values in data.items()}, truth[order]


def tables(rows: int = 1000, *, harmful: int = 20) -> tuple[Data, Array]:
    """Make probabilities of three classes; the margin of the `harmful` first rows is smallest."""
    top = np.linspace(0.5, 1, rows, dtype=np.float32)
    truth = np.arange(rows) % 3
    wrong = np.arange(rows) < harmful
    small = np.zeros((rows, 3), np.float32)
    small[np.arange(rows), (truth + wrong) % 3] = top
    small[np.arange(rows), (truth + 1 + wrong) % 3] = 1 - top
    return {"small_p": small, "big_p": np.eye(3, dtype=np.float32)[truth]}, truth


def numbers(rows: int = 1000) -> tuple[Data, Array]:
    """Make numbers with an uncertainty; the 20 most uncertain are off by 5."""
    std = np.linspace(0, 1, rows, dtype=np.float32)
    truth = np.arange(rows, dtype=np.float32)
    small = truth + np.where(np.arange(rows) >= rows - 20, 5, 0.4)
    columns = {"small_value": small[:, np.newaxis], "big_value": truth[:, np.newaxis]}
    return {**columns, "small_std": std, "big_std": 0 * std}, truth
