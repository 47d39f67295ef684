"""Files that are whole once they have their name, whatever ends the process or the power."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hybridmodel.exceptions import ConfigurationError

_BUFFER_BYTES = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
_UNFINISHED = ".tmp"


@dataclass(frozen=True, slots=True)
class Written:
    """What a file must be to be the one that was written."""

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
        return {"size_bytes": self.size_bytes, "checksum": self.checksum}


class Sink:
    """A file that is only written to, counted and summed on the way.

    Closing it does nothing: whoever made it closes the file, when it is to be durable.
    """

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self._size = 0
        self._sum = 0
        self._is_given_up = False

    @property
    def written(self) -> Written:
        """Size and checksum of what was written so far."""
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
        """Take no more: writers that are left alone write what ends a file when they are freed."""
        self._is_given_up = True

    def tell(self) -> int:
        """Return the bytes written so far."""
        return self._size

    def flush(self) -> None:
        """Do nothing: the end flushes."""

    def close(self) -> None:
        """Do nothing; see above."""

    def readable(self) -> bool:
        """Return False."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return False."""
        return False


def measured(file: Any) -> Written:
    """Return what the rest of a file is, read in pieces of 1 MiB."""
    size = total = 0
    while piece := file.read(_BUFFER_BYTES):
        size += len(piece)
        total = zlib.crc32(piece, total)
    return Written(size, f"{total:08x}")


class Disk:
    """The steps of durable writing, one system call or two each; tests put faults in between.

    All raise `OSError`.
    """

    def create(self, path: Path) -> IO[bytes]:
        """Open a new file; what has its name is removed first, and no link is followed."""
        path.unlink(missing_ok=True)
        return os.fdopen(os.open(path, _NEW, 0o666), "wb", _BUFFER_BYTES)

    def sync(self, file: IO[bytes]) -> None:
        """Bring what was written to a file to the disk."""
        file.flush()
        os.fsync(file.fileno())

    def append(self, path: Path, data: bytes) -> None:
        """Write to the end of a file that exists, in one call, and bring it to the disk."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "ab", 0) as file:
            if file.write(data) != len(data):
                raise OSError(28, "No space left on device", str(path))
            os.fsync(descriptor)

    def cut(self, path: Path, size_bytes: int) -> None:
        """Shorten a file, and bring that to the disk."""
        with path.open("r+b") as file:
            file.truncate(size_bytes)
            os.fsync(file.fileno())

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or folder its name; a file that has it is replaced."""
        old.replace(new)

    def sync_folder(self, folder: Path) -> None:
        """Bring the names in a folder to the disk."""
        if os.name == "nt":  # pragma: no cover - Windows does not open folders
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_folder(self, folder: Path) -> None:
        """Make a folder unless it is there."""
        folder.mkdir(exist_ok=True)

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with all that is in it; links are not followed."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def durably(disk: Disk, path: Path) -> Iterator[Sink]:
    """Yield what writes a file, which has its name only when all of it is on the disk.

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
        with suppress(OSError):  # What was raised says more; a full disk fails here once more.
            file.close()
        with suppress(OSError):
            disk.remove(unfinished)
        raise
    file.close()
    disk.rename(unfinished, path)
    disk.sync_folder(path.parent)
