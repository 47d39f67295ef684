"""The folder in which a job keeps its finished work, on a local or a remote file system.

The code makes all names from words and numbers; no name comes from a file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from hybridmodel.batch.durable import Disk, Sink, Written, durably, measured
from hybridmodel.batch.lock import LOCK

LINE_BYTES = 1 << 16
"""The longest line of a log; reading stops there."""
LOG = "manifest"
FIRST, LAST, NEVER = "first", "last", "never"
"""When the log is removed: before the other files, after them, or not at all."""


class Store(Protocol):
    """A folder of complete files, and of a log whose lines are durable one by one.

    All methods raise `OSError`.
    """

    name: str

    def create(self, name: str) -> AbstractContextManager[Sink]:
        """Yield a sink for a file, which appears only when it is complete."""
        ...

    def open(self, name: str) -> Any:
        """Open a file for reading: a context manager, for pyarrow or for its bytes."""
        ...

    def exists(self, name: str) -> bool:
        """Tell whether a file or folder of this name exists."""
        ...

    def holds(self, name: str, written: Written) -> bool:
        """Tell whether a file exists and has the size and checksum that were written."""
        ...

    def make_folder(self, name: str) -> None:
        """Make a folder in it, unless it exists."""
        ...

    def inside(self, name: str) -> Store:
        """Return a folder in it as a store, and make it unless it exists."""
        ...

    def begin_log(self, lines: bytes) -> None:
        """Create the log with its first lines."""
        ...

    def append(self, line: bytes) -> None:
        """Append a line to the log; it is durable when this returns."""
        ...

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the log with their line ends; the last may be torn."""
        ...

    def cut(self, lines: int) -> None:
        """Keep only the first lines of the log."""
        ...

    def clear(self, log: str) -> None:
        """Remove all files, the log `FIRST`, `LAST` or `NEVER`."""
        ...


