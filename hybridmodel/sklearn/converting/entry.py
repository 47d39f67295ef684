"""`from_sklearn`: fitted estimators become a hybrid model that is proven to answer as they do."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.checks import check_rate, check_tolerance, needed_for, shown
from hybridmodel.data.names import listed
from hybridmodel.exceptions import ConfigurationError, InputMismatch, SpecMismatch
from hybridmodel.model import HybridOnnxModel
from hybridmodel.sklearn.converting import layout as layouts
from hybridmodel.sklearn.converting.agreement import Agreement, expected, measured, with_made
from hybridmodel.sklearn.converting.boosters import EXTRA
from hybridmodel.sklearn.converting.refusals import does_not_run, scales_for_trees, told
from hybridmodel.sklearn.converting.steps import is_estimator
from hybridmodel.sklearn.converting.writing import written

if TYPE_CHECKING:
    from hybridmodel.remote.endpoint import TritonEndpoint

DIFFERENCE = 1e-4
"""Numbers may differ by so much unless a call says otherwise: float32 has about 7 digits."""

_FEW = 0.01
"""Where more rows differ, a message does not speak of allowing it."""


class ConversionDiffers(ConfigurationError):
    """Raise when a converted model answers otherwise than its estimator.

    Attributes
    ----------
    agreement : Agreement
        How far they answer alike.
    """

    def __init__(self, message: str, agreement: Agreement | None = None) -> None:
        super().__init__(message)
        self.agreement = agreement


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """An estimator as an ONNX model, and the proof that it answers as the estimator does.

    Attributes
    ----------
    estimator : str
        The name of its class.
    onnx : bytes
        The model, for `HybridOnnxModel`, a file or `hybridmodel.serving.serve`.
    dtype : str
        Of its numbers: ``"float32"`` or ``"float64"``.
    agreement : Agreement
        On the rows that it was proven on.
    """

    estimator: str
    onnx: bytes = field(repr=False)
    dtype: str
    agreement: Agreement

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the ONNX model to a file, and return its path."""
        target = Path(path)
        target.write_bytes(self.onnx)
        return target


class ConvertedModel(HybridOnnxModel):
    """A hybrid model that was made of estimators.

    Attributes
    ----------
    small : Conversion
        The local model.
    big : Conversion or None
        The model for the endpoint.
    """

    small: Conversion
    big: Conversion | None


def from_sklearn(
    small: Any,
    X: Any,
    big: Any = None,
    endpoint: TritonEndpoint | None = None,
    *,
    dtype: str = "float32",
    outputs: Collection[str] | None = None,
    differing: float = 0.0,
    difference: float = DIFFERENCE,
    **options: Any,
) -> ConvertedModel:
    """Convert fitted estimators to a hybrid model, and prove that it answers as they do.

    Each estimator and its ONNX model answer the rows of X, and as many that are made of them by
    shuffling and stretching each column. A model that answers otherwise is refused.

    A classifier has the outputs ``label`` of shape (n,), and ``probabilities`` of shape (n, k), or
    ``scores`` of shape (n, k) where it has a decision function only, (n, 1) for two classes. A
    regressor has ``variable`` of shape (n, k). Class names are kept in the file's metadata.

    Parameters
    ----------
    small : estimator
        Fitted: the local model. An estimator or pipeline of scikit-learn, LightGBM, XGBoost or
        CatBoost.
    X : DataFrame or array of shape (n, k)
        Rows such as the model will get, some hundred at least. Columns of numbers become one input;
        where there are texts too, or a step takes columns by name, each becomes one of its own.
    big : estimator, optional
        Fitted to the same columns: the endpoint's model, converted and proven likewise. `big.onnx`
        of the result is what the endpoint has to serve.
    endpoint : TritonEndpoint, optional
        Where it is served.
    dtype : str, default="float32"
        Of the numbers that the model takes; ``"float64"`` where trees after other steps, or fine
        thresholds, need the digits.
    outputs : collection of str, optional
        Those that the model shall have; default is all.
    differing : float, default=0
        Share of the rows that may differ.
    difference : float, default=1e-4
        The largest that does not matter: of probabilities as it is, of other numbers as a share of
        the spread of their column.
    **options
        What `HybridOnnxModel` takes as well: `credential`, `output`, `use_azure`, `routing`…

    Returns
    -------
    ConvertedModel
        A `HybridOnnxModel` with the proofs as `small` and `big`.

    Raises
    ------
    ConversionDiffers
        If more than a share `differing` of the rows differ; it says what to try.
    ConfigurationError
        If an estimator is not fitted or cannot be converted: which step, and what to do.
    InputMismatch
        If X has other columns than the estimators, or holds neither numbers nor texts.
    SpecMismatch
        If `small` and `big` have other outputs or classes.
    MissingDependency
        If skl2onnx is not installed, or for boosted trees onnxmltools: the extra ``convert``.

    Examples
    --------
    >>> model = from_sklearn(small, X, big=large)  # doctest: +SKIP
    >>> print(model.small.agreement)  # doctest: +SKIP
    """
    with needed_for("from_sklearn", EXTRA):
        import skl2onnx  # noqa: F401
    estimators = [_checked(item) for item in ([small] if big is None else [small, big])]
    _check_outputs(outputs)
    bounds = check_rate("differing", differing), check_tolerance("difference", difference)
    rows = layouts.checked_rows(small, X)
    if big is not None:
        layouts.checked_rows(big, rows)
        _check_order(*estimators)
    layout = layouts.layout_of(estimators, rows, dtype)
    made = [
        _Proof(item, with_made(item, rows), outputs, *bounds).convert(layout, dtype)
        for item in estimators
    ]
    model = ConvertedModel(
        made[0].onnx, endpoint=endpoint, feature_names=layout.feature_names, **options
    )
    model.small, model.big = made[0], made[1] if big is not None else None
    if model.big is not None:
        _check_alike(model, model.big, estimators)
    return model


