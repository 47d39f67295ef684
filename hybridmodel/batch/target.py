"""Where the answers go: one file or a folder, which appears complete or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
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
"""In the folder of a job: its output in one file, the file of bad rows, its output as a folder."""

PART = re.compile(r"part-\d{5,}\.parquet")
"""Names in a folder of output."""
BAD_SUFFIX = ".bad_rows.jsonl"
_REPLACED = "replaced"


def part_name(number: int) -> str:
    """Return the name of a part in a folder of output."""
    return f"part-{number:05d}.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a job has made, when all of it lies in its folder."""

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
                    whole=_written(whole),
                    bad=_written(bad),
                )
        raise ConfigurationError("not the record of a job that is done")

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {
            "parts": self.parts,
            "counts": self.counts.to_dict(),
            "whole": None if self.whole is None else self.whole.to_dict(),
            "bad": None if self.bad is None else self.bad.to_dict(),
        }


def _written(stored: Any) -> Written | None:
    return None if stored is None else Written.from_dict(stored)


class Target(Protocol):
    """An output, and the folder beside it in which the job keeps what it has done."""

    @property
    def name(self) -> str:
        """The output as the caller wrote it."""

    @property
    def form(self) -> Format | None:
        """Of the file; None for a folder of Parquet files."""

    @property
    def bad_rows(self) -> str:
        """The file of bad rows."""

    def check(self, inputs: Iterable[InputFile]) -> None:
        """Refuse an output that cannot be written, or would overwrite its input."""

    def check_free(self, *, overwrite: bool) -> None:
        """Refuse an output that is there already, unless it may be overwritten."""

    def held(self) -> AbstractContextManager[Any]:
        """Make the folder of the job, and let no other job work there; yields its `Store`."""

    def holds(self, store: Any, done: Done) -> bool:
        """Tell whether what was made is still there, in the folder of the job or at its place."""

    def publish(self, store: Any, done: Done) -> None:
        """Give the output its name; what was done already is passed over."""


def target_of(output: str | os.PathLike[str], disk: Disk) -> Target:
    """Return where an output goes.

    Raises `ConfigurationError` if the suffix is none of a known format.
    """
    text = os.fspath(output)
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
    """An output on a disk of this machine; see `Target`."""

    name: str
    form: Format | None
    path: Path
    disk: Disk

    @property
    def folder(self) -> Path:
        """The folder of the job: beside the output, so that a rename is enough at the end."""
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
            path = Path(os.path.realpath(file.path))
            if self.path == path or _is_same(self.path, path):
                raise ConfigurationError(
                    f"{self.name}: is the input {file.name} and would overwrite it; choose another "
                    "output"
                )
            if self.path in path.parents or self.folder in path.parents:
                raise ConfigurationError(
                    f"{self.name}: the input {file.name} lies in it; choose another output"
                )

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
        """Refuse to replace a folder of anything but the parts of an earlier job."""
        inside = self.path.iterdir() if self.form is None and self.path.is_dir() else ()
        other = next((one for one in inside if not PART.fullmatch(one.name)), None)
        if other is not None:
            raise ConfigurationError(
                f"{self.name}: would be replaced with all that is in it, which is more than the "
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
        """Remove the folder where nothing was begun, or all is done."""
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
            return store.exists(PARTS) or (self.path / part_name(done.parts - 1)).exists()
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
                # A folder cannot replace another that has files.
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
