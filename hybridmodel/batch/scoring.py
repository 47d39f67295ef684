"""Scores record batches: the kept columns of the input, followed by the predictions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.answer import PROVENANCE
from hybridmodel.batch.columns import Columns, check_apart, split
from hybridmodel.batch.patience import Patience
from hybridmodel.batch.summary import Counts
from hybridmodel.data.answer import Answer
from hybridmodel.data.outputs import columns_of
from hybridmodel.data.tensors import ModelSpec
from hybridmodel.switch import AZURE

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Scores record batches; safe to share between threads."""

    model: HybridOnnxModel
    policy: Any
    columns: Columns = field(default_factory=Columns)
    output: str | None = None
    timeout_s: float | None = None
    provenance: bool = False
    where: str = "the input"
    patience: Patience = field(default_factory=lambda: Patience(away_s=0.0))

    def __call__(self, batch: Any) -> tuple[Any, Counts]:
        """Return the scored batch, in the order of the rows, and the counts of who answered.

        Raises `InputMismatch` or `ConfigurationError` or `EndpointError` or `SpecMismatch` as
        `HybridOnnxModel.infer`; `ConfigurationError` also if a column name occurs twice.
        """
        features, kept = split(batch, self.columns, self.model, self.where)
        answer, refused = self.patience(lambda: self.answer(features))
        counts = counts_of(answer, batch.num_rows)
        if refused:
            counts = replace(counts, resent=refused * counts.remote)
        return self.assembled(kept, answer, batch.num_rows), counts

    def answer(self, features: Any) -> Answer:
        """Return the answer of the model for features."""
        return self.model.infer(
            features, mode=self.policy, output=self.output, timeout=self.timeout_s
        )

    def assembled(self, kept: Any, answer: Answer, rows: int) -> Any:
        """Append predictions, and their provenance if wanted, to the kept columns."""
        import pyarrow as pa

        from hybridmodel.data.arrow import as_arrow

        columns = columns_of(self.model.spec, answer.outputs, rows)
        if self.provenance:
            scores = np.full(rows, np.nan) if answer.scores is None else answer.scores
            columns |= dict(zip(PROVENANCE, (answer.routes, scores, answer.reasons), strict=True))
        check_apart(kept.schema.names, columns, self.columns)
        arrays = [*kept.columns, *map(as_arrow, columns.values())]
        return pa.RecordBatch.from_arrays(arrays, [*kept.schema.names, *columns])


def counts_of(answer: Answer, rows: int) -> Counts:
    """Count the local and the remote rows of an answer."""
    if answer.remote_rows is not None:
        remote = int(np.count_nonzero(answer.remote_rows))
    else:
        remote = rows if answer.route == AZURE else 0
    return Counts(rows=rows, local=rows - remote, remote=remote)


def can_be_split(spec: ModelSpec) -> bool:
    """Tell whether a model answers each row by itself, so that rows may go in batches."""
    return all(tensor.batched for tensor in (*spec.inputs, *spec.outputs))
