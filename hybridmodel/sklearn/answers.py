"""How the outputs of a model answer what scikit-learn asks a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hybridmodel.cascade.formatting import some
from hybridmodel.cascade.scores import listed
from hybridmodel.data.tensors import Array, TensorSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.model import HybridOnnxModel
from hybridmodel.sklearn.classes import Classes, named_by_model, settle
from hybridmodel.sklearn.outputs import (
    are_probabilities,
    column,
    label_output,
    proba_output,
    table,
    width,
)


@dataclass(frozen=True)
class Answers:
    """What a classifier answers with.

    Attributes
    ----------
    label : str or None
        The output with a class for each row.
    scores : str or None
        The output with a number for each class.
    classes : Classes or None
        None while they are not known.
    has_probabilities : bool
        Whether the numbers are probabilities, and not decision values.
    """

    label: str | None
    scores: str | None
    classes: Classes | None
    has_probabilities: bool = True

    def table(self, values: Array) -> Array:
        """Return the numbers of an answer, a column for each class in sorted order."""
        found = table(values, str(self.scores), of_probabilities=self.has_probabilities)
        return found if self.classes is None else self.classes.sort(found)

    @property
    def reads_labels(self) -> bool:
        """Whether the label answers; else the largest number does."""
        classes = self.classes
        hides_names = classes is not None and classes.is_encoded and classes.labels is None
        return self.label is not None and not hides_names


def known(model: HybridOnnxModel, label: str | None, proba: str | None, given: Any) -> Answers:
    """Return what can be said without a sample; the other parameters are those of `learned`."""
    found, scores = _outputs(model, label, proba)
    columns = None if scores is None else width(scores)
    try:
        classes = settle(named_by_model(model, scores), given, None, columns)
    except ConfigurationError:  # `fit` raises it.
        classes = None
    return Answers(_name(found), _name(scores), classes)


def learned(
    model: HybridOnnxModel,
    label: str | None,
    proba: str | None,
    given: Any,
    y: Array | None,
    rows: Mapping[str, Array],
) -> Answers:
    """Return what is known after a sample.

    Parameters
    ----------
    model : HybridOnnxModel
        Its local model is run.
    label, proba : str or None
        The names of outputs that the caller gives.
    given : sequence, "encoded" or None
        The classes that the caller gives.
    y : ndarray of shape (n,), or None
        The labels of the sample.
    rows : mapping of str to ndarray
        A few rows as tensors.

    Raises
    ------
    ConfigurationError, InputMismatch
        If outputs, classes and labels do not go together.
    """
    found, scores = _outputs(model, label, proba)
    wanted = [item.name for item in (found, scores) if item is not None]
    outputs = model.local.run(rows, wanted)
    columns, has_probabilities = None, True
    if scores is not None:
        values = outputs[scores.name]
        columns, has_probabilities = table(values, scores.name).shape[1], are_probabilities(values)
    classes = settle(named_by_model(model, scores), given, y, columns)
    made = Answers(_name(found), _name(scores), classes, has_probabilities)
    if found is None or not made.reads_labels:
        return made
    labels = column(outputs[found.name], found.name)
    _check_labels(labels, classes)
    return made if scores is None else _in_order(made, classes, labels, outputs[scores.name])


def _outputs(
    model: HybridOnnxModel, label: str | None, proba: str | None
) -> tuple[TensorSpec | None, TensorSpec | None]:
    found, scores = label_output(model, label), proba_output(model, proba)
    if found is None and scores is None:
        raise ConfigurationError(
            "nothing tells which output has the classes: name one with label_output='NAME' or "
            f"proba_output='NAME'; {listed(model.spec)}"
        )
    return found, scores


def _name(output: TensorSpec | None) -> str | None:
    return None if output is None else output.name


def _in_order(made: Answers, classes: Classes, labels: Array, values: Array) -> Answers:
    """Return answers whose largest number is where the label is.

    Converters turn the sign of the decision values of some classifiers of two classes around.
    Probabilities may contradict the label of a row now and then, as those of a ``SVC`` do.
    """
    names = classes.known
    best = names[made.table(values).argmax(axis=1)]
    agreed = int((best == labels).sum())
    if 2 * agreed >= len(labels):
        return made
    if len(names) == 2 and not made.has_probabilities:
        return replace(made, classes=classes.reversed())
    raise ConfigurationError(
        f"the columns of output {made.scores!r} are not those of the classes "
        f"{some(names.tolist())}: only {agreed} of {len(labels)} rows have their largest number "
        "where their label is; pass classes=[...] in the order of the columns"
    )


def _check_labels(labels: Array, classes: Classes) -> None:
    """Raise if the local model answers nothing but other classes."""
    names = classes.known.tolist()
    answered = sorted(set(labels.tolist()))
    if not set(answered) & set(names):
        raise InputMismatch(
            f"the local model answers {some(answered)} to the rows given, which is none of the "
            f"classes {some(names)}; pass y with the model's classes"
        )
