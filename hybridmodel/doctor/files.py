"""Walks folders in a fixed order, and opens files so that nothing can block or surprise."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from hybridmodel.doctor.records import NotRead, Skipped

SKIPPED_FOLDERS = frozenset(
    {
        ".git", ".hg", ".svn", ".venv", ".tox", ".nox", "node_modules", "site-packages",
        "__pycache__", ".ipynb_checkpoints",
    }
)  # fmt: skip
"""Folders that hold others' code, or copies."""

_KINDS = {
    ".py": "python",
    ".pyw": "python",
    ".ipynb": "notebook",
    ".onnx": "onnx",
}


def files_below(paths: Iterable[Path]) -> Iterator[Path | Skipped]:
    """Yield each file to read, one that is named whatever its suffix, and each folder passed by."""
    for path in paths:
        if path.is_dir():
            within = SKIPPED_FOLDERS.intersection(path.resolve().parts)
            yield from _walk(path, frozenset() if within else SKIPPED_FOLDERS)
        else:
            yield path


def kind_of(path: Path, start: bytes) -> str:
    """Tell what a file is: by its name, or else by how it starts."""
    # The first field of most models is ModelProto.ir_version.
    by_start = {b"{": "notebook", b"\x08": "onnx"}.get(start[:1], "python")
    return _KINDS.get(path.suffix.lower(), by_start)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular file; anything else might block, and is refused with `NotRead`."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotRead("is no regular file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise NotRead(f"cannot be read: {error.strerror or error}") from None


def read(file: IO[bytes], most_bytes: int) -> bytes:
    """Return the whole of a file, or raise `NotRead` for a larger one."""
    data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise NotRead(f"is larger than {most_bytes / 2**20:g} MiB")
    return data


def _walk(top: Path, skipped: frozenset[str]) -> Iterator[Path | Skipped]:
    todo = [top]
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            yield Skipped(str(folder), f"cannot be read: {error.strerror}")
            continue
        folders = []
        for entry in entries:
            path = folder / entry.name
            if not _is_folder(entry):
                if path.suffix.lower() in _KINDS:
                    yield path
            elif reason := _reason_to_skip(entry, skipped):
                yield Skipped(str(path), reason)
            else:
                folders.append(path)
        todo += reversed(folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link in a loop, or to where nobody may look.
        return False


def _reason_to_skip(entry: os.DirEntry[str], skipped: frozenset[str]) -> str | None:
    if entry.is_symlink():
        return "a link"
    if entry.name in skipped:
        return "not the user's own code"
    with suppress(OSError):
        if skipped and Path(entry.path, "pyvenv.cfg").exists():
            return "a virtual environment"
    return None
