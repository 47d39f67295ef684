"""Runs a job: rows become parts, and parts become the output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from hybridmodel.batch.bad_rows import Sifted
from hybridmodel.batch.growing import Growth
from hybridmodel.batch.parts import WHOLE, Position
from hybridmodel.batch.pieces import Pieces
from hybridmodel.batch.pipeline import Scored, scored
from hybridmodel.batch.sending import Answer, SentRows
from hybridmodel.batch.source import Source
from hybridmodel.batch.summary import Counts
from hybridmodel.batch.target import PARTS, Done, Target
from hybridmodel.batch.tuning import Tuning
from hybridmodel.batch.two_pass import SecondPass
from hybridmodel.batch.work import Work
from hybridmodel.batch.writing import Whole, finish, read_part, write_folder, write_parts
from hybridmodel.exceptions import InputMismatch

Progress = Callable[[Counts, int | None], object]
"""Gets the counts of all runs so far, and the number of all rows or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job, from its position to its end."""

    source: Source
    work: Work
    target: Target
    tuning: Tuning
    progress: Progress | None = None

    def make(self, *, overwrite: bool) -> Done:
        """Do the work that is left, and put the output in the folder of the job.

        Raises `InputMismatch` if there are too many bad rows; `ConfigurationError` if the
        inputs were changed, or the output exists by now.
        """
        self._check_errors(self.work.counts, self.source.rows)
        with ExitStack() as stack:
            whole = self._begun(stack)
            counts = self._answer_parts(whole)
            self._check_errors(counts, counts.rows)
            if self.source.is_two_pass:
                whole, counts = self._second_pass(stack)
            self.source.check_unchanged()
            self.target.check_free(overwrite=overwrite)
            return finish(self.work, self.target.form, whole, counts)

    def _begun(self, stack: ExitStack) -> Whole | Growth | None:
        """Return the output with the finished parts, if it is written with or beside the parts."""
        if self.work.growing is not None:
            return stack.enter_context(Growth(self.work, self.work.growing))
        form = self.target.form
        if form is None or form.is_text or self.source.is_two_pass:
            return None
        whole = stack.enter_context(Whole(self.work, form))
        for _, batch in self._parts():
            whole.write(batch)
        return whole

    def _answer_parts(self, whole: Whole | Growth | None) -> Counts:
        work = self.work
        answer: Answer = self.source.rules.sifter(self.source.score)
        sent = SentRows(work.manifest, work.others) if self.source.is_remote else None
        if sent is not None:
            answer = sent.noting(answer)
        pieces = self._pieces(work.position)
        results = scored(iter(pieces), answer, self._workers())
        for _ in write_parts(work, self._watched(results), pieces.starts, whole):
            pass
        if sent is None:
            return work.counts
        return work.counts + Counts(resent=sent.again(work.counts.rows))

    def _second_pass(self, stack: ExitStack) -> tuple[Whole | None, Counts]:
        rules, counts = self.source.rules, self.work.counts
        second = SecondPass(
            rules.scorer,
            self.work,
            self._parts,
            self._pieces,
            None if rules.allowance is None else rules.mended,
        )
        for rows in second.run():
            counts += Counts(remote=rows, local=-rows)
            self._tell(counts)
        if self.target.form is None:
            self.work.store.make_folder(PARTS)
            write_folder(self.work, second.merged())
            return None, second.counts
        whole = stack.enter_context(Whole(self.work, self.target.form))
        for _, batch in second.merged():
            whole.write(batch)
        return whole, second.counts

    def _pieces(self, position: Position) -> Pieces:
        return Pieces(
            files=self.source.files,
            position=position,
            part_rows=self.work.part_rows,
            batch_rows=self._batch_rows(),
            read=self.source.rules.read,
        )

    def _parts(self) -> Iterator[tuple[int, Any]]:
        """Yield the batches of the finished parts, with the numbers of the parts."""
        for number in range(self.work.position.part):
            for batch in read_part(self.work, number):
                yield number, batch

    def _watched(self, results: Iterable[Scored]) -> Iterator[Scored]:
        """Pass results on, count them, and end the job if there are too many bad rows."""
        counts = self.work.counts
        for result in results:
            counts += result.counts
            self._check_errors(counts, self.source.rows, result.batch)
            yield result
            self._tell(counts)

    def _tell(self, counts: Counts) -> None:
        if self.progress is not None:
            self.progress(counts, self.source.rows)

    def _check_errors(self, counts: Counts, rows: int | None, last: Sifted | None = None) -> None:
        """Refuse too many bad rows; a share can be checked only if the number of rows is known."""
        allowance = self.source.rules.allowance
        if allowance is None:
            if counts.errors:
                raise InputMismatch(
                    f"{counts.errors} bad rows were kept apart; pass on_bad_rows='write' again"
                )
            return
        if rows is None and allowance.rows is None:
            return
        if allowance.is_exceeded(counts.errors, rows or 0):
            bad = last.bad[-1] if last is not None and last.bad else None
            where = "" if bad is None else f"; the last is {bad.file}, row {bad.row}: {bad.reason}"
            raise InputMismatch(
                f"{counts.errors} bad rows so far, where max_errors allows {allowance}{where}"
            )

    def _batch_rows(self) -> int:
        return WHOLE if self.work.part_rows >= WHOLE else self.tuning.batch_rows

    def _workers(self) -> int:
        return 1 if self.work.part_rows >= WHOLE else self.tuning.workers
