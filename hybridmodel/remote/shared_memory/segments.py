"""Segments of POSIX shared memory, as files of Linux; no server is asked here.

A segment is a file in ``/dev/shm`` that only its owner may open. Its name cannot be guessed, since
whoever knows it could ask the server for what lies in it. Its lock lasts as long as a process has
it open: so the next start finds what a killed process has left.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hybridmodel.exceptions import ConfigurationError

FOLDER = Path("/dev/shm")  # noqa: S108 - its place on Linux
PREFIX = "hybridmodel-"

_NAME_BYTES = 16
_ENDS = re.compile(rf"[0-9a-f]{{{2 * _NAME_BYTES}}}")
"""How names of segments end, and no file that a user names."""

_LEFT_FOR_OTHERS = 2
"""So many times its size must be left where a segment is made: the server needs room as well."""


def are_possible() -> bool:
    """Tell whether this system has shared memory as files."""
    return hasattr(os, "posix_fallocate") and FOLDER.is_dir()


class Segment:
    """Memory that a server on this machine may open; raises OSError where there is no room.

    `name` is that of the file, and of the region that the server is told.
    """

    def __init__(self, size_bytes: int) -> None:
        found = os.statvfs(FOLDER)
        if found.f_bavail * found.f_frsize < (1 + _LEFT_FOR_OTHERS) * size_bytes:
            raise OSError(f"{FOLDER} has no room for {size_bytes} bytes")
        self.size_bytes = size_bytes
        self.name = f"{PREFIX}{os.urandom(_NAME_BYTES).hex()}"
        self._owner = os.getpid()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        try:
            _hold(self._descriptor)
            # Without it, a full file system would end the process at its first touch (SIGBUS).
            os.posix_fallocate(self._descriptor, 0, size_bytes)
            os.stat(self._path)  # noqa: PTH116 - raises if it was swept before it was locked
            self.memory = memoryview(mmap.mmap(self._descriptor, size_bytes))
        except BaseException:
            self.remove()
            raise

    @property
    def _path(self) -> str:
        return f"{FOLDER}/{self.name}"

    def remove(self) -> None:
        """Remove its name; the memory is freed once nobody has it any more."""
        if self._owner == os.getpid():
            with suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - without imports, at the end of the process
        self.leave()

    def leave(self) -> None:
        """Close what this process has of it, as a forked one does."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def swept() -> Iterator[str]:
    """Remove the segments of this user that killed processes have left, and yield their names."""
    for path in FOLDER.glob(f"{PREFIX}*"):
        with suppress(OSError):
            # Before it is opened, too, which may wait for the owner of a file of others.
            if not _ENDS.fullmatch(path.name.removeprefix(PREFIX)) or not _is_own(path.lstat()):
                continue
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(path, flags)
            try:
                if _is_own(os.fstat(descriptor)) and _locked(descriptor):
                    path.unlink()
                    yield path.name
            finally:
                os.close(descriptor)


def _is_own(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def _hold(descriptor: int) -> None:
    if not _locked(descriptor):
        raise OSError("another process is sweeping, and takes this segment for one left behind")


def _locked(descriptor: int) -> bool:
    """Lock an open file for as long as it is open; return whether nobody else had."""
    try:
        import fcntl
    except ImportError as error:
        raise ConfigurationError("this system has no locks for files") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
