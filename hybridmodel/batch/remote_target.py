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

from hybridmodel.batch.durable import Written
from hybridmodel.batch.formats import Format, InputFile
from hybridmodel.batch.store import RemoteStore, is_stored
from hybridmodel.batch.target import BAD, BAD_SUFFIX, PART, PARTS, WHOLE, Done, has_parts
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
            if file.filesystem != self.filesystem:
                continue
            if path == mine or mine in path.parents:
                raise ConfigurationError(
                    f"{self.name}: is the input {file.name}, or holds it; choose another output"
                )
            if str(path) == self.path + BAD_SUFFIX:
                raise ConfigurationError(
                    f"{self.name}: the input {file.name} is where its bad rows would be written; "
                    "choose another output"
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
        """See `Target`."""
        if done.bad is not None and not self._has(store, BAD, self.path + BAD_SUFFIX, done.bad):
            return False
        if done.whole is not None:
            return self._has(store, WHOLE, self.path, done.whole)
        names = set(self._names())
        return has_parts(done, self._made(store).__contains__) or (
            SUCCESS in names and has_parts(done, names.__contains__)
        )

    def publish(self, store: RemoteStore, done: Done) -> None:
        """See `Target`: it is copied, unless an earlier run has removed it after that."""
        bad_path = self.path + BAD_SUFFIX
        if done.bad is not None:
            self._copy_if_there(store, BAD, bad_path)
        elif self._is_file(bad_path):
            self.filesystem.delete_file(bad_path)
        if done.whole is not None:
            self._copy_if_there(store, WHOLE, self.path)
            return
        made = self._made(store)
        if not has_parts(done, made.__contains__):
            return  # All of it is in its place, see `holds`, and a part of it was removed here.
        for name in self._names():
            if name == SUCCESS or name not in made:
                self.filesystem.delete_file(f"{self.path}/{name}")
        self.filesystem.create_dir(self.path, recursive=True)
        for name in sorted(made):
            self._copy(f"{store.path(PARTS)}/{name}", f"{self.path}/{name}")
        with self.filesystem.open_output_stream(f"{self.path}/{SUCCESS}"):
            pass

    def _has(self, store: RemoteStore, name: str, path: str, written: Written) -> bool:
        """Tell whether a file is in the folder of the job, or at its place."""
        return store.holds(name, written) or is_stored(self.filesystem, path, written)

    def _made(self, store: RemoteStore) -> set[str]:
        """Return the names of the parts in the folder of the job."""
        return {path.name for path in self._files(store.path(PARTS))}

    def _copy_if_there(self, store: RemoteStore, name: str, path: str) -> None:
        if store.exists(name):
            self._copy(store.path(name), path)

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
