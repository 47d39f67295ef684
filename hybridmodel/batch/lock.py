"""Lets one job at a time work on an output; the system releases the lock with the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.process.file_lock import is_there, take

LOCK = "lock"
_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def locked(folder: Path, output: str) -> Iterator[None]:
    """Lock a folder, which is made if needed, until the block ends or the process is killed.

    Raises `ConfigurationError` if another job holds it; `OSError` if it cannot be made.
    """
    while True:
        _make(folder, output)
        try:
            descriptor = os.open(folder / LOCK, _OPEN, 0o666)
        except FileNotFoundError:
            continue  # A job that ended in between has removed the folder.
        try:
            if not take(descriptor):
                raise ConfigurationError(
                    f"{output}: another job is writing it at this moment; wait for it, or choose "
                    "another output"
                )
            if is_there(descriptor, folder / LOCK):
                yield
                return
        finally:
            os.close(descriptor)


def _make(folder: Path, output: str) -> None:
    folder.mkdir(exist_ok=True)
    if folder.is_symlink():
        raise ConfigurationError(
            f"{output}: {folder} is a link; a folder for the job was expected. Remove it"
        )
