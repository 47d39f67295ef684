"""Puts files of any size into another folder, without a copy where the file system can do that.

No file is read into memory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from hybridmodel.deploy.graph_edits import Piece

REFLINK, HARD_LINK, COPY = "a reflink", "a hard link", "a copy"

_FICLONE = 0x40049409
_BLOCK_BYTES = 1 << 20
_RANGE_BYTES = 1 << 30


def clone(source: Path, target: Path, means: Collection[str] = (REFLINK, HARD_LINK)) -> str:
    """Make `target` the same file as `source` by the first of some means that works; return it.

    A reflink shares the disk's blocks until one of both is changed, a hard link is the same file.
    Where the file system can do none of them, `target` is a copy.
    """
    real = source.resolve()  # A hard link to a symbolic link would be one too.
    links: Mapping[str, Callable[[Path, Path], None]] = {REFLINK: _reflink, HARD_LINK: os.link}
    for word in means:
        with suppress(OSError, NotImplementedError):
            links[word](real, target)
            return word
        target.unlink(missing_ok=True)
    with real.open("rb", buffering=0) as old, target.open("xb", buffering=0) as new:
        _copy_range(old.fileno(), new.fileno(), range(os.fstat(old.fileno()).st_size))
    return COPY


def assemble(source: Path | bytes, pieces: Iterable[Piece], target: Path) -> None:
    """Write new bytes, and ranges of an old file, one after the other."""
    with ExitStack() as stack:
        new = stack.enter_context(target.open("wb", buffering=0)).fileno()
        kept = source if isinstance(source, bytes) else stack.enter_context(source.open("rb"))
        for piece in pieces:
            if isinstance(piece, bytes):
                _write(new, piece)
            elif isinstance(kept, bytes):
                _write(new, kept[piece.start : piece.stop])
            else:
                _copy_range(kept.fileno(), new, piece)


def _reflink(source: Path, target: Path) -> None:
    if sys.platform != "linux":
        raise NotImplementedError
    import fcntl

    # A target that is there may be a hard link, so opening it for writing may empty the source.
    with source.open("rb") as old, target.open("xb") as new:
        fcntl.ioctl(new, _FICLONE, old.fileno())


def _copy_range(old: int, new: int, place: range) -> None:
    """Append a range of one open file to another, in the kernel where it can."""
    position = place.start
    with suppress(AttributeError, OSError):
        while position < place.stop:
            size = min(_RANGE_BYTES, place.stop - position)
            done = os.copy_file_range(old, new, size, position)
            if done == 0:
                break
            position += done
    os.lseek(old, position, os.SEEK_SET)
    while position < place.stop:
        block = os.read(old, min(_BLOCK_BYTES, place.stop - position))
        if not block:
            raise OSError(f"ended at byte {position}, of {place.stop}")
        _write(new, block)
        position += len(block)


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
