"""`HybridClassifier` and `HybridRegressor`: a hybrid model as an estimator of scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if

from hybridmodel.data.tensors import Array
from hybridmodel.model import HybridOnnxModel
from hybridmodel.sklearn.answers import Answers, known, learned
from hybridmodel.sklearn.columns import head, read_columns, read_labels, read_numbers
from hybridmodel.sklearn.frozen import Frozen
from hybridmodel.sklearn.outputs import column, number_output

if TYPE_CHECKING:
    from hybridmodel.call_types import Column, Data, Mode, UseAzure


def _has_probabilities(estimator: HybridClassifier) -> bool:
    found = estimator._found()
    return found.scores is not None and found.has_probabilities


def _has_decisions(estimator: HybridClassifier) -> bool:
    found = estimator._found()
    return found.scores is not None and not found.has_probabilities


class HybridClassifier(ClassifierMixin, Frozen):  # type: ignore[misc] # untyped
    """A hybrid model as a classifier of scikit-learn that is trained already.

    `fit` trains nothing: it checks the columns and learns the classes. Where the model names its
    classes, or `classes` does, it answers without `fit` as well. A clone has the same model.

    Parameters
    ----------
    model : HybridOnnxModel
        Its answers are handed on; neither `fit` nor anything else here changes it.
    use_azure : bool, int or str, optional
        As `HybridOnnxModel.predict` takes it, as `mode` and `timeout`; they count when a method is
        called. Default is what the model was made with.
    mode : str, Policy or callable, optional
        Instead of `use_azure`.
    timeout : float, optional
        Total time of a call in seconds.
    label_output : str, optional
        The output with a class for each row. Default is the model's only one; without any, the
        most probable class is the answer.
    proba_output : str, optional
        The output with a probability, or a decision value, for each class. Default is the model's
        only one.
    classes : sequence or "encoded", optional
        Names of the classes in the order of the columns, where the model does not have them.
        ``"encoded"`` answers with their positions in sorted order if that is what y has: for what
        encodes y before it passes it on, such as ``VotingClassifier``, ``StackingClassifier``,
        ``BaggingClassifier``, ``cross_val_predict(method="predict_proba")``.

    Attributes
    ----------
    classes_ : ndarray of shape (k,)
        The classes, sorted.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str, shape (m,)
        Their names: those that the model knows, else those of the frame in `fit`.

    Examples
    --------
    >>> classifier = HybridClassifier(model, mode="cascade")  # doctest: +SKIP
    >>> cross_val_score(make_pipeline(StandardScaler(), classifier), X, y)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: HybridOnnxModel,
        *,
        use_azure: UseAzure = None,
        mode: Mode | None = None,
        timeout: float | None = None,
        label_output: str | None = None,
        proba_output: str | None = None,
        classes: Column | None = None,
    ) -> None:
        self.model = model
        self.use_azure = use_azure
        self.mode = mode
        self.timeout = timeout
        self.label_output = label_output
        self.proba_output = proba_output
        self.classes = classes

    def fit(self, X: Data, y: Column | None = None) -> HybridClassifier:
        """Check rows and classes against the model; nothing is trained, and nothing sent.

        Parameters
        ----------
        X : DataFrame, ndarray or list of shape (n, m)
            All rows have to fit the model; the local model answers the first 100.
        y : array-like of shape (n,), optional
            Their classes. Needed where neither the model nor `classes` names them.

        Returns
        -------
        HybridClassifier
            Itself.

        Raises
        ------
        InputMismatch
            If columns or classes are others than the model's.
        ConfigurationError
            If outputs or classes cannot be found, or contradict each other.
        """
        self._check_model()
        bound = read_columns(self, X)
        labels = None if y is None else read_labels(X, y)
        names = (self.label_output, self.proba_output)
        self._answers = learned(self.model, *names, self.classes, labels, head(self, bound))
        if self._answers.classes is not None:
            self.classes_ = self._answers.classes.names
        return self

    def predict(self, X: Data, *, use_azure: UseAzure = None) -> Array:
        """Return the class of each row.

        Parameters
        ----------
        X : DataFrame, ndarray or list of shape (n, m)
            The rows.
        use_azure : bool, int or str, optional
            The route of this call, instead of the parameters `use_azure` and `mode`.

        Returns
        -------
        ndarray of shape (n,)
            Of ``classes_``.

        Raises
        ------
        NotFittedError
            If classes are not known yet, and no output has labels.
        InputMismatch, ConfigurationError, EndpointError, SpecMismatch
            As `HybridOnnxModel.predict` does.
        """
        found = self._found()
        if found.label is not None and found.reads_labels:
            labels = column(self._ask(X, found.label, use_azure), found.label)
            return labels if found.classes is None else found.classes.answer(labels)
        best = self._scores(X, found, use_azure).argmax(axis=1)
        return np.asarray(self.classes_[best])

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Data, *, use_azure: UseAzure = None) -> Array:
        """Return the probability of each class; parameters and errors are those of `predict`.

        Returns
        -------
        ndarray of float, shape (n, k)
            A column for each of ``classes_``, in that order.
        """
        return self._scores(X, self._found(), use_azure)

    @available_if(_has_decisions)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Data, *, use_azure: UseAzure = None) -> Array:
        """Return the decision value of each class; parameters and errors are those of `predict`.

        Only for a model whose `proba_output` holds no probabilities, which `fit` sees.

        Returns
        -------
        ndarray of float, shape (n,) or (n, k)
            For two classes, that of the second of ``classes_``.
        """
        scores = self._scores(X, self._found(), use_azure)
        return scores[:, 1] if scores.shape[1] == 2 else scores

    def score(
        self, X: Data, y: Column, sample_weight: Column | None = None, *, use_azure: UseAzure = None
    ) -> float:
        """Return the share of rows whose class is that of `y`.

        Parameters
        ----------
        X : DataFrame, ndarray or list of shape (n, m)
            The rows.
        y : array-like of shape (n,)
            Their classes.
        sample_weight : array-like of shape (n,), optional
            How much each row counts.
        use_azure : bool, int or str, optional
            As in `predict`.
        """
        answers = self.predict(X, use_azure=use_azure)
        return float(accuracy_score(y, answers, sample_weight=sample_weight))

    def __getattr__(self, name: str) -> Any:
        """Return what `fit` sets, where the model alone tells it."""
        if name == "classes_" and "model" in vars(self):
            return self._known_classes(self._found())
        return super().__getattr__(name)

    def __sklearn_is_fitted__(self) -> bool:
        found = self._found()
        return found.reads_labels or found.classes is not None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        found = self._found()
        tags.requires_fit = not self.__sklearn_is_fitted__()
        tags.target_tags.required = found.classes is None
        tags.classifier_tags.poor_score = True  # It was trained on other rows.
        if found.scores is not None:
            shape = self.model.spec.outputs_by_name[found.scores].shape
            tags.classifier_tags.multi_class = shape[1:] not in ((), (1,), (2,))
        return tags

    def _found(self) -> Answers:
        """Return what `fit` found out, or what is known without it."""
        found: Answers | None = vars(self).get("_answers")
        if found is None:
            self._check_model()
            return known(self.model, self.label_output, self.proba_output, self.classes)
        return found

    def _scores(self, X: Any, found: Answers, use_azure: Any) -> Array:
        self._known_classes(found)
        return found.table(self._ask(X, str(found.scores), use_azure))

    def _known_classes(self, found: Answers) -> Array:
        if found.classes is None:
            raise NotFittedError(
                f"this {type(self).__name__} does not know its classes, since the model does not "
                "name them: call fit(X, y), or make it with classes=[...]"
            )
        return found.classes.names


