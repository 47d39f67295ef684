"""Writes files that are complete once they have their name, even if the process is killed."""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from hybridmodel.exceptions import ConfigurationError

_BUFFER_BYTES = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
_OLD = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
_UNFINISHED = ".tmp"


@dataclass(frozen=True, slots=True)
class Written:
    """The size in bytes and CRC-32 (in hexadecimal) of a file, to recognise it later."""

    size_bytes: int
    checksum: str

    @classmethod
    def from_dict(cls, stored: Any) -> Written:
        """Read what `to_dict` returned; raises `ConfigurationError` for anything else."""
        match stored:
            case {"size_bytes": int(size), "checksum": str(checksum)} if size >= 0:
                return cls(size, checksum)
        raise ConfigurationError("not the size and checksum of a file")

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return asdict(self)


NOTHING = Written(0, "00000000")


class Sink:
    """A file for writing that counts its bytes and keeps their checksum.

    `before` is what the file has already. Closing it does nothing: whoever made it closes the file,
    when it is to be durable.
    """

    closed = False

    def __init__(self, file: Any, before: Written = NOTHING) -> None:
        self._file = file
        self._size = before.size_bytes
        self._sum = int(before.checksum, 16)
        self._is_given_up = False

    @property
    def written(self) -> Written:
        """The size and checksum of the bytes written so far."""
        return Written(self._size, f"{self._sum:08x}")

    def write(self, data: Any) -> int:
        """Write bytes, and return how many."""
        view = memoryview(data).cast("B")
        if self._is_given_up:
            return len(view)
        self._file.write(view)
        self._size += len(view)
        self._sum = zlib.crc32(view, self._sum)
        return len(view)

    def give_up(self) -> None:
        """Ignore later writes: an abandoned writer writes its footer when it is freed."""
        self._is_given_up = True

    def tell(self) -> int:
        """Return the bytes written so far."""
        return self._size

    def flush(self) -> None:
        """Do nothing: the end flushes."""

    def close(self) -> None:
        """Do nothing; `durably` closes the file."""

    def readable(self) -> bool:
        """Return False."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return False."""
        return False


def measured(file: Any, before: Written = NOTHING, most_bytes: int = sys.maxsize) -> Written:
    """Return the size and checksum of a file up to its end, or up to a size.

    `before` is what was read of it so far.
    """
    size, total = before.size_bytes, int(before.checksum, 16)
    while piece := file.read(max(0, min(_BUFFER_BYTES, most_bytes - size))):
        size += len(piece)
        total = zlib.crc32(piece, total)
    return Written(size, f"{total:08x}")


class Disk:
    """The steps of durable writing; tests put faults between them.

    All raise `OSError`.
    """

    def create(self, path: Path) -> IO[bytes]:
        """Open a new file; an old file of this name is removed, and no link is followed."""
        path.unlink(missing_ok=True)
        return os.fdopen(os.open(path, _NEW, 0o666), "wb", _BUFFER_BYTES)

    def grow(self, path: Path, size_bytes: int) -> IO[bytes]:
        """Open a file behind its first bytes, and cut off the others; no link is followed."""
        if not size_bytes:
            return self.create(path)
        file = os.fdopen(os.open(path, _OLD), "r+b", _BUFFER_BYTES)
        file.truncate(size_bytes)
        file.seek(size_bytes)
        return file

    def sync(self, file: IO[bytes]) -> None:
        """Flush a file to the disk."""
        file.flush()
        os.fsync(file.fileno())

    def append(self, path: Path, data: bytes) -> None:
        """Append to an existing file in one call, and flush it to the disk."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "ab", 0) as file:
            if file.write(data) != len(data):
                raise OSError(28, "No space left on device", str(path))
            os.fsync(descriptor)

    def cut(self, path: Path, size_bytes: int) -> None:
        """Truncate a file, and flush that to the disk."""
        with path.open("r+b") as file:
            file.truncate(size_bytes)
            os.fsync(file.fileno())

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file or folder; a file of the new name is replaced."""
        old.replace(new)

    def sync_folder(self, folder: Path) -> None:
        """Flush the names in a folder to the disk."""
        if os.name == "nt":  # pragma: no cover - Windows does not open folders
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_folder(self, folder: Path) -> None:
        """Make a folder unless it exists."""
        folder.mkdir(exist_ok=True)

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with its contents; links are not followed."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def durably(disk: Disk, path: Path) -> Iterator[Sink]:
    """Yield a sink for a file, which gets its name only when all of it is on the disk.

    Raises `OSError` if a step fails; the name is not taken then.
    """
    unfinished = path.with_name(path.name + _UNFINISHED)
    file = disk.create(unfinished)
    sink = Sink(file)
    try:
        yield sink
        disk.sync(file)
    except BaseException:
        sink.give_up()
        with suppress(OSError):  # The first error says more; a full disk fails here again.
            file.close()
        with suppress(OSError):
            disk.remove(unfinished)
        raise
    file.close()
    disk.rename(unfinished, path)
    disk.sync_folder(path.parent)
