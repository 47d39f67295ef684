"""Asks both routes for the same rows, and keeps what a report shows."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.compare.comparison import Comparison
from hybridmodel.compare.values import plain
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.report.findings import Durations, Findings, Row
from hybridmodel.report.subject import subject_of
from hybridmodel.report.verdicts import Column, escalation, labelled, numbers

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.answer import Answer
    from hybridmodel.model import HybridOnnxModel

Array = np.ndarray[Any, Any]

SHOWN_ROWS = 50
"""Default for the rows on which the routes disagree that a report shows."""

SHOWN_INPUTS = 200
"""Input columns shown of such a row, at most."""


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
    shown : int, optional
        Rows on which the routes disagree that are kept with their inputs, at most.
    timeout_s : float, optional
        Total time of a call to the endpoint.

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
        shown: int = SHOWN_ROWS,
        timeout_s: float | None = None,
    ) -> None:
        self.subject = subject_of(model, score=score, answer=answer, tolerance=tolerance)
        self.versions: set[str] = set()
        self._model, self._timeout_s, self._shown = model, timeout_s, shown
        self._is_scored = score is not None
        model.client.endpoint  # noqa: B018 - raises where there is none
        judge = self.subject.judge
        self._comparison = Comparison(
            model.spec,
            answer=None if judge is None else judge.output.name,
            tolerance=self.subject.tolerance,
        )
        self._columns: list[Column] = []
        self._rows: list[Row] = []
        self._score_error = self.subject.why_no_score
        self._seconds = [0.0, 0.0]
        self._single: tuple[list[float], list[float]] = ([], [])
        self._largest = self._count = 0

    @property
    def rows(self) -> int:
        """Rows so far."""
        return self._count

    @property
    def by_rows(self) -> bool:
        """Whether the model answers each row by itself."""
        spec = self._model.spec
        return all(tensor.batched for tensor in (*spec.inputs, *spec.outputs))

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
        if self._count == 0 and self.by_rows:
            self._both(frame.iloc[:1])  # The first call loads the model and opens a connection.
        right = None if labels is None else self.subject.labels(labels)
        local, remote = self._both(frame)
        rows = len(frame) if self.by_rows else None
        differ = self._comparison.add(
            local.outputs,
            remote.outputs,
            rows=rows,
            local_s=local.elapsed_s,
            azure_s=remote.elapsed_s,
        )
        self._seconds[0] += local.elapsed_s
        self._seconds[1] += remote.elapsed_s
        if rows is not None:
            column = Column(
                self.subject.read(local.outputs),
                self.subject.read(remote.outputs),
                right,
                self._scores(local, rows),
                differ,
            )
            self._columns.append(column)
            self._keep(frame, column, local, remote)
        self._largest = max(self._largest, len(frame))
        self._count += len(frame)

    def time(self, frame: pd.DataFrame, calls: int) -> None:
        """Time calls of one row each, taken from `frame`, on both routes in turn."""
        if not self.by_rows or len(frame) == 0:
            return
        for call in range(calls):
            place = call % len(frame)
            local, remote = self._both(frame.iloc[place : place + 1])
            self._single[0].append(local.elapsed_s)
            self._single[1].append(remote.elapsed_s)

    def findings(self, title: str, facts: tuple[tuple[str, str], ...] = ()) -> Findings:
        """Return all that a report shows; `facts` are what the page says about its origin."""
        if not self._count:
            raise InputMismatch("there are no rows, so there is nothing to report")
        column = Column.joined(self._columns)
        curve, why = escalation(self.subject, column, self._score_error)
        return Findings(
            title=title,
            facts=facts,
            summary=self._comparison.summary(),
            durations=self._durations(),
            labelled=labelled(self.subject, column),
            numbers=numbers(self.subject, column),
            escalation=curve,
            why_no_curve=why,
            rows=tuple(self._rows),
            rows_order=(
                "in the order of the rows"
                if column.scores is None
                else "first those of which the local model is surest"
            ),
        )

    def _both(self, frame: pd.DataFrame) -> tuple[Answer, Answer]:
        local = self._model.infer(frame, use_azure=False)
        remote = self._model.infer(frame, use_azure=True, timeout=self._timeout_s)
        self.versions.add(remote.model_version or "not said")
        return local, remote

    def _scores(self, local: Answer, rows: int) -> Array | None:
        if self.subject.score is None or self._score_error:
            return None
        try:
            return self.subject.score.of(local.outputs, rows)
        except ConfigurationError as error:
            if self._is_scored:
                raise
            self._score_error = str(error)
            return None

    def _keep(self, frame: pd.DataFrame, column: Column, local: Answer, remote: Answer) -> None:
        """Keep rows that differ: the surest where there are scores, else the first."""
        places = np.flatnonzero(column.differ)
        if column.scores is not None:
            places = places[np.argsort(-column.scores[places], kind="stable")]  # NaN last
        new = [
            self._row(frame, column, local, remote, place)
            for place in places[: self._shown].tolist()
        ]
        self._rows = heapq.nlargest(self._shown, [*self._rows, *new], key=_surest)

    def _row(
        self, frame: pd.DataFrame, column: Column, local: Answer, remote: Answer, place: int
    ) -> Row:
        score = math.nan if column.scores is None else float(column.scores[place])
        shown = enumerate(frame.columns[:SHOWN_INPUTS])
        return Row(
            position=self._count + place,
            local=_answer(column.local, local, place),
            remote=_answer(column.remote, remote, place),
            score=None if math.isnan(score) else score,
            label=None if column.labels is None else plain(column.labels[place]),
            inputs={str(name): plain(frame.iloc[place, at]) for at, name in shown},
        )

    def _durations(self) -> Durations:
        single = bool(self._single[0])
        batches = self._comparison.latencies()
        local_s, remote_s = self._single if single else (batches["local"], batches["azure"])
        return Durations(
            local_s=tuple(local_s),
            remote_s=tuple(remote_s),
            of_one_row=single,
            local_rows_per_s=self._count / max(self._seconds[0], 1e-9),
            remote_rows_per_s=self._count / max(self._seconds[1], 1e-9),
            batch_rows=self._largest,
        )


def _surest(row: Row) -> tuple[float, int]:
    return -math.inf if row.score is None else row.score, -row.position


def _answer(column: Array | None, answer: Answer, place: int) -> Any:
    if column is not None:
        return plain(column[place])
    return {name: plain(array[place]) for name, array in answer.outputs.items()}
