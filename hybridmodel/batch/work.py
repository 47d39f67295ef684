"""The state of a job in its folder: its task, and the parts that are done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hybridmodel.batch import manifest
from hybridmodel.batch.durable import NOTHING, Written
from hybridmodel.batch.fingerprint import InputIdentity, changed_inputs, changes
from hybridmodel.batch.formats import PARQUET, Format
from hybridmodel.batch.manifest import Entry, Manifest
from hybridmodel.batch.parts import PartRecord, Position
from hybridmodel.batch.store import FIRST, LocalStore, Store
from hybridmodel.batch.summary import Counts
from hybridmodel.batch.target import BAD, PARTS, WHOLE, Done, part_name
from hybridmodel.exceptions import ConfigurationError

_log = logging.getLogger("hybridmodel")

_MOST_PART_ROWS = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The task of a job: its settings, its inputs in order, and the rows of a part."""

    settings: Mapping[str, str]
    inputs: Sequence[InputIdentity]
    part_rows: int

    def entries(self) -> Iterator[Entry]:
        """Yield the first lines of the manifest."""
        facts = {
            "schema_version": manifest.SCHEMA_VERSION,
            "part_rows": self.part_rows,
            "inputs": len(self.inputs),
            "settings": dict(self.settings),
        }
        yield Entry(manifest.JOB, facts)
        for identity in self.inputs:
            yield Entry(manifest.INPUT, identity.to_dict())


@dataclass(slots=True, kw_only=True)
class Work:
    """The state of a job while it runs.

    `others` has the lines of other kinds in the manifest. If the output grows, `growing` is the
    store, and `grown` has its size and checksum at the end of each part.
    """

    store: Store
    manifest: Manifest
    part_rows: int
    form: Format
    growing: LocalStore | None = None
    grown: list[Written] = field(default_factory=list)
    position: Position = field(default_factory=Position)
    counts: Counts = field(default_factory=Counts)
    resumed: int = 0
    done: Done | None = None
    others: list[Entry] = field(default_factory=list)

    @property
    def is_folder(self) -> bool:
        """Whether the parts are the files of the output."""
        return self.form.kind == PARQUET and self.growing is None

    def part(self, number: int) -> str:
        """Return the name of a part's file."""
        return f"{PARTS}/{part_name(number)}" if self.is_folder else f"part-{number:08d}"

    def bad(self, number: int) -> str:
        """Return the name of the file with a part's bad rows."""
        return f"bad-{number:08d}.jsonl"

    def commit(self, record: PartRecord) -> None:
        """Record a part whose files are on the disk; raises `OSError`."""
        self.manifest.append(Entry(manifest.PART, record.to_dict()))
        self.take(record)

    def finish(self, done: Done) -> None:
        """Record that the whole output is in the folder; raises `OSError`."""
        self.manifest.append(Entry(manifest.DONE, done.to_dict()))
        self.done = done

    def holds(self, record: PartRecord) -> bool:
        """Tell whether a part, and the file of its bad rows, are on the disk as written."""
        if record.bad is not None and not self.store.holds(self.bad(record.number), record.bad):
            return False
        if self.growing is None:
            return self.store.holds(self.part(record.number), record.written)
        return self.growing.grew(WHOLE, self.end, record.written)

    @property
    def end(self) -> Written:
        """Where the last finished part ends in an output that grows."""
        return self.grown[-1] if self.grown else NOTHING

    def take(self, record: PartRecord) -> None:
        """Count a finished part."""
        self.position = self.position.behind(record)
        self.counts += record.counts
        if self.growing is not None:
            self.grown.append(record.written)


def begin(store: Store, task: Task, *, form: Format, growing: LocalStore | None) -> Work:
    """Empty a folder and begin a job in it; raises `OSError`."""
    store.clear(FIRST)
    made = Manifest(store)
    work = Work(store=store, manifest=made, part_rows=task.part_rows, form=form, growing=growing)
    if work.is_folder:
        store.make_folder(PARTS)
    made.begin(task.entries())
    return work


def is_begun(store: Store) -> bool:
    """Tell whether a job was begun; it may be done."""
    return next(store.lines(), None) is not None


def has_parts(store: Store) -> bool:
    """Tell whether the manifest has a finished part.

    Raises `OSError` if it cannot be read.
    """
    entries = map(Entry.read, store.lines())
    return any(entry is not None and entry.kind == manifest.PART for entry in entries)