class HybridRegressor(RegressorMixin, Frozen):  # type: ignore[misc] # untyped
    """A hybrid model as a regressor of scikit-learn that is trained already.

    `fit` trains nothing: it checks the columns. A clone has the same model.

    Parameters
    ----------
    model, use_azure, mode, timeout
        As those of `HybridClassifier`.
    output : str, optional
        The output that answers. Default is the model's only one of numbers.

    Attributes
    ----------
    n_features_in_, feature_names_in_
        As those of `HybridClassifier`.

    Examples
    --------
    >>> HybridRegressor(model).predict(X, use_azure=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: HybridOnnxModel,
        *,
        use_azure: UseAzure = None,
        mode: Mode | None = None,
        timeout: float | None = None,
        output: str | None = None,
    ) -> None:
        self.model = model
        self.use_azure = use_azure
        self.mode = mode
        self.timeout = timeout
        self.output = output

    def fit(self, X: Data, y: Column | None = None) -> HybridRegressor:
        """Check rows against the model; nothing is trained, and nothing sent.

        Parameters
        ----------
        X : DataFrame, ndarray or list of shape (n, m)
            All rows have to fit the model.
        y : array-like of shape (n,) or (n, k), optional
            Numbers, which are only checked.

        Returns
        -------
        HybridRegressor
            Itself.

        Raises
        ------
        InputMismatch
            If the columns are others than the model's.
        ConfigurationError
            If the output cannot be found.
        """
        self._check_model()
        read_columns(self, X)
        if y is not None:
            read_numbers(X, y)
        self._output = number_output(self.model, self.output).name
        return self

    def predict(self, X: Data, *, use_azure: UseAzure = None) -> Array:
        """Return the number, or numbers, of each row.

        Parameters and errors are those of `HybridClassifier.predict`.

        Returns
        -------
        ndarray of shape (n,) or (n, k)
            One number for a model whose output has the shape (n, 1).
        """
        name = vars(self).get("_output") or number_output(self.model, self.output).name
        values = self._ask(X, name, use_azure)
        return values[:, 0] if values.shape[1:] == (1,) else values

    def score(
        self, X: Data, y: Column, sample_weight: Column | None = None, *, use_azure: UseAzure = None
    ) -> float:
        """Return the coefficient of determination R²; parameters as in `HybridClassifier.score`."""
        answers = self.predict(X, use_azure=use_azure)
        return float(r2_score(y, answers, sample_weight=sample_weight))

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.target_tags.required = False
        tags.regressor_tags.poor_score = True  # It was trained on other rows.
        shape = number_output(self.model, self.output).shape
        tags.target_tags.multi_output = len(shape) == 2 and shape[1] != 1
        tags.target_tags.single_output = not tags.target_tags.multi_output
        return tags
