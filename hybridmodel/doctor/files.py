"""Walks folders in a fixed order, and opens regular files only, so that nothing can block."""

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
"""Folders with other people's code, or with copies."""

_KINDS = {
    ".py": "python",
    ".pyw": "python",
    ".ipynb": "notebook",
    ".onnx": "onnx",
}


def files_below(paths: Iterable[Path]) -> Iterator[Path | Skipped]:
    """Yield each file to read and each folder skipped; a named file may have any suffix."""
    for path in paths:
        if path.is_dir():
            within = SKIPPED_FOLDERS.intersection(path.resolve().parts)
            yield from _walk(path, frozenset() if within else SKIPPED_FOLDERS)
        else:
            yield path


def kind_of(path: Path, start: bytes) -> str:
    """Tell the kind of a file by its name, or else by its first byte."""
    # The first field of most models is ModelProto.ir_version.
    by_start = {b"{": "notebook", b"\x08": "onnx"}.get(start[:1], "python")
    return _KINDS.get(path.suffix.lower(), by_start)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular file; raise `NotRead` for anything else, which might block."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotRead("is not a regular file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise NotRead(f"cannot be read: {error.strerror or error}") from None


def read(file: IO[bytes], most_bytes: int) -> bytes:
    """Return the content of a file, or raise `NotRead` if it is larger."""
    data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise NotRead(f"is larger than {most_bytes / 2**20:g} MiB")
    return data


def _walk(top: Path, skipped: frozenset[str]) -> Iterator[Path | Skipped]:
    todo = [top]
    while todo:
        folder = todo.pop()
        errors: list[OSError] = []
        # One folder at a time: os.walk itself recurses, and folders nest deeply.
        _, folders, files = next(os.walk(folder, onerror=errors.append), ("", [], []))
        yield from (Skipped(str(folder), f"cannot be read: {error.strerror}") for error in errors)
        yield from (folder / name for name in sorted(files) if Path(name).suffix.lower() in _KINDS)
        paths = [folder / name for name in sorted(folders)]
        reasons = {path: _reason_to_skip(path, skipped) for path in paths}
        yield from (Skipped(str(path), reason) for path, reason in reasons.items() if reason)
        todo += [path for path, reason in reversed(reasons.items()) if reason is None]


def _reason_to_skip(folder: Path, skipped: frozenset[str]) -> str | None:
    with suppress(OSError):
        if folder.is_symlink():
            return "a link"
        if folder.name in skipped:
            return "not the user's own code"
        if skipped and (folder / "pyvenv.cfg").exists():
            return "a virtual environment"
    return None
