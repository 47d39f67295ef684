"""Builds a folder beside its place and renames it, so that it appears complete or not at all."""

from __future__ import annotations

import filecmp
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.process.file_lock import take

_STAGE = re.compile(r"\.export\.[0-9a-f]{8}\.part")
_NEW_S = 60


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, or in it if it exists, which is gone after the block.

    An error of the file system, such as a full disk, becomes a `ConfigurationError`.
    """
    # An existing folder may be on a file system of its own, and nothing is renamed into another.
    parent = target if target.is_dir() else target.absolute().parent
    stage = parent / f".export.{secrets.token_hex(4)}.part"
    made: list[Path] = []
    try:
        made += (folder for folder in stage.parents if not folder.exists())
        stage.mkdir(parents=True)
        with _locked(stage):
            _remove_dead(parent, stage)
            yield stage
    except OSError as error:
        raise ConfigurationError(
            f"{target}: cannot be written, and nothing of it is left: {error.strerror or error}"
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for folder in made:
            with suppress(OSError):  # Only empty folders go.
                folder.rmdir()


def is_free(target: Path) -> bool:
    """Tell whether nothing stands in the way: no such path, or an empty folder.

    What exports that run, or were killed, have built in the folder does not count.
    """
    if not os.path.lexists(target):
        return True
    return target.is_dir() and all(_STAGE.fullmatch(path.name) for path in target.iterdir())


def units(stage: Path, target: Path, whole: Path) -> list[Path]:
    """Return what has to be moved at once: the folder `whole`, and files that `target` has not.

    They are relative to `stage`. A file that is the same in both stays.
    """
    files = (path.relative_to(stage) for path in sorted(stage.rglob("*")) if path.is_file())
    others = (path for path in files if not path.is_relative_to(whole))
    return [whole, *(path for path in others if not _is_same(stage / path, target / path))]


def place(stage: Path, target: Path, found: list[Path]) -> None:
    """Move these units into `target`; after an error all is as it was."""
    if not os.path.lexists(target):
        stage.rename(target)
        return
    aside = stage / ".replaced"
    done: list[tuple[Path, Path]] = []
    try:
        for unit in found:
            new, old = target / unit, aside / unit
            new.parent.mkdir(parents=True, exist_ok=True)
            old.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(new):
                _move(new, old, done)
            _move(stage / unit, new, done)
    except BaseException:
        for before, after in reversed(done):
            with suppress(OSError):
                after.rename(before)
        for folder in (target / parent for unit in found for parent in unit.parents[:-1]):
            with suppress(OSError):  # Only empty folders go.
                folder.rmdir()
        raise


@contextmanager
def _locked(stage: Path) -> Iterator[None]:
    """Hold a lock, which the system releases with the process, so that others leave `stage`."""
    descriptor = _taken(stage)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _remove_dead(parent: Path, own: Path) -> None:
    """Remove what exports that were killed have left: nobody holds a lock on it.

    A folder that is new stays, as an export may be about to lock it.
    """
    old = own.stat().st_mtime - _NEW_S
    for path in parent.iterdir():
        with suppress(OSError):
            if _STAGE.fullmatch(path.name) and path.lstat().st_mtime < old:
                descriptor = _taken(path)
                if descriptor is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(descriptor)


def _taken(folder: Path) -> int | None:
    """Lock a folder until the descriptor is closed; None where another holds it, or none can."""
    if os.name == "nt":  # pragma: no cover - Windows opens no folders
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):
        if take(descriptor):
            return descriptor
    os.close(descriptor)
    return None


def _move(before: Path, after: Path, done: list[tuple[Path, Path]]) -> None:
    before.rename(after)
    done.append((before, after))


def _is_same(new: Path, old: Path) -> bool:
    return old.is_file() and filecmp.cmp(new, old, shallow=False)
