"""Writes files that appear complete or not at all, and never replace the input."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from hybridmodel.exceptions import ConfigurationError


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path, which replaces `target` only when the block succeeds."""
    target = Path(os.path.realpath(target))
    if target.exists() and not target.is_file():
        raise ConfigurationError(f"{target}: exists already and is not a file")
    if not target.parent.is_dir():
        raise ConfigurationError(f"{target}: no folder {target.parent}")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


class Named(Protocol):
    """An input of a command."""

    def named(self) -> Iterable[tuple[Any, str]]:
        """Return paths and streams that are read, with their names in messages."""


def check_targets(source: Named, *targets: Path | None) -> None:
    """Refuse to overwrite the input, or to write one file twice; the target None is stdout."""
    taken = {_identity(file): name for file, name in source.named()}
    for target in targets:
        found = _identity(sys.stdout if target is None else target)
        name = "stdout" if target is None else str(target)
        if found is not None and found in taken:
            raise ConfigurationError(
                f"{name}: is the same file as {taken[found]} and would overwrite it; choose "
                "another target"
            )
        taken[found] = name


def _identity(file: object) -> object:
    """Return a key that all names of one regular file share; None for anything else."""
    try:
        if isinstance(file, Path):
            # A file that does not exist yet is known by its path.
            status = file.stat() if file.exists() else None
        else:
            status = os.fstat(file.fileno())  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):  # Streams that are no files.
        return None
    if status is None:
        return os.path.normcase(os.path.realpath(str(file)))
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
