"""An output on a remote file system, such as an object store.

It is weaker than a local one: no lock keeps a second job away, and a folder appears file by file,
with an empty file ``_SUCCESS`` at the end. Still, the manifest tells which parts are done, and no
part counts twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from hybridmodel.batch.formats import Format, InputFile
from hybridmodel.batch.store import RemoteStore
from hybridmodel.batch.target import BAD, BAD_SUFFIX, PART, PARTS, WHOLE, Done
from hybridmodel.exceptions import ConfigurationError

SUCCESS = "_SUCCESS"
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTarget:
    """An output on a remote file system; see `hybridmodel.batch.target.Target`."""

    name: str
    form: Format | None
    path: str
    filesystem: Any

    @property
    def folder(self) -> str:
        """The folder of the job."""
        path = PurePosixPath(self.path)
        return str(path.with_name(f".{path.name}.hybridmodel"))

    @property
    def bad_rows(self) -> str:
        """See `Target`."""
        return self.name.rstrip("/") + BAD_SUFFIX

    def check(self, inputs: Iterable[InputFile]) -> None:
        """See `Target`."""
        mine = PurePosixPath(self.path)
        for file in inputs:
            path = PurePosixPath(file.path)
            if file.filesystem == self.filesystem and (path == mine or mine in path.parents):
                raise ConfigurationError(
                    f"{self.name}: is the input {file.name}, or holds it; choose another output"
                )

    def check_free(self, *, overwrite: bool) -> None:
        """See `Target`."""
        names = self._names()
        if overwrite:
            others = [name for name in names if name != SUCCESS and not PART.fullmatch(name)]
            if others:
                raise ConfigurationError(
                    f"{self.name}: holds more than the parts of an earlier job ({others[0]!r}); "
                    "choose another output"
                )
        elif names or any(map(self._is_file, (self.path, self.path + BAD_SUFFIX))):
            raise ConfigurationError(
                f"{self.name}: exists already; --overwrite replaces it when the job is done"
            )

    @contextmanager
    def held(self) -> Iterator[RemoteStore]:
        """See `Target`; remote file systems have no locks, so this only makes the folder."""
        self.filesystem.create_dir(self.folder, recursive=True)
        store = RemoteStore(self.filesystem, self.folder)
        yield store
        if next(store.lines(), None) is None:
            self.filesystem.delete_dir(self.folder)

    def holds(self, store: RemoteStore, done: Done) -> bool:
        """See `Target`; the files stay in the folder of the job until all are published."""
        return (done.bad is None or store.holds(BAD, done.bad)) and (
            done.whole is None or store.holds(WHOLE, done.whole)
        )

    def publish(self, store: RemoteStore, done: Done) -> None:
        """See `Target`; all files are copied, also those that were copied before."""
        bad_path = self.path + BAD_SUFFIX
        if done.bad is not None:
            self._copy(store.path(BAD), bad_path)
        elif self._is_file(bad_path):
            self.filesystem.delete_file(bad_path)
        if done.whole is not None:
            self._copy(store.path(WHOLE), self.path)
            return
        made = {name.name for name in self._files(store.path(PARTS))}
        for name in self._names():
            if name == SUCCESS or name not in made:
                self.filesystem.delete_file(f"{self.path}/{name}")
        self.filesystem.create_dir(self.path, recursive=True)
        for name in sorted(made):
            self._copy(f"{store.path(PARTS)}/{name}", f"{self.path}/{name}")
        with self.filesystem.open_output_stream(f"{self.path}/{SUCCESS}"):
            pass

    def _copy(self, source: str, path: str) -> None:
        with (
            self.filesystem.open_input_stream(source) as read,
            self.filesystem.open_output_stream(path) as written,
        ):
            while piece := read.read(_COPY_BYTES):
                written.write(piece)

    def _names(self) -> list[str]:
        """Return the names in the folder of the output."""
        if self.form is not None:
            return []
        return sorted(path.name for path in self._files(self.path))

    def _files(self, folder: str) -> list[PurePosixPath]:
        from pyarrow import fs

        selector = fs.FileSelector(folder, allow_not_found=True)
        return [
            PurePosixPath(info.path)
            for info in self.filesystem.get_file_info(selector)
            if info.is_file
        ]

    def _is_file(self, path: str) -> bool:
        return bool(self.filesystem.get_file_info(path).is_file)
