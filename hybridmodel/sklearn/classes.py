"""The classes of a classifier, and which column of its probabilities each of them has.

scikit-learn's metrics take for granted that the columns are in the sorted order of the classes, so
they are put in that order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybridmodel.cascade.formatting import some
from hybridmodel.checks import shown
from hybridmodel.data.tensors import Array, TensorSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch, SpecMismatch
from hybridmodel.model import HybridOnnxModel

CLASSES = "hybridmodel.classes"
"""A property in the metadata of an ONNX file: the classes as a JSON list, in the columns' order."""

ENCODED = "encoded"
"""Instead of names: if y has their positions in sorted order, as ``LabelEncoder`` makes them of
classes, the answers are positions as well."""


@dataclass(frozen=True)
class Classes:
    """The classes of a classifier.

    Attributes
    ----------
    names : ndarray of shape (k,)
        What `predict` answers, sorted: scikit-learn's ``classes_``.
    order : ndarray of int, shape (k,), or None
        The columns of the model's output in the order of `names`; None if they are in it already.
    labels : ndarray of shape (k,), or None
        Where classes are encoded, what the model calls them, sorted; None if it has no names.
    is_encoded : bool
        Whether `names` are positions.
    """

    names: Array
    order: Array | None = None
    labels: Array | None = None
    is_encoded: bool = False

    @property
    def known(self) -> Array:
        """What the model calls the classes, in the order of `names`."""
        return self.names if self.labels is None else self.labels

    def reversed(self) -> Classes:
        """Return two classes with each other's columns."""
        return replace(self, order=np.array([1, 0]) if self.order is None else None)

    def sort(self, values: Array) -> Array:
        """Put the columns of an output in the order of the names.

        Raises
        ------
        SpecMismatch
            If there are not as many columns as classes.
        """
        if values.shape[1] != len(self.names):
            raise SpecMismatch(
                f"the answer has {values.shape[1]} columns for the {len(self.names)} classes "
                f"{some(self.names.tolist())}"
            )
        return values if self.order is None else values[:, self.order]

    def answer(self, labels: Array) -> Array:
        """Return the model's labels as `predict` answers them.

        Raises
        ------
        SpecMismatch
            If classes are encoded, and a label is none of them.
        """
        if not self.is_encoded or self.labels is None:
            return labels
        unknown = set(labels.tolist()).difference(self.labels.tolist())
        if unknown:
            raise SpecMismatch(
                f"the model answered {some(sorted(unknown))}, which is none of its classes "
                f"{some(self.labels.tolist())}"
            )
        return np.searchsorted(self.labels, labels)


def named_by_model(model: HybridOnnxModel, output: TensorSpec | None) -> list[Any] | None:
    """Return the classes that a model knows, in the order of its columns: of a ZipMap, or stored.

    Raises
    ------
    ConfigurationError
        If what is stored is no list of classes.
    """
    if output is not None and output.labels:
        return list(output.labels)
    stored = model.session.get_modelmeta().custom_metadata_map.get(CLASSES)
    return None if stored is None else _stored(stored)


def settle(known: list[Any] | None, given: Any, y: Array | None, columns: int | None) -> Classes:
    """Return the classes: those that the model knows, else those that are given, else those of y.

    Parameters
    ----------
    known : list or None
        What the model knows, in the order of its columns.
    given : sequence or "encoded", optional
        What the caller says.
    y : ndarray of shape (n,), or None
        Labels of a sample.
    columns : int or None
        How many classes the model's output has, where that is known.

    Raises
    ------
    ConfigurationError
        If they contradict each other, or there is nothing to take them from.
    InputMismatch
        If `y` has others.
    """
    names = _agreed(known, _read(given))
    if isinstance(given, str) and not _has_names(y, names):
        made = _encoded(names, columns)
    elif names is not None:
        made = _sorted(names)
    elif y is not None:
        made = Classes(np.unique(y))
    else:
        raise ConfigurationError(
            "this estimator requires y to be passed, but the target y is None, and the model does "
            "not name its classes: pass y to fit, or classes=[...]"
        )
    _check_count(made.names, columns, known, given)
    if y is not None:
        _check_known(made, y)
    return made


def _read(given: Any) -> list[Any] | None:
    if given is None or (isinstance(given, str) and given == ENCODED):
        return None
    names = [] if isinstance(given, str) else np.asarray(given).tolist()
    if not isinstance(names, list) or len(set(map(str, names))) < max(len(names), 2):
        raise ConfigurationError(
            f"classes is a list of at least two different classes, or {ENCODED!r}, not "
            f"{shown(given)}"
        )
    return names


def _stored(text: str) -> list[Any]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not _are_classes(names):
        raise ConfigurationError(
            f"the metadata {CLASSES!r} of the ONNX file is a JSON list of different texts, or of "
            f"different whole numbers, not {shown(text)}"
        )
    return names


def _are_classes(names: list[Any]) -> bool:
    kinds = {type(name) for name in names}
    return kinds in ({str}, {int}) and len(set(names)) == len(names)


def _agreed(known: list[Any] | None, given: list[Any] | None) -> list[Any] | None:
    if known is not None and given is not None and set(known) != set(given):
        raise ConfigurationError(
            f"classes are {some(given)}, but the model's are {some(known)}; leave classes out, or "
            f"pass {ENCODED!r} where another estimator encodes y"
        )
    return given if known is None else known


def _sorted(names: list[Any]) -> Classes:
    array = as_labels(names)
    order = np.argsort(array, kind="stable")
    is_sorted = bool((order == np.arange(len(order))).all())
    return Classes(array[order], None if is_sorted else order)


def _has_names(y: Array | None, names: list[Any] | None) -> bool:
    """Tell whether y has the names of classes, and not their positions."""
    if y is None or names is None:
        return False
    found = set(np.unique(y).tolist())
    return found <= set(names) and not found <= set(range(len(names)))


def _encoded(names: list[Any] | None, columns: int | None) -> Classes:
    if names is not None:
        found = _sorted(names)
        return Classes(np.arange(len(names)), found.order, found.names, is_encoded=True)
    if columns is not None:
        return Classes(np.arange(columns), is_encoded=True)
    raise ConfigurationError(
        f"classes={ENCODED!r} needs a model that names its classes, or has probabilities"
    )


def _check_count(names: Array, columns: int | None, known: Any, given: Any) -> None:
    if columns is None or columns == len(names):
        return
    source = "y has" if known is None and given is None else "there are"
    only = "Only binary classification is supported by this model: " if columns == 2 else ""
    raise ConfigurationError(
        f"{only}{source} {len(names)} classes ({some(names.tolist())}), but the model answers with "
        f"{columns} columns; pass all classes in the order of its columns: classes=[...]"
    )


def _check_known(made: Classes, y: Array) -> None:
    names = made.names.tolist()
    unknown = sorted(set(np.unique(y).tolist()).difference(names), key=str)
    if not unknown:
        return
    hint = "pass y with the model's classes"
    if not made.is_encoded and unknown == list(range(len(unknown))):
        hint += (
            f", or classes={ENCODED!r} where another estimator encodes them, as VotingClassifier "
            "and cross_val_predict do"
        )
    raise InputMismatch(
        f"y has the classes {some(unknown)}, which the model does not have; its classes are "
        f"{some(names)}; {hint}"
    )


def as_labels(names: Iterable[Any]) -> Array:
    """Return classes as an array; texts as objects, since numpy's own texts are cut to a length."""
    found = list(names)
    return np.array(found, dtype=object if isinstance(found[0], str) else None)
