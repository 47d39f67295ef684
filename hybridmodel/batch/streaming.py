"""`predict_batches`: scores record batches lazily."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from hybridmodel.batch.columns import Columns
from hybridmodel.batch.pipeline import Piece, scored
from hybridmodel.batch.scoring import Scorer

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel


def predict_batches(
    model: HybridOnnxModel,
    reader: Iterable[Any],
    *,
    use_azure: Any = None,
    mode: Any = None,
    keep: Iterable[str] = (),
    keep_input: bool = False,
    output: str | None = None,
    timeout: float | None = None,
    provenance: bool = False,
    workers: int = 1,
) -> Iterator[Any]:
    """Score record batches one after the other, lazily.

    Parameters
    ----------
    model : HybridOnnxModel
        Answers.
    reader : iterable of pyarrow.RecordBatch
        Such as a `pyarrow.RecordBatchReader`; read as the answers are taken.
    use_azure, mode, output, timeout, provenance : optional
        As `HybridOnnxModel.predict` takes them.
    keep : iterable of str
        Columns of the input to put before the predictions.
    keep_input : bool, default=False
        Keep all columns.
    workers : int, default=1
        Threads that score.

    Yields
    ------
    pyarrow.RecordBatch
        In the order of the rows.

    Raises
    ------
    InputMismatch, ConfigurationError, EndpointError, SpecMismatch
        As `HybridOnnxModel.predict`.
    """
    scorer = Scorer(
        model=model,
        policy=model.policies.for_call(use_azure, mode),
        columns=Columns(keep=tuple(keep), keep_input=keep_input),
        output=output,
        timeout_s=timeout,
        provenance=provenance,
    )
    pieces = (Piece(0, batch) for batch in reader)
    for result in scored(pieces, scorer, workers):
        yield result.batch
