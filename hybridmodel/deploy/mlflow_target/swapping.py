"""Puts new files and folders in the place of old ones, so that there never is a moment without."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hybridmodel.deploy.placing import place

_HERE, _EXCHANGE = -100, 2
"""Linux's AT_FDCWD and RENAME_EXCHANGE."""

_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def put(stage: Path, base: Path, units: Sequence[Path]) -> None:
    """Move files and folders of `stage` into `base`; after an error all is as it was.

    What they replace is in `stage` then. Where the system cannot exchange two folders, there is a
    moment with neither.
    """
    swapped: list[Path] = []
    try:
        for unit in units:
            if os.path.lexists(base / unit) and swap(stage / unit, base / unit):
                swapped.append(unit)
            else:
                place(stage, base, [unit])
    except BaseException:
        for unit in swapped:
            with suppress(OSError):
                swap(stage / unit, base / unit)
        raise


def swap(one: Path, other: Path) -> bool:
    """Exchange two paths in one step; False where the system cannot do that."""
    function = _renameat2()
    if function is None:
        return False
    if function(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _renameat2() -> ctypes._NamedFuncPointer | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # pragma: no cover - a C library without it
        return None
