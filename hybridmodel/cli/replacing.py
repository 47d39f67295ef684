"""A file that appears complete or not at all, and never in place of what is read."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hybridmodel.cli.source import Source
from hybridmodel.exceptions import ConfigurationError


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path to write to, which becomes `target` at the end, or nothing does.

    Raises
    ------
    ConfigurationError
        If the target cannot be replaced.
    """
    target = Path(os.path.realpath(target))
    if target.exists() and not target.is_file():
        raise ConfigurationError(f"{target}: is there already, and is no file")
    if not target.parent.is_dir():
        raise ConfigurationError(f"{target}: there is no folder {target.parent}")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def check_targets(source: Source, *targets: Path | None) -> None:
    """Refuse to write what is read, or one file twice, under whatever name.

    Parameters
    ----------
    source : Source
        What will be read; for stdin, the file that was put there.
    *targets : Path or None
        What will be written; None is stdout.

    Raises
    ------
    ConfigurationError
        If two of them are the same file: by the same path, a link, or another spelling.
    """
    taken = {_identity(sys.stdin if source.is_stream else source.path): source.name}
    for target in targets:
        found = _identity(sys.stdout if target is None else target)
        name = "stdout" if target is None else str(target)
        if found is not None and found in taken:
            raise ConfigurationError(
                f"{name}: is the same file as {taken[found]}, which it would replace; write to "
                "another"
            )
        taken[found] = name


def _identity(file: object) -> object:
    """Return what two names of one regular file have in common; None for anything else."""
    try:
        if isinstance(file, Path):
            # A file that is not there yet is its path.
            status = file.stat() if file.exists() else None
        else:
            status = os.fstat(file.fileno())  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):  # Streams that are no files.
        return None
    if status is None:
        return os.path.normcase(os.path.realpath(str(file)))
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
