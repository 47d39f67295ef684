"""Where the answers go: one file or a folder, which appears complete or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from hybridmodel.batch.durable import Disk, Written
from hybridmodel.batch.formats import Format, InputFile, format_of
from hybridmodel.batch.inputs import place_of
from hybridmodel.batch.lock import LOCK, locked
from hybridmodel.batch.parts import read_counts
from hybridmodel.batch.store import LOG, LocalStore, is_at
from hybridmodel.batch.summary import Counts
from hybridmodel.exceptions import ConfigurationError

WHOLE, BAD, PARTS = "whole", "bad", "parts"
"""Names in the folder of a job: the output as one file, its bad rows, the output as a folder."""

PART = re.compile(r"part-\d{5,}\.parquet")
"""Names of files in an output folder."""
BAD_SUFFIX = ".bad_rows.jsonl"
_REPLACED = "replaced"


def part_name(number: int) -> str:
    """Return the name of a part in an output folder."""
    return f"part-{number:05d}.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished output in the folder of the job: the number of parts, the counts and the files."""

    parts: int
    counts: Counts
    whole: Written | None = None
    bad: Written | None = None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Done:
        """Read what `to_dict` returned; raises `ConfigurationError` for anything else."""
        match stored:
            case {"parts": int(parts), "counts": counts, "whole": whole, "bad": bad} if parts > 0:
                return cls(
                    parts=parts,
                    counts=read_counts(counts),
                    whole=None if whole is None else Written.from_dict(whole),
                    bad=None if bad is None else Written.from_dict(bad),
                )
        raise ConfigurationError("not the record of a job that is done")

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return asdict(self)


def has_parts(done: Done, is_there: Callable[[str], bool]) -> bool:
    """Tell whether all parts of a folder of output are there, asking for one name after another."""
    return all(is_there(part_name(number)) for number in range(done.parts))


class Target(Protocol):
    """An output, and the folder beside it in which the job keeps its finished work."""

    @property
    def name(self) -> str:
        """The output as the caller wrote it."""

    @property
    def form(self) -> Format | None:
        """The format of the file; None for a folder of Parquet files."""

    @property
    def bad_rows(self) -> str:
        """The file of bad rows."""

    def check(self, inputs: Iterable[InputFile]) -> None:
        """Refuse an output that cannot be written, or would overwrite an input."""

    def check_free(self, *, overwrite: bool) -> None:
        """Refuse an output that exists, unless it may be overwritten."""

    def held(self) -> AbstractContextManager[Any]:
        """Make and lock the folder of the job, and yield its `Store`."""

    def holds(self, store: Any, done: Done) -> bool:
        """Tell whether the files still exist, in the folder of the job or at their final place."""

    def publish(self, store: Any, done: Done) -> None:
        """Move the output to its final place; steps that were done before are skipped."""


