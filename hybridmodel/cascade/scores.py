"""How sure a model is of each row: one number from its outputs, larger for surer.

===================  =======================================================  ============
kind                 of a row with the probabilities p1 >= p2 >= … >= pk       range
===================  =======================================================  ============
``max_probability``  p1                                                       0 … 1
``margin``           p1 - p2                                                  0 … 1
``entropy``          1 - H / ln k, where H = -(p1 ln p1 + … + pk ln pk)        0 … 1
``confidence``       the named output as it is                                any number
``uncertainty``      minus the named output, which is larger for less sure    any number
===================  =======================================================  ============

A row whose score lies under the threshold, or is no number, is not sure enough (`escalated`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hybridmodel.cascade.probabilities import by_class, entropy, flaw, margin, max_probability
from hybridmodel.checks import shown
from hybridmodel.data.json_records import flag, nullable, read_record, text
from hybridmodel.data.tensors import WILDCARD, Array, ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError, SpecMismatch

Function = Callable[[Mapping[str, Array]], Any]

FUNCTION = "function"
NAMED = ("confidence", "uncertainty")

_FROM_PROBABILITIES: Mapping[str, Callable[[Array], Array]] = {
    "max_probability": max_probability,
    "margin": margin,
    "entropy": entropy,
}

# What is stored of a score, and how it is read.
_STORED: Mapping[str, Callable[[Any], Any]] = {
    "kind": text,
    "output": nullable(text),
    "logits": flag,
    "name": nullable(text),
}


@dataclass(frozen=True)
class Score:
    """A rule that makes the confidence of each row from a model's outputs.

    Attributes
    ----------
    kind : str
        ``max_probability``, ``margin``, ``entropy``, ``confidence``, ``uncertainty``, or
        ``function``.
    output : str or None
        The output it is made from. None stands for the only one of floats and shape (n, k), which
        `check` fills in.
    logits : bool
        Whether that output holds logits, which softmax (for one column the logistic function)
        turns into probabilities.
    function : callable or None
        For ``function``: takes the outputs by name and returns n numbers. It is not stored; what is
        stored is its name.
    name : str or None
        For ``function``: ``module:qualified name``.

    Raises
    ------
    ConfigurationError
        If the parts do not go together.
    """

    kind: str
    output: str | None = None
    logits: bool = False
    function: Function | None = field(default=None, compare=False, repr=False)
    name: str | None = None

    def __post_init__(self) -> None:
        known = (*_FROM_PROBABILITIES, *NAMED, FUNCTION)
        if self.kind not in known:
            raise ConfigurationError(f"score {self.kind!r} is not one of {', '.join(known)}")
        if self.logits and self.kind not in _FROM_PROBABILITIES:
            raise ConfigurationError(f"score {self.kind!r} is not made from logits")
        if self.kind == FUNCTION and self.function is not None:
            object.__setattr__(self, "name", name_of(self.function))

    def __str__(self) -> str:
        source = self.name if self.kind == FUNCTION else self.output
        return self.kind + (f":{source}" if source else "") + (" of logits" if self.logits else "")

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible score."""
        return (0.0, 1.0) if self.kind in _FROM_PROBABILITIES else (-math.inf, math.inf)

    def check(self, spec: ModelSpec, vectors: Collection[str] = ()) -> Score:
        """Return this score with its output filled in; `vectors` are outputs that are embeddings.

        Raises
        ------
        ConfigurationError
            If a model with these outputs cannot give it; lists the outputs.
        """
        if self.kind == FUNCTION:
            return self
        if self.output is None:
            found = replace(self, output=_only_table(self.kind, spec).name)
            return found.check(spec, vectors)
        output = spec.output(self.output)
        if self.kind in NAMED:
            fits = output.dtype.kind in "fiu" and is_column(output)
            wanted = "numbers of shape [?] or [?, 1]"
        else:
            fits = output.dtype.kind == "f" and len(output.shape) in (1, 2)
            fits = fits and output.name not in vectors
            wanted = "floats of shape [?], [?, 1] or [?, classes], one for each class"
        if not fits:
            raise ConfigurationError(
                f"score {self.kind!r} is made from {wanted}, not from {output}; {listed(spec)}"
            )
        return self

    def check_threshold(self, threshold: Any) -> float:
        """Return a threshold as a float.

        Infinity sends every row to the endpoint, minus infinity only those without a score.

        Raises
        ------
        ConfigurationError
            If it is no number, or outside of `range`.
        """
        low, high = self.range
        try:
            value = float(threshold)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if isinstance(threshold, (bool, str)) or not (low <= value <= high or math.isinf(value)):
            raise ConfigurationError(
                f"the threshold for score {str(self)!r} has to be a number from {low:g} to "
                f"{high:g} (or infinity, to escalate everything); got {shown(threshold)}"
            )
        return value

    def needs(self, spec: ModelSpec) -> tuple[str, ...]:
        """Return the names of the outputs that it reads: for a function, all."""
        return spec.output_names if self.output is None else (self.output,)

    def of(self, outputs: Mapping[str, Array], rows: int | None = None) -> Array:
        """Compute the score of each row.

        Parameters
        ----------
        outputs : mapping of str to ndarray
            At least those that `needs` names.
        rows : int, optional
            How many are expected.

        Returns
        -------
        ndarray of float64, shape (n,)
            NaN for rows without a score, such as those with a NaN in them; never infinite.

        Raises
        ------
        ConfigurationError
            If the output holds no probabilities, or a function returns anything but n numbers.
        """
        try:
            scores = self._called(outputs) if self.kind == FUNCTION else self._read(outputs)
        except ConfigurationError as error:
            raise ConfigurationError(f"score {str(self)!r}: {error}") from None
        if rows is not None and len(scores) != rows:
            raise ConfigurationError(f"score {str(self)!r}: {len(scores)} scores for {rows} rows")
        return scores

    def check_endpoint(self, outputs: Mapping[str, Array]) -> None:
        """Make sure that the endpoint answers probabilities if the score reads local ones.

        Classifiers without probabilities, such as support vector machines, give decision values
        under the same name; the rows of both models must not be mixed in one column.

        Parameters
        ----------
        outputs : mapping of str to ndarray
            What the endpoint answered; the score's own output may be missing.

        Raises
        ------
        SpecMismatch
            If rows do not add up to 1, or have values below 0.
        """
        values = outputs.get(self.output or "")
        if values is None or self.logits or self.kind not in _FROM_PROBABILITIES:
            return
        found = flaw(values)
        if found is not None:
            raise SpecMismatch(
                f"output {self.output!r}: the local model gives probabilities, the endpoint's "
                f"model does not; {found}. Serve a model that does (in scikit-learn, "
                "CalibratedClassifierCV makes them for any classifier), or ask for another output "
                "with output=..."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, in JSON's types."""
        return {name: getattr(self, name) for name in _STORED}

    def to_store(self) -> dict[str, Any]:
        """Return the same for a policy that is stored with a model.

        Raises
        ------
        ConfigurationError
            If it is a function.
        """
        if self.function is not None:
            raise ConfigurationError(
                f"the score function {self.name} cannot be stored with a model; use a score "
                "by name, or give the policy with each call"
            )
        return self.to_dict()

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Score:
        """Read what `to_dict` wrote; a function has to be given again.

        Raises
        ------
        ConfigurationError
            If it is not the description of a score.
        """
        return read_record(cls, stored, _STORED)

    def _called(self, outputs: Mapping[str, Array]) -> Array:
        if self.function is None:
            raise ConfigurationError(
                f"the function {self.name}, which is not stored with the model, has to be passed "
                "again"
            )
        scores = np.asarray(self.function(outputs))
        if scores.ndim != 1 or scores.dtype.kind not in "fiub":
            raise ConfigurationError(
                "the function has to return one number for each row; it returned "
                f"{scores.dtype} of shape {list(scores.shape)}"
            )
        return finite(scores)

    def _read(self, outputs: Mapping[str, Array]) -> Array:
        values = outputs.get(self.output or "")
        if values is None:
            raise ConfigurationError(
                f"the output is not there; available: {', '.join(map(repr, outputs))}"
            )
        if self.kind not in NAMED:
            return _FROM_PROBABILITIES[self.kind](by_class(values, logits=self.logits))
        column = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if column.ndim != 1:
            raise ConfigurationError(
                f"the output has to hold one number for each row; its shape is {list(values.shape)}"
            )
        scores = finite(column)
        return scores if self.kind == "confidence" else -scores


def as_score(value: Any) -> Score:
    """Make a score of what a caller may give for one.

    Parameters
    ----------
    value : Score, str or callable
        A kind such as ``"margin"``, a kind and an output such as ``"margin:probabilities"`` or
        ``"uncertainty:std"``, or a function of the outputs by name that returns n numbers.

    Raises
    ------
    ConfigurationError
        If it is none of these.
    """
    if isinstance(value, Score):
        return value
    if callable(value):
        return Score(FUNCTION, function=value)
    if not isinstance(value, str):
        raise ConfigurationError(
            f"score has to be a name, a Score or a function, not a {type(value).__name__}"
        )
    kind, _, output = value.partition(":")
    if kind == FUNCTION:
        raise ConfigurationError("pass a score function itself, not its name")
    return Score(kind, output or None)


def escalated(scores: Array, threshold: float) -> Array:
    """Tell for each row whether it is not sure enough: under the threshold, or without a score.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    return ~(scores >= threshold)


def finite(scores: Array) -> Array:
    """Return scores as new float64, NaN instead of infinities.

    No row is infinitely sure: one above a threshold of infinity would be kept where all are to go.
    """
    made = np.array(scores, dtype=np.float64)
    made[~np.isfinite(made)] = np.nan
    return made


def name_of(function: Any) -> str:
    """Return ``module:qualified name`` of a function, or that of its type."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def is_column(spec: TensorSpec) -> bool:
    """Tell whether an output may hold one value for each row: shape ``[?]`` or ``[?, 1]``."""
    return len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] in (1, WILDCARD))


def listed(spec: ModelSpec) -> str:
    """List a model's outputs for a message."""
    return f"the model's outputs are {', '.join(map(str, spec.outputs))}"


def _only_table(kind: str, spec: ModelSpec) -> TensorSpec:
    tables = [item for item in spec.outputs if item.dtype.kind == "f" and len(item.shape) == 2]
    if kind not in NAMED and len(tables) == 1:
        return tables[0]
    why = "needs the name of an output"
    if kind not in NAMED:
        why = f"needs floats of shape [?, classes], of which there are {len(tables)}: name one"
    raise ConfigurationError(f"score {kind!r} {why}, as in '{kind}:NAME'; {listed(spec)}")
