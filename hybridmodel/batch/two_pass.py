"""Budgets and cascades over files: all rows are scored locally, then the unsure ones remotely.

The first pass is a job like any other; its parts have one more column, by which rows are chosen.
The second pass reads the chosen rows again from the inputs, packs them into full requests across
all parts, and keeps the answers as they arrive. At the end, each answer is written into its place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybridmodel.batch.answers import Answers, Plan
from hybridmodel.batch.asking import Asking
from hybridmodel.batch.choice import choice_of
from hybridmodel.batch.chosen_rows import ChosenRows, Mend
from hybridmodel.batch.columns import split
from hybridmodel.batch.parts import Position
from hybridmodel.batch.pipeline import Piece, scored
from hybridmodel.batch.placing import Queue, placed, with_provenance
from hybridmodel.batch.scoring import Scorer
from hybridmodel.batch.selection import Cut, Marker, find_cut
from hybridmodel.batch.summary import Counts
from hybridmodel.batch.work import Work
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import EndpointUnavailable
from hybridmodel.routing import Budget, Cascade
from hybridmodel.switch import AZURE

Parts = Callable[[], Iterator[tuple[int, Any]]]
"""Yields the record batches of all parts in order, with the numbers of the parts."""

_NUMBERS = "hybridmodel numbers"
"""Name of the last column in parts of the first pass, which is found by its position."""


def has_two_passes(policy: Any) -> bool:
    """Tell whether a policy needs the scores of all rows before it sends any."""
    return isinstance(policy, Budget | Cascade)


@dataclass(frozen=True, slots=True)
class LocalPass:
    """Scores record batches locally, and adds the numbers by which rows are chosen."""

    scorer: Scorer

    def __call__(self, batch: Any) -> tuple[Any, Counts]:
        """Return the scored batch with one more float32 column, and the counts."""
        import pyarrow as pa

        scorer, choice = self.scorer, choice_of(self.scorer.policy)
        features, kept = split(batch, scorer.columns, scorer.model, scorer.where)
        nothing = Budget(rows=0, score=scorer.policy.score)
        answer = replace(scorer, policy=nothing).answer(features)
        answer = replace(answer, reason=choice.kept)
        made = scorer.assembled(kept, answer, batch.num_rows)
        scores = np.zeros(batch.num_rows) if answer.scores is None else answer.scores
        arrays = [*made.columns, pa.array(choice.numbers(scores))]
        both = pa.RecordBatch.from_arrays(arrays, [*made.schema.names, _NUMBERS])
        return both, Counts(rows=batch.num_rows, local=batch.num_rows)


class SecondPass:
    """Sends the unsure rows after the first pass has scored all rows."""

    def __init__(
        self,
        scorer: Scorer,
        work: Work,
        parts: Parts,
        pieces: Callable[[Position], Iterable[Piece]],
        mend: Mend | None = None,
    ) -> None:
        self._choice = choice_of(scorer.policy)
        self._work = work
        self._parts = parts
        self._chosen = ChosenRows(scorer, work, pieces, mend)
        self._asking = Asking(scorer)
        self._has_provenance = scorer.provenance
        self._answers = Answers(work.store, work.manifest, work.others)
        self._cut = Cut(0, 0)
        self._has_failed = threading.Event()

    def run(self) -> Iterator[int]:
        """Send the rows without an answer, and yield the number of rows as they are answered.

        Raises `EndpointError` or `SpecMismatch` if the endpoint does not answer; the same command
        goes on later; `OSError` if an answer cannot be kept.
        """
        plan = self._plan()
        self._cut = find_cut(self._numbers, plan.rows)
        first = self._answers.first_missing
        yield min(first * plan.size, plan.rows)
        requests = self._chosen.requests(self._masks(), plan, first)
        pieces = (Piece(0, request) for request in requests)
        for result in scored(pieces, self._get, self._asking.workers):
            yield result.counts.rows

    def merged(self) -> Iterator[tuple[int, Any]]:
        """Yield the record batches of all parts, with each answer in its place."""
        answers, mark = Queue(self._answers.rows()), Marker(self._cut)
        for number, batch in self._parts():
            numbers = _numbers_of(batch)
            rows = mark(numbers)
            local = batch.select(range(batch.num_columns - 1))
            yield number, self._placed(local, numbers, rows, answers)

    @property
    def counts(self) -> Counts:
        """The final counts of all rows of the job."""
        sent = self._answers.counts
        return self._work.counts + replace(sent, rows=0, local=-sent.remote)

    def _placed(self, local: Any, numbers: Array, rows: Array, answers: Queue) -> Any:
        """Return a batch with the answers in their places, and their provenance if wanted."""
        count = int(np.count_nonzero(rows))
        if count:
            taken = answers.take(count)
            local = placed(local, rows, taken)
            if self._has_provenance:
                local = with_provenance(local, rows, route=AZURE, reason=self._choice.sent)
        over = ~rows & (numbers != np.inf)
        if self._has_provenance and self._choice.over != self._choice.kept and over.any():
            local = with_provenance(local, over, reason=self._choice.over)
        return local

    def _plan(self) -> Plan:
        """Return the plan of an earlier run, or a new one."""
        rows, found = self._work.counts.local, self._answers.plan
        size = 1
        if found is not None:
            size = found.request_rows
        elif rows:
            size = self._asking.find_request_rows(self._chosen.sample())
        self._asking.request_rows = size
        return self._answers.begin(Plan.of(self._choice.count(rows, size, self._numbers), size))

    def _get(self, request: Any) -> tuple[None, Counts]:
        """Get an answer; after another request has failed, nothing more is sent."""
        if self._has_failed.is_set():
            raise EndpointUnavailable("an earlier request has failed")  # Raised there first.
        try:
            self._answers.get(request, self._asking)
        except BaseException:
            self._has_failed.set()
            raise
        return None, Counts(rows=request.rows, remote=request.rows)

    def _numbers(self) -> Iterator[Array]:
        return (_numbers_of(batch) for _, batch in self._parts())

    def _masks(self) -> Iterator[tuple[int, Array]]:
        """Yield which rows are sent, with the number of their part."""
        mark = Marker(self._cut)
        return ((number, mark(_numbers_of(batch))) for number, batch in self._parts())


def _numbers_of(batch: Any) -> Array:
    numbers: Array = batch.column(batch.num_columns - 1).to_numpy()
    return numbers