def is_done(store: Store) -> bool:
    """Tell whether the job is done and its output is at its final place.

    Raises `ConfigurationError` if its manifest is damaged.
    """
    _, done = _find_done(Manifest(store))
    return done is not None and not any(map(store.exists, (WHOLE, PARTS, BAD)))


def resume(
    store: Store,
    task: Task,
    *,
    form: Format,
    growing: LocalStore | None,
    output: str,
    holds: Callable[[Done], bool],
) -> Work:
    """Go on with a job that was begun.

    A part whose file is missing or changed is done again, with all later parts. Raises
    `ConfigurationError` if its task was another, or its manifest is damaged;
    `OSError` if something cannot be read.
    """
    made = Manifest(store)
    lines, done = _find_done(made)
    if done is not None and not holds(done):
        made.cut(lines - 1)
        done = None
    work = Work(store=store, manifest=made, part_rows=0, form=form, growing=growing, done=done)
    reader = _Reader(work, task, output)
    entries = made.entries()
    for number, entry in enumerate(entries):
        if not reader.take(entry):
            _log.warning(
                "%s: part %d is not as it was written; it is done again, with those behind it",
                output,
                work.position.part,
            )
            entries.close()
            made.cut(number)
            break
    reader.end()
    if work.done is None and work.is_folder:
        store.make_folder(PARTS)  # Not there any more if the job was done, and its output is gone.
    work.resumed = work.position.part
    return work


def _find_done(made: Manifest) -> tuple[int, Done | None]:
    """Return the number of lines, and the record of the output if the job is done."""
    lines, last = 0, None
    for entry in made.entries():
        lines, last = lines + 1, entry
    if last is None or last.kind != manifest.DONE:
        return lines, None
    return lines, Done.from_dict(last.facts)


class _Reader:
    """Takes the lines of a manifest in order."""

    def __init__(self, work: Work, task: Task, output: str) -> None:
        self._work = work
        self._task = task
        self._output = output
        self._settings: Mapping[str, Any] = {}
        self._inputs: list[InputIdentity] = []
        self._expected = 0

    def take(self, entry: Entry) -> bool:
        """Take a line; False if the file of its part is missing or changed."""
        if entry.kind == manifest.JOB:
            self._begin(entry.facts)
        elif entry.kind == manifest.INPUT:
            self._inputs.append(InputIdentity.from_dict(entry.facts))
            if len(self._inputs) == self._expected:
                self._compare()
        elif entry.kind == manifest.PART:
            return self._take_part(PartRecord.from_dict(entry.facts))
        elif entry.kind != manifest.DONE:
            self._work.others.append(entry)
        return True

    def end(self) -> None:
        """Refuse a manifest that ends before its parts begin."""
        if len(self._inputs) != self._expected or not self._work.part_rows:
            raise self._refusal("its manifest is not whole")

    def _begin(self, facts: Mapping[str, Any]) -> None:
        match facts:
            case {"part_rows": int(rows), "inputs": int(inputs), "settings": dict(settings)} if (
                0 < rows <= _MOST_PART_ROWS and inputs > 0
            ):
                self._work.part_rows = rows
                self._expected, self._settings = inputs, settings
            case _:
                raise self._refusal("its manifest does not name its task")

    def _compare(self) -> None:
        """Refuse to go on with another task."""
        task = self._task
        told = changes(self._settings, task.settings, changed_inputs(self._inputs, task.inputs))
        if told:
            raise self._refusal("; ".join(told))

    def _take_part(self, record: PartRecord) -> bool:
        work = self._work
        if len(self._inputs) != self._expected or not self._follows(record):
            raise self._refusal(f"its manifest has no part {work.position.part} where it should be")
        is_there = work.done is not None or work.holds(record)
        if is_there:
            work.take(record)
        return is_there

    def _follows(self, record: PartRecord) -> bool:
        """Tell whether a part begins at the end of the part before, or at a later file."""
        at = self._work.position
        begins = (record.file, record.row) == (at.file, at.row)
        begins_file = at.file < record.file < self._expected and record.row == 0
        fits = record.number == at.part and record.rows <= self._work.part_rows
        return fits and (begins or begins_file)

    def _refusal(self, what: str) -> ConfigurationError:
        job = "half-done" if self._work.done is None else "finished"
        return ConfigurationError(
            f"{self._output}: the {job} job cannot go on: {what}; restore that, or begin anew with "
            "--overwrite"
        )
