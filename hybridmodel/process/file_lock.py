"""A lock on an open file, which the system releases with the process, however that ends."""

from __future__ import annotations

import os
from pathlib import Path


def take(descriptor: int) -> bool:
    """Lock a file until its descriptor is closed; False if another process holds it.

    Windows has no such locks; there it is always True. Raises `OSError` if the file system has no
    locks.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_there(descriptor: int, path: Path) -> bool:
    """Tell whether an open file still has a name, as whoever held its lock may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
