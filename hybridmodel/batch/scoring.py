"""A record batch becomes a scored one: predictions, with what is kept of the input before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.answer import PROVENANCE
from hybridmodel.batch.summary import Counts
from hybridmodel.data.answer import Answer
from hybridmodel.data.outputs import columns_of
from hybridmodel.data.tensors import ModelSpec

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns of the input are features, and which are kept beside the predictions.

    Parameters
    ----------
    ids : tuple of str
        Kept, and no features.
    keep : tuple of str
        Kept; features too where the model knows its features' names and this is one.
    keep_input : bool, default=False
        Keep all columns.
    ignore_extra : bool, default=False
        Leave out columns that the model does not take.
    """

    ids: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    keep_input: bool = False
    ignore_extra: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Scores record batches; safe to share between threads.

    Parameters
    ----------
    model : HybridOnnxModel
        Answers.
    policy : Policy or callable
        As ``model.policies.for_call`` returns it.
    columns : Columns
        What is a feature, and what is kept.
    output : str, optional
        The only output of the model that is wanted.
    timeout_s : float, optional
        Total time of a call to the endpoint.
    provenance : bool, default=False
        Add the route, score and reason of each row.
    """

    model: HybridOnnxModel
    policy: Any
    columns: Columns = Columns()
    output: str | None = None
    timeout_s: float | None = None
    provenance: bool = False

    def __call__(self, batch: Any) -> tuple[Any, Counts]:
        """Return the scored batch, in the order of the rows, and who has answered them.

        Raises
        ------
        InputMismatch, ConfigurationError, EndpointError, SpecMismatch
            As `HybridOnnxModel.infer`; ConfigurationError too where a column is there twice.
        """
        features, kept = split(batch, self.columns, self.model)
        answer = self.answer(features)
        return self.assembled(kept, answer, batch.num_rows), counts_of(answer, batch.num_rows)

    def answer(self, features: Any) -> Answer:
        """Return what the model says of features."""
        return self.model.infer(
            features, mode=self.policy, output=self.output, timeout=self.timeout_s
        )

    def assembled(self, kept: Any, answer: Answer, rows: int) -> Any:
        """Put predictions, and where wanted their provenance, behind what is kept."""
        import pyarrow as pa

        from hybridmodel.data.arrow import as_arrow

        columns = columns_of(self.model.spec, answer.outputs, rows)
        if self.provenance:
            scores = np.full(rows, np.nan) if answer.scores is None else answer.scores
            columns |= dict(zip(PROVENANCE, (answer.routes, scores, answer.reasons), strict=True))
        arrays = [*kept.columns, *map(as_arrow, columns.values())]
        return pa.RecordBatch.from_arrays(arrays, [*kept.schema.names, *columns])


def split(batch: Any, columns: Columns, model: HybridOnnxModel) -> tuple[Any, Any]:
    """Return the features of a batch, and the columns that are kept."""
    names = batch.schema.names
    kept = [name for name in names if columns.keep_input or name in (*columns.ids, *columns.keep)]
    known = model.feature_names or []
    apart = {*columns.ids, *(name for name in columns.keep if name not in known)}
    features = [name for name in names if name not in apart]
    return batch.select(features), batch.select(kept)


def counts_of(answer: Answer, rows: int) -> Counts:
    """Return who has answered how many rows."""
    if answer.remote_rows is not None:
        remote = int(np.count_nonzero(answer.remote_rows))
    else:
        remote = rows if answer.route == "azure" else 0
    return Counts(rows=rows, local=rows - remote, remote=remote)


def can_be_split(spec: ModelSpec) -> bool:
    """Tell whether a model answers each row by itself, so that rows may go in batches."""
    return all(tensor.batched for tensor in (*spec.inputs, *spec.outputs))
