"""Reads the chosen rows again from the inputs, and packs them into requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import numpy as np

from hybridmodel.batch.answers import Plan
from hybridmodel.batch.columns import split
from hybridmodel.batch.manifest import PART
from hybridmodel.batch.packing import Request, packed
from hybridmodel.batch.parts import PartRecord, Position
from hybridmodel.batch.pieces import Rows
from hybridmodel.batch.pipeline import Piece
from hybridmodel.batch.scoring import Scorer
from hybridmodel.batch.work import Work
from hybridmodel.data.binding import Binding, Bound
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError, InputMismatch

Mend = Callable[[Rows], tuple[Any, dict[int, str]]]


@dataclass(frozen=True, slots=True)
class _Part:
    """A part, and which of its good rows are sent."""

    number: int
    mask: Array

    @property
    def count(self) -> int:
        """How many rows are sent."""
        return int(np.count_nonzero(self.mask))


class ChosenRows:
    """Reads the rows of the inputs that are sent to the endpoint."""

    def __init__(
        self,
        scorer: Scorer,
        work: Work,
        pieces: Callable[[Position], Iterable[Piece]],
        mend: Mend | None = None,
    ) -> None:
        self._scorer = scorer
        self._work = work
        self._pieces = pieces
        self._mend = mend
        model = scorer.model
        self._bind = Binding(model.spec, model.feature_names, has_told=True).bind

    def sample(self) -> Bound:
        """Return some good rows of the first part that has any.

        Raises `ConfigurationError` if there is none.
        """
        for record in self._records():
            good = record.rows - record.counts.errors
            if good:
                part = _Part(record.number, np.ones(good, bool))
                return next(self._bound(iter([part]), _position(record)))
        raise ConfigurationError("there is no row that could be sent")

    def requests(
        self, masks: Iterable[tuple[int, Array]], plan: Plan, first: int
    ) -> Iterator[Request]:
        """Yield full requests from the `first` on; `masks` has the number of a part and its rows.

        Raises `ConfigurationError` if the parts are not those of these inputs.
        """
        passed = first * plan.size
        if passed >= plan.rows:
            return
        parts = _by_part(masks)
        for record, part in zip(self._records(), parts, strict=True):
            if part.number != record.number or record.rows != len(part.mask) + record.counts.errors:
                raise ConfigurationError("the parts of the first pass are not as they were written")
            if passed < part.count:
                rows = self._bound(chain([part], parts), _position(record))
                wanted = plan.rows - first * plan.size
                yield from packed(_within(rows, passed, wanted), plan.size, first)
                return
            passed -= part.count

    def _bound(self, parts: Iterator[_Part], start: Position) -> Iterator[Bound]:
        """Yield the chosen rows from a part on, as the model takes them."""
        part = next(parts)
        at, bad = 0, self._bad(part.number)
        for piece in self._pieces(start):
            if piece.part != part.number:
                part = next(parts)
                at, bad = 0, self._bad(part.number)
            rows: Rows = piece.batch
            chosen = ~np.isin(rows.start + np.arange(rows.num_rows), bad)
            good = int(np.count_nonzero(chosen))
            chosen[chosen] = part.mask[at : at + good]
            at += good
            if chosen.any():
                yield self._features(rows, chosen)

    def _features(self, rows: Rows, chosen: Array) -> Bound:
        """Return some good rows as the model takes them."""
        try:
            return self._bind(self._split(_filtered(rows.batch, chosen)))
        except InputMismatch:
            # A bad row beside these may have turned a column of numbers into text.
            if self._mend is None:
                raise
            return self._bind(self._split(_filtered(self._mend(rows)[0], chosen)))

    def _split(self, batch: Any) -> Any:
        scorer = self._scorer
        return split(batch, scorer.columns, scorer.model, scorer.where)[0]

    def _bad(self, part: int) -> Array:
        """Return the bad rows of a part, as numbers of rows of the file."""
        name = self._work.bad(part)
        if not self._work.store.exists(name):
            return np.empty(0, np.int64)
        with self._work.store.open(name) as file:
            lines = file.read().splitlines()
        return np.array([json.loads(line)["row"] for line in lines], np.int64)

    def _records(self) -> Iterator[PartRecord]:
        for entry in self._work.manifest.entries():
            if entry.kind == PART:
                yield PartRecord.from_dict(entry.facts)


def _position(record: PartRecord) -> Position:
    return Position(part=record.number, file=record.file, row=record.row)


def _filtered(batch: Any, rows: Array) -> Any:
    import pyarrow as pa

    return batch if rows.all() else batch.filter(pa.array(rows))


def _by_part(masks: Iterable[tuple[int, Array]]) -> Iterator[_Part]:
    """Join the masks of each part."""
    for number, group in groupby(masks, lambda pair: pair[0]):
        yield _Part(number, np.concatenate([mask for _, mask in group]))


def _within(some: Iterable[Bound], skipped: int, wanted: int) -> Iterator[Bound]:
    """Skip the first `skipped` rows, and end after `wanted` rows."""
    for bound in some:
        rows = bound.rows or 0
        start, stop = min(skipped, rows), min(rows, skipped + wanted)
        skipped, wanted = skipped - start, wanted - (stop - start)
        if stop > start:
            feeds = {name: array[start:stop] for name, array in bound.feeds.items()}
            yield Bound(feeds, stop - start)
        if not wanted:
            return
