"""The files of a folder that are looked at, and their text; links to folders are not followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.serving.model_config import CONFIG_FILE, MODEL_FILE

MOST_BYTES = 1 << 20
MOST_FILES = 10_000
DEEPEST = 8

_MOST_ENTRIES = 1000
_YAML = (".yml", ".yaml")
_PASSED_BY = ("node_modules", "site-packages", "mlruns", "__pycache__")


class Unreadable(Exception):
    """Raise where a file is not read; the message is a predicate, such as "is not UTF-8"."""


@dataclass
class Folder:
    """What lies in a folder: YAML files, and the folders of Triton's models.

    `is_whole` is false where there were more files than are looked at.
    """

    root: Path
    yaml: list[Path] = field(default_factory=list)
    models: list[Path] = field(default_factory=list)
    is_whole: bool = True

    def name(self, path: Path) -> str:
        """Return a path as findings name it."""
        return path.relative_to(self.root).as_posix()


def look_into(root: Path) -> Folder:
    """List a folder; raise `ConfigurationError` if it is none."""
    if not root.is_dir():
        raise ConfigurationError(
            f"{root}: is no folder; name the one that `hybridmodel export` wrote, or one with "
            f"*.yml and a Triton repository in it"
        )
    folder = Folder(root)
    seen = 0
    for path, inner, files in _walk(root):
        seen += len(inner) + len(files)
        if seen > MOST_FILES:
            folder.is_whole = False
            break
        folder.yaml += [path / name for name in files if name.lower().endswith(_YAML)]
        if is_model(path, inner, files):
            folder.models.append(path)
    return folder


def is_model(path: Path, inner: list[str], files: list[str]) -> bool:
    """Tell whether a folder is one of Triton's models: it has a configuration, or versions."""
    if CONFIG_FILE in files:
        return True
    return any(is_version(name) and os.path.lexists(path / name / MODEL_FILE) for name in inner)


def is_version(name: str) -> bool:
    """Tell whether Triton takes a folder for a version."""
    return name.isascii() and name.isdigit() and name[0] != "0" and len(name) < len(str(1 << 63))


def folders_in(path: Path) -> list[Path]:
    """Return the folders in a folder by name, among its first 1,000 entries; none without one."""
    try:
        with os.scandir(path) as entries:
            found = [Path(entry.path) for entry in islice(entries, _MOST_ENTRIES)]
        return sorted(filter(Path.is_dir, found))
    except OSError:
        return []


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for a block; raise `Unreadable`, also for what the block cannot read."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unreadable("is not a regular file")
            yield file
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from None


def _without_waiting(path: str, flags: int) -> int:
    """Open a path that may be a pipe by now."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_text(path: Path, root: Path) -> str:
    """Return the text of a small file in a folder; raise `Unreadable`."""
    # Findings show pieces of a file, so a link must not lead to one that is somebody else's.
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise Unreadable("is a link that leads out of the folder")
    with opened(path) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise Unreadable(f"is larger than {MOST_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8") from None


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    for where, inner, files in os.walk(root):
        path = Path(where)
        inner[:] = sorted(name for name in inner if name[0] != "." and name not in _PASSED_BY)
        yield path, list(inner), sorted(files)
        if len(path.relative_to(root).parts) >= DEEPEST:
            inner.clear()