def target_of(output: str | os.PathLike[str], disk: Disk) -> Target:
    """Return the target for an output: a file if its name has a suffix, otherwise a folder.

    Raises `ConfigurationError` if the suffix is not of a known format.
    """
    text = os.fspath(output)
    if not text:
        raise ConfigurationError("the output: a file or a folder was expected, '' came")
    place = place_of(text)
    is_folder = text.endswith(("/", os.sep)) or not PurePosixPath(place.path).suffix
    form = None if is_folder else format_of(place.path)
    if place.is_local:
        return LocalTarget(name=text, form=form, path=Path(os.path.realpath(place.path)), disk=disk)
    from hybridmodel.batch.remote_target import RemoteTarget

    return RemoteTarget(
        name=text, form=form, path=place.path.rstrip("/"), filesystem=place.filesystem
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTarget:
    """An output on a local disk; see `Target`."""

    name: str
    form: Format | None
    path: Path
    disk: Disk

    @property
    def folder(self) -> Path:
        """The folder of the job, beside the output, so that a rename publishes it."""
        return self.path.with_name(f".{self.path.name}.hybridmodel")

    @property
    def bad_path(self) -> Path:
        """The file of bad rows."""
        return self.path.with_name(self.path.name + BAD_SUFFIX)

    @property
    def bad_rows(self) -> str:
        """See `Target`."""
        return str(self.bad_path)

    def check(self, inputs: Iterable[InputFile]) -> None:
        """See `Target`."""
        if not self.path.parent.is_dir():
            raise ConfigurationError(f"{self.name}: there is no folder {self.path.parent}")
        if self.path.exists() and self.path.is_dir() != (self.form is None):
            kind = "folder" if self.form is None else "file"
            raise ConfigurationError(
                f"{self.name}: exists already and is not a {kind}; choose another output"
            )
        for file in inputs:
            harm = self._harm_to(Path(os.path.realpath(file.path)))
            if harm is not None:
                raise ConfigurationError(
                    f"{self.name}: {harm.format(file.name)}; choose another output"
                )

    def _harm_to(self, path: Path) -> str | None:
        """Return what this output would do to an input, with a place for its name."""
        if self.path == path or _is_same(self.path, path):
            return "is the input {} and would overwrite it"
        if path == self.bad_path or _is_same(self.bad_path, path):
            return "the input {} is where its bad rows would be written"
        if self.path in path.parents or self.folder in path.parents:
            return "the input {} lies in it"
        return None

    def check_free(self, *, overwrite: bool) -> None:
        """See `Target`."""
        if overwrite:
            self._check_only_parts()
            return
        for path in (self.path, self.bad_path):
            if path.exists() and not _is_empty_folder(path):
                raise ConfigurationError(
                    f"{path}: exists already; --overwrite replaces it when the job is done"
                )

    def _check_only_parts(self) -> None:
        """Refuse to replace a folder that holds more than the parts of an earlier job."""
        inside = self.path.iterdir() if self.form is None and self.path.is_dir() else ()
        other = next((one for one in inside if not PART.fullmatch(one.name)), None)
        if other is not None:
            raise ConfigurationError(
                f"{self.name}: --overwrite would remove this folder, which holds more than the "
                f"parts of an earlier job ({other.name!r}); choose another output"
            )

    @contextmanager
    def held(self) -> Iterator[LocalStore]:
        """See `Target`."""
        with locked(self.folder, self.name):
            try:
                self.disk.sync_folder(self.path.parent)
                yield LocalStore(self.folder, self.disk)
            finally:
                if not (self.folder / LOG).exists():
                    self._leave_nothing()

    def _leave_nothing(self) -> None:
        """Remove the folder, if no job was begun or all is done."""
        with suppress(OSError):
            self.disk.remove(self.folder / LOCK)
            self.folder.rmdir()

    def holds(self, store: LocalStore, done: Done) -> bool:
        """See `Target`."""
        if done.bad is not None and not (
            store.holds(BAD, done.bad) or is_at(self.bad_path, done.bad)
        ):
            return False
        if done.whole is None:
            return store.exists(PARTS) or has_parts(done, lambda name: (self.path / name).is_file())
        return store.holds(WHOLE, done.whole) or is_at(self.path, done.whole)

    def publish(self, store: LocalStore, done: Done) -> None:
        """See `Target`; the file of bad rows comes first."""
        if done.bad is not None:
            self._move(store, BAD, self.bad_path)
        elif self.bad_path.exists():
            self.disk.remove(self.bad_path)
        if done.whole is not None:
            self._move(store, WHOLE, self.path)
        elif store.exists(PARTS):
            if self.path.exists():
                # A rename cannot replace a folder that has files.
                self.disk.rename(self.path, store.path(_REPLACED))
            self._move(store, PARTS, self.path)
        self.disk.sync_folder(self.path.parent)

    def _move(self, store: LocalStore, name: str, path: Path) -> None:
        if store.exists(name):
            self.disk.rename(store.path(name), path)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
