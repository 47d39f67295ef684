"""Checked by mypy and pyright only: what a call gives for what it takes."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
import pandas as pd
import polars as pl

from hybridmodel import Answer, Calibration, HybridOnnxModel, calibrate, load_model
from hybridmodel.call_types import ArrowStream
from hybridmodel.routing import Cascade
from hybridmodel.sklearn import HybridClassifier

Array = np.ndarray[Any, Any]


def of_arrays(model: HybridOnnxModel, rows: np.ndarray[Any, Any]) -> None:
    """Give an array for arrays, lists and dicts where one output is named."""
    one: np.ndarray[Any, Any] = model.predict(rows)
    assert_type(model.predict(rows), Array | Any)
    assert_type(model.predict(rows, output="label"), Array)
    assert_type(model.predict([[1.0, 2.0]], output="label", use_azure=True), Array)
    assert_type(model.predict({"x": rows}, output="label", mode="hedge", timeout=2.5), Array)
    assert_type(model.predict(rows, provenance=True), dict[str, Array])
    assert_type(model.predict(one, output="label", provenance=True), dict[str, Array])


def of_frames(model: HybridOnnxModel, frame: pd.DataFrame, column: pd.Series[float]) -> None:
    """Give data of pandas for data of pandas."""
    assert_type(model.predict(frame), pd.DataFrame | pd.Series[Any])
    assert_type(model.predict(column, use_azure="true"), pd.DataFrame | pd.Series[Any])
    assert_type(model.predict(frame, output="label", provenance=True), pd.DataFrame)
    assert_type(model.predict(frame, mode=Cascade(threshold=0.4)).index, pd.Index[Any])


def of_polars(model: HybridOnnxModel, frame: pl.DataFrame) -> None:
    """Give data of polars for data of polars."""
    assert_type(model.predict(frame), pl.DataFrame | pl.Series)
    assert_type(model.predict(frame["x"], provenance=True), pl.DataFrame)


def of_anything(
    model: HybridOnnxModel, data: Any, table: ArrowStream, frame: pd.DataFrame, provenance: bool
) -> None:
    """Give what is known of other data, and of a switch that is not known."""
    assert_type(model.predict(data, provenance=provenance), Any)
    assert_type(model.predict(table), Any)
    assert_type(model.predict(frame, provenance=provenance), pd.DataFrame | pd.Series[Any])
    answer: Answer = model.infer(data, mode=lambda feeds: feeds["x"][:, 0] > 0)
    assert_type(answer.outputs, dict[str, Array])


async def waited_for(model: HybridOnnxModel, frame: pd.DataFrame, rows: Array) -> None:
    """Give the same from coroutines."""
    assert_type(await model.apredict(rows), Array | Any)
    assert_type(await model.apredict(rows, output="label"), Array)
    assert_type(await model.apredict(rows, provenance=True), dict[str, Array])
    assert_type(await model.apredict(frame), pd.DataFrame | pd.Series[Any])
    assert_type(await model.apredict(frame, provenance=True), pd.DataFrame)
    assert_type(await model.ainfer(frame, use_azure=False), Answer)


def of_others(model: HybridOnnxModel, frame: pd.DataFrame, labels: pd.Series[int]) -> None:
    """Give what is known of a calibration, a loaded model and an estimator."""
    found = calibrate(model, frame, labels, epsilon=0.02)
    assert_type(found, Calibration)
    assert_type(load_model("models:/digits@champion", credential=lambda: "key"), HybridOnnxModel)
    classifier = HybridClassifier(model, mode=Cascade(calibration=found)).fit(frame, labels)
    assert_type(classifier.predict(frame), Array)
    assert_type(classifier.score(frame, labels, use_azure=True), float)


def refused(model: HybridOnnxModel, frame: pd.DataFrame) -> None:
    """Find before it runs what would fail."""
    model.predict(frame, use_azure=1.5)  # type: ignore[call-overload]
    model.predict(frame, mode=3)  # type: ignore[call-overload]
    model.predict(frame, timeout="2 s")  # type: ignore[call-overload]
    model.predict(frame, endpoint="there")  # type: ignore[call-overload]
    model.infer(frame, output=["label"])  # type: ignore[arg-type]
    calibrate(model, frame, epsilon="2 %")  # type: ignore[arg-type]
    text: str = model.predict(frame)  # type: ignore[assignment]
    HybridOnnxModel(3)  # type: ignore[arg-type]
    HybridOnnxModel(text, credential="key")  # type: ignore[arg-type]