class LocalStore:
    """An existing folder on a local disk."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder = folder
        self.name = str(folder)
        self.disk = disk

    def path(self, name: str) -> Path:
        """Return the path of a file."""
        return self.folder / name

    def create(self, name: str) -> AbstractContextManager[Sink]:
        """See `Store`."""
        return durably(self.disk, self.path(name))

    def open(self, name: str) -> Any:
        """See `Store`; the file is mapped into memory, so that Arrow batches are not copied."""
        import pyarrow as pa

        path = self.path(name)
        # An empty file cannot be mapped.
        return pa.memory_map(str(path)) if path.stat().st_size else pa.BufferReader(b"")

    def grow(self, name: str, size_bytes: int) -> IO[bytes]:
        """Open a file behind its first bytes, or make it; its name is durable."""
        file = self.disk.grow(self.path(name), size_bytes)
        try:
            self.disk.sync_folder(self.folder)
        except BaseException:
            file.close()
            raise
        return file

    def grew(self, name: str, before: Written, after: Written) -> bool:
        """Tell whether a file grew from one size and checksum to another; it may be longer."""
        try:
            with self.path(name).open("rb") as file:
                file.seek(before.size_bytes)
                return measured(file, before, after.size_bytes) == after
        except (FileNotFoundError, IsADirectoryError):
            return False

    def sync(self, file: IO[bytes]) -> None:
        """Bring what was appended to a file to the disk."""
        self.disk.sync(file)

    def exists(self, name: str) -> bool:
        """See `Store`."""
        return self.path(name).exists()

    def holds(self, name: str, written: Written) -> bool:
        """See `Store`."""
        return is_at(self.path(name), written)

    def make_folder(self, name: str) -> None:
        """See `Store`."""
        self.disk.make_folder(self.path(name))
        self.disk.sync_folder(self.folder)

    def inside(self, name: str) -> LocalStore:
        """See `Store`."""
        self.make_folder(name)
        return LocalStore(self.path(name), self.disk)

    def begin_log(self, lines: bytes) -> None:
        """See `Store`."""
        with self.create(LOG) as sink:
            sink.write(lines)

    def append(self, line: bytes) -> None:
        """See `Store`."""
        self.disk.append(self.path(LOG), line)

    def lines(self) -> Iterator[bytes]:
        """See `Store`."""
        try:
            with self.path(LOG).open("rb") as file:
                yield from _lines(file)
        except FileNotFoundError:
            return

    def cut(self, lines: int) -> None:
        """See `Store`."""
        kept = (line for _, line in zip(range(lines), self.lines(), strict=False))
        self.disk.cut(self.path(LOG), sum(map(len, kept)))

    def clear(self, log: str) -> None:
        """See `Store`; the lock stays."""
        if log == FIRST:
            self.disk.remove(self.path(LOG))
        for path in sorted(self.folder.iterdir()):
            if path.name not in (LOG, LOCK):
                self.disk.remove(path)
        if log == LAST:
            self.disk.remove(self.path(LOG))
        self.disk.sync_folder(self.folder)


def is_at(path: Path, written: Written) -> bool:
    """Tell whether the file at a path has the size and checksum that were written."""
    try:
        with path.open("rb") as file:
            return path.stat().st_size == written.size_bytes and measured(file) == written
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False


class RemoteStore:
    """A folder on a remote file system, through pyarrow.

    Such systems may neither append nor rename. So files are written under their final names, and
    count only if the log names them; the log has one file for each line.
    """

    def __init__(self, filesystem: Any, folder: str) -> None:
        self.filesystem = filesystem
        self.folder = folder
        self.name = folder
        self._appended = 0

    def path(self, name: str) -> str:
        """Return the path of a file."""
        return str(PurePosixPath(self.folder) / name)

    @contextmanager
    def create(self, name: str) -> Iterator[Sink]:
        """See `Store`."""
        with self.filesystem.open_output_stream(self.path(name)) as file:
            sink = Sink(file)
            try:
                yield sink
            except BaseException:
                sink.give_up()
                raise

    def open(self, name: str) -> Any:
        """See `Store`."""
        return self.filesystem.open_input_file(self.path(name))

    def exists(self, name: str) -> bool:
        """See `Store`."""
        return bool(self._info(name).type)  # NotFound is 0.

    def holds(self, name: str, written: Written) -> bool:
        """See `Store`."""
        return is_stored(self.filesystem, self.path(name), written)

    def make_folder(self, name: str) -> None:
        """See `Store`."""
        self.filesystem.create_dir(self.path(name), recursive=True)

    def inside(self, name: str) -> RemoteStore:
        """See `Store`."""
        self.make_folder(name)
        return RemoteStore(self.filesystem, self.path(name))

    def begin_log(self, lines: bytes) -> None:
        """See `Store`."""
        self._appended = 0
        self.append(lines)

    def append(self, line: bytes) -> None:
        """See `Store`."""
        with self.create(_line_name(self._appended)) as sink:
            sink.write(line)
        self._appended += 1

    def lines(self) -> Iterator[bytes]:
        """See `Store`."""
        self._appended = 0
        while self._info(name := _line_name(self._appended)).is_file:
            yield from self._read(name)
            self._appended += 1

    def cut(self, lines: int) -> None:
        """See `Store`; the last line is removed first, so that the log never has a gap."""
        kept = number = 0
        while kept < lines:
            kept += sum(1 for _ in self._read(_line_name(number)))
            number += 1
        end = number
        while self.exists(_line_name(end)):
            end += 1
        for at in reversed(range(number, end)):
            self.filesystem.delete_file(self.path(_line_name(at)))
        self._appended = number

    def clear(self, log: str) -> None:
        """See `Store`; without the first file of its log, no job was begun."""
        from pyarrow import fs

        selector = fs.FileSelector(self.folder, allow_not_found=True, recursive=True)
        files = [info.path for info in self.filesystem.get_file_info(selector) if info.is_file]
        logs = sorted(path for path in files if PurePosixPath(path).name.startswith(LOG))
        others = [path for path in files if path not in logs]
        order = {FIRST: [*logs, *others], LAST: [*others, *reversed(logs)], NEVER: others}
        for path in order[log]:
            self.filesystem.delete_file(path)

    def _read(self, name: str) -> Iterator[bytes]:
        with self.filesystem.open_input_stream(self.path(name)) as file:
            yield from _lines(io.BufferedReader(file))

    def _info(self, name: str) -> Any:
        return self.filesystem.get_file_info(self.path(name))


def is_stored(filesystem: Any, path: str, written: Written) -> bool:
    """Tell whether the file on another system is the one that was written: first by its size."""
    info = filesystem.get_file_info(path)
    if not info.is_file or info.size != written.size_bytes:
        return False
    with filesystem.open_input_stream(path) as file:
        return measured(file) == written


def _line_name(number: int) -> str:
    return f"{LOG}-{number:08d}"


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield lines, cut at `LINE_BYTES`."""
    while line := file.readline(LINE_BYTES):
        yield line