@dataclass(frozen=True)
class _Proof:
    """An estimator, and the rows and bounds of its proof."""

    estimator: Any
    rows: Any
    outputs: Collection[str] | None
    differing: float
    difference: float

    def convert(self, layout: layouts.Layout, dtype: str) -> Conversion:
        """Return the conversion; raise unless it holds."""
        answers = expected(self.estimator, self.rows)
        made = self._made(answers, layout, dtype)
        if made.agreement.share <= self.differing:
            return made
        raise ConversionDiffers(
            f"{told(self.estimator)}: the converted model answers otherwise, beyond the bounds of "
            f"differing={self.differing:g} and difference={self.difference:g}: {made.agreement}; "
            f"{self._advice(made.agreement, answers, layout, dtype)}",
            made.agreement,
        )

    def _made(self, answers: Any, layout: layouts.Layout, dtype: str) -> Conversion:
        onnx = written(self.estimator, self.rows, answers, layout, self.outputs)
        model = HybridOnnxModel(onnx, feature_names=layout.feature_names)
        try:
            agreement = measured(answers, model, self.rows, self.difference)
            model.infer(self.rows[:1], use_azure=False)
        except InputMismatch as error:
            raise does_not_run(self.estimator, error) from error
        return Conversion(
            estimator=told(self.estimator), onnx=onnx, dtype=dtype, agreement=agreement
        )

    def _advice(self, found: Agreement, answers: Any, layout: layouts.Layout, dtype: str) -> str:
        """Return what to try, which has been tried where that is cheap."""
        other = self._widened(answers, layout) if dtype == "float32" else None
        if other is not None and other.share <= self.differing:
            return f"pass dtype='float64', with which {other}"
        if scales_for_trees(self.estimator):
            return "trees need no scaler before them: leave it out, and fit again"
        if found.equal_labels == 1.0:
            return "the labels are all equal: pass outputs=['label'] if they are enough"
        if not found.equal_labels and found.equal_labels is not None:
            return "no label is equal: try classes that are whole numbers from 0"
        if found.share <= _FEW or found.holds_for_rows:
            return f"pass differing={found.share + 0.001:.2g} if so many rows may be wrong"
        return "choose another estimator of docs/conversion.md"

    def _widened(self, answers: Any, layout: layouts.Layout) -> Agreement | None:
        """Return how the model with float64 agrees, None where there is none."""
        try:
            return self._made(answers, layout.wide(), "float64").agreement
        except ConfigurationError:
            return None


def _checked(estimator: Any) -> Any:
    """Return a fitted estimator that predicts."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not is_estimator(estimator):
        raise ConfigurationError(f"from_sklearn takes fitted estimators, not {shown(estimator)}")
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise ConfigurationError(
            f"{told(estimator)}: is not fitted; fit it before it is converted"
        ) from error
    if not hasattr(estimator, "predict"):
        raise ConfigurationError(
            f"{told(estimator)}: has no predict; a pipeline has to end in an estimator that has"
        )
    return estimator


def _check_outputs(outputs: Any) -> None:
    """Raise unless outputs are names of at least one, or left out."""
    if outputs is not None and (isinstance(outputs, str) or not list(outputs)):
        raise ConfigurationError(
            f"outputs is a list of names such as ['label'], or None for all, not {shown(outputs)}"
        )


def _check_order(small: Any, big: Any) -> None:
    """Raise where the endpoint would read the columns of the local model as others."""
    here, there = (getattr(item, "feature_names_in_", None) for item in (small, big))
    if here is not None and there is not None and list(here) != list(there):
        raise InputMismatch(
            f"small was fitted to the columns {listed(here.tolist())}, and big to the same in "
            f"another order: {listed(there.tolist())}; fit both to the same order"
        )


def _check_alike(model: HybridOnnxModel, big: Conversion, estimators: list[Any]) -> None:
    """Raise unless the endpoint's model has the same inputs, outputs and classes."""
    other = HybridOnnxModel(big.onnx, feature_names=model.feature_names)
    found = list(model.spec.differences(other.spec))
    classes = [np.asarray(getattr(item, "classes_", ())).tolist() for item in estimators]
    if classes[0] != classes[1]:
        found.append(f"small has the classes {classes[0]}, big has {classes[1]}")
    if found:
        raise SpecMismatch(
            f"{big.estimator} cannot be the big one for {told(estimators[0])}, as they differ "
            f"(local is small, the endpoint is big): {'; '.join(found)}; pass outputs=['label'], "
            "or estimators of one kind",
            tuple(found),
        )
