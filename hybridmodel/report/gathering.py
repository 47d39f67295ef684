"""Asks both routes for the same rows, and keeps what a report shows."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.cascade.loss_functions import facts_of
from hybridmodel.compare.comparison import Comparison
from hybridmodel.compare.values import plain
from hybridmodel.compare.vectors import COSINE
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.report.findings import Durations, Findings, Row
from hybridmodel.report.subject import subject_of
from hybridmodel.report.verdicts import Column, escalation, judged_rows, labelled, numbers

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.model import HybridOnnxModel

Outputs = Mapping[str, Array]
_Times = tuple[list[float], list[float]]

_SHOWN_INPUTS = 200  # Input columns shown of a row on which the routes disagree, at most.
_TIMED_ROWS = 100
_BY_ROW, _BY_SCORE = "in the order of the rows", "first those of which the local model is surest"


class Gatherer:
    """Asks both routes of a model, frame by frame.

    Keeps score, label and both answers of every row, and the inputs of some that differ.

    Parameters
    ----------
    model : HybridOnnxModel
        With an endpoint.
    score : Score, str or callable, optional
        How sure the local model is; by default that of the model's cascade, else ``"margin"``.
    answer : str, optional
        The output acted upon, where several may be.
    tolerance : float, optional
        For numbers: the largest difference that does not matter.
    cosine : float, optional
        For the vectors of an embeddings endpoint: the largest cosine distance that does not matter.
    shown : int, optional
        Rows on which the routes disagree that are kept with their inputs, at most.
    timeout_s : float, optional
        Total time of a call to the endpoint.

    Attributes
    ----------
    subject : Subject
        The answer and the score that the report is about.
    versions : set of str
        The versions of the endpoint's model that answered.
    rows : int
        Rows so far.

    Raises
    ------
    ConfigurationError
        If the model has no endpoint, or cannot give what is asked for.
    """

    def __init__(
        self,
        model: HybridOnnxModel,
        *,
        score: Any = None,
        answer: str | None = None,
        tolerance: float | None = None,
        cosine: float | None = None,
        shown: int = 50,
        timeout_s: float | None = None,
    ) -> None:
        self.subject = subject_of(model, score=score, answer=answer, tolerance=tolerance)
        self.versions: set[str] = set()
        self.rows = 0
        self._model, self._timeout_s, self._shown = model, timeout_s, shown
        self._is_scored = score is not None
        self._by_rows = all(item.batched for item in (*model.spec.inputs, *model.spec.outputs))
        model.client.endpoint  # noqa: B018 - raises where there is none
        judged = {} if self.subject.judge is None else facts_of(self.subject.judge)
        vectors = model.client.vectors
        self._comparison = Comparison(
            model.spec,
            answer=judged.get("answer"),
            tolerance=judged.get("tolerance"),
            vectors=vectors,
            cosine=COSINE if cosine is None else cosine,
        )
        # An endpoint of vectors answers one output at a time.
        self._output = (answer or vectors[0]) if vectors else None
        self._columns: list[Column] = []
        self._kept: list[Row] = []
        self._score_error = self.subject.why_no_score
        self._batches_s: _Times = ([], [])
        self._singles_s: _Times = ([], [])
        self._timed: list[pd.DataFrame] = []
        self._largest = 0

    def add(self, frame: pd.DataFrame, labels: pd.Series[Any] | None = None) -> None:
        """Ask for the rows of a frame.

        Parameters
        ----------
        frame : DataFrame
            As `HybridOnnxModel.predict` takes it; none of its rows is changed.
        labels : Series, optional
            The right answers.

        Raises
        ------
        InputMismatch
            If rows or labels do not fit the model.
        EndpointError
            One of its kinds, when the endpoint did not answer.
        """
        if len(frame) == 0:
            return
        if self.rows == 0 and self._by_rows:
            self._timed = [frame.iloc[at : at + 1] for at in range(min(len(frame), _TIMED_ROWS))]
            self._both(self._timed[0], ([], []))  # Loads the model and opens a connection.
        right = None if labels is None else self.subject.labels(labels)
        local, remote = self._both(frame, self._batches_s)
        rows = len(frame) if self._by_rows else None
        differ = self._comparison.add(local, remote, rows=rows)
        if rows is not None:
            read = (lambda _: None) if self.subject.reader is None else self.subject.reader.read
            scores = self._scores(local, rows)
            self._columns.append(Column(read(local), read(remote), right, scores, differ))
            self._keep(frame, local, remote)
        self._largest = max(self._largest, len(frame))
        self.rows += len(frame)

    def time(self, calls: int) -> None:
        """Time calls of one row each, taken from the first, on both routes in turn."""
        for row in islice(cycle(self._timed), calls):
            self._both(row, self._singles_s)

    def findings(self, title: str, facts: tuple[tuple[str, str], ...] = ()) -> Findings:
        """Return all that a report shows; `facts` are what the page says about its origin."""
        if not self.rows:
            raise InputMismatch("there are no rows, so there is nothing to report")
        column = Column.joined(self._columns)
        judged = judged_rows(self.subject, column)
        curve, why = escalation(self.subject, column, judged, self._score_error)
        return Findings(
            title=title,
            facts=facts,
            summary=self._comparison.summary(),
            durations=self._durations(),
            labelled=labelled(self.subject, column, judged),
            numbers=numbers(self.subject, column),
            escalation=curve,
            why_no_curve=why,
            rows=tuple(self._kept),
            rows_order=_BY_ROW if column.scores is None else _BY_SCORE,
        )

    def _both(self, frame: pd.DataFrame, times: _Times) -> tuple[Outputs, Outputs]:
        local = self._model.infer(frame, use_azure=False, output=self._output)
        remote = self._model.infer(
            frame, use_azure=True, output=self._output, timeout=self._timeout_s
        )
        self.versions.add(remote.model_version or "not said")
        times[0].append(local.elapsed_s)
        times[1].append(remote.elapsed_s)
        return local.outputs, remote.outputs

    def _scores(self, local: Outputs, rows: int) -> Array | None:
        if self.subject.score is None or self._score_error:
            return None
        try:
            return self.subject.score.of(local, rows)
        except ConfigurationError as error:
            if self._is_scored:
                raise
            self._score_error = str(error)
            return None

    def _keep(self, frame: pd.DataFrame, local: Outputs, remote: Outputs) -> None:
        """Keep rows that differ: the surest where there are scores, else the first."""
        column = self._columns[-1]
        places = np.flatnonzero(column.differ)
        if column.scores is not None:
            places = places[np.argsort(-column.scores[places], kind="stable")]  # NaN last
        for place in places[: self._shown].tolist():
            score = math.nan if column.scores is None else float(column.scores[place])
            shown = enumerate(frame.columns[:_SHOWN_INPUTS])
            self._kept.append(
                Row(
                    position=self.rows + place,
                    local=_answer(column.local, local, place),
                    remote=_answer(column.remote, remote, place),
                    score=None if math.isnan(score) else score,
                    label=None if column.labels is None else plain(column.labels[place]),
                    inputs={str(name): plain(frame.iloc[place, at]) for at, name in shown},
                )
            )
        self._kept = heapq.nlargest(self._shown, self._kept, key=_surest)

    def _durations(self) -> Durations:
        local_s, remote_s = self._singles_s if self._singles_s[0] else self._batches_s
        local_sum_s, remote_sum_s = map(sum, self._batches_s)
        return Durations(
            local_s=tuple(local_s),
            remote_s=tuple(remote_s),
            of_one_row=bool(self._singles_s[0]),
            local_rows_per_s=self.rows / max(local_sum_s, 1e-9),
            remote_rows_per_s=self.rows / max(remote_sum_s, 1e-9),
            batch_rows=self._largest,
        )


def _surest(row: Row) -> tuple[float, int]:
    return -math.inf if row.score is None else row.score, -row.position


def _answer(column: Array | None, outputs: Outputs, place: int) -> Any:
    if column is not None:
        return plain(column[place])
    return {name: plain(array[place]) for name, array in outputs.items()}
