"""Writes an estimator as an ONNX model whose outputs have known names and real shapes."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hybridmodel.checks import needed_for
from hybridmodel.data.names import listed
from hybridmodel.data.tensors import BY_DTYPE, Array
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.model import HybridOnnxModel
from hybridmodel.sklearn.converting import boosters, refusals
from hybridmodel.sklearn.converting.graph import (
    Wanted,
    add_classes,
    name_inputs,
    raw_outputs,
    with_outputs,
)
from hybridmodel.sklearn.converting.layout import Layout

OPSETS = {"": 17, "ai.onnx.ml": 3}
"""What onnxruntime reads since 1.12, and so every Triton since 2.24."""

_QUIET = {"log_severity_level": 4}
"""onnxruntime would warn of the shapes that converters declare wrongly."""

_COLUMNS = ((1, 1), (0, 1), (0, -1), (1, -1))
"""Columns and signs that a binary classifier's scores may have, the usual ones first."""


def written(
    estimator: Any,
    rows: Any,
    answers: Mapping[str, Array],
    layout: Layout,
    outputs: Collection[str] | None,
) -> bytes:
    """Return an estimator as an ONNX model.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    rows : DataFrame or ndarray of shape (n, k)
        Of which the real shapes of outputs are seen.
    answers : mapping of str to ndarray
        The estimator's, to the same rows.
    layout : Layout
    outputs : collection of str, optional
        Those that are kept; default is all.

    Raises
    ------
    ConfigurationError
        If it cannot be converted, or there is no such output.
    """
    model = _converted(estimator, layout)
    name_inputs(model, layout.inputs)
    sources = _sources(answers, raw_outputs(model))
    unknown = sorted(set(outputs or ()) - set(sources))
    if unknown:
        raise ConfigurationError(
            f"{refusals.told(estimator)}: has no output {listed(unknown)}; it has {listed(sources)}"
        )
    kept = {name: item for name, item in sources.items() if outputs is None or name in outputs}
    if getattr(estimator, "classes_", None) is not None and "label" in answers:
        add_classes(model, estimator.classes_)
    try:
        draft = HybridOnnxModel(
            with_outputs(model, kept),
            feature_names=layout.feature_names,
            session_options=_QUIET,
        )
        seen = draft.infer(rows, use_azure=False).outputs
    except (ConfigurationError, InputMismatch) as error:
        raise refusals.does_not_run(estimator, error) from error
    settled = {name: _settled(kept[name], seen[name], answers[name]) for name in kept}
    return with_outputs(model, settled)


def _converted(estimator: Any, layout: Layout) -> Any:
    with needed_for("a conversion", boosters.EXTRA):
        from skl2onnx import convert_sklearn
    refusals.check_trees(estimator)
    boosters.register(estimator)
    if boosters.library_of(estimator) == "catboost":
        return boosters.catboost_graph(estimator, layout)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its own, about numbers of numpy in protobuf.
        try:
            return convert_sklearn(
                boosters.without_names(estimator),
                initial_types=layout.initial_types(),
                target_opset=OPSETS,
                name=type(estimator).__name__,
            )
        except Exception as error:
            raise refusals.no_converter(estimator, error) from error


def _sources(answers: Mapping[str, Array], tensors: list[str]) -> dict[str, Wanted]:
    """Return by name the tensors of a graph that the estimator's own answers are known for."""
    return {name: Wanted(source=tensor) for name, tensor in zip(answers, tensors, strict=False)}


def _settled(item: Wanted, seen: Array, answer: Array) -> Wanted:
    """Return an output as it was seen; of two columns of scores, the one that is the answer."""
    datatype = BY_DTYPE[seen.dtype].datatype
    if answer.ndim == 1:
        return replace(item, is_flat=seen.ndim > 1, datatype=datatype)
    if seen.ndim == 2 and answer.ndim == 2 and (seen.shape[1], answer.shape[1]) == (2, 1):
        column, sign = min(_COLUMNS, key=lambda taken: _distance(seen, answer, *taken))
        return replace(item, column=column, sign=sign, datatype=datatype, width=1)
    return replace(item, datatype=datatype, width=seen.shape[1] if seen.ndim == 2 else None)


def _distance(seen: Array, answer: Array, column: int, sign: int) -> float:
    found = np.abs(sign * seen[:, column].astype(np.float64) - answer[:, 0])
    return float(np.nan_to_num(found, nan=np.inf).max(initial=0.0))
