"""Checks of files beside a model: regular files of a limited size in the model's folder.

Their names come from whoever wrote the model. So no file is opened, measured or hashed before it is
known to be in the folder, and no message reveals anything about a file elsewhere.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise `ConfigurationError` where the system refuses a file."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except RuntimeError as error:  # Python up to 3.12 raises it for links in a circle.
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error


def checked_name(name: Any) -> str:
    """Return the name of a file that can only be in the folder itself, or raise."""
    if not isinstance(name, str) or not _stays_inside(name) or len(PureWindowsPath(name).parts) > 1:
        raise ConfigurationError(f"expected the name of a file in this folder, got {shown(name)}")
    return name


def check_location(name: str, where: str) -> None:
    """Raise for a relative path that leads out of its folder on any system."""
    if not _stays_inside(name):
        raise ConfigurationError(
            f"{where}: has tensors in {name!r}, outside of the model's own folder"
        )


def check_inside(path: Path, *folders: Path) -> None:
    """Raise unless a path, or the target of a link, is a regular file in one of the folders."""
    with readable(path):
        found = path.resolve()
        if not any(found.is_relative_to(folder.resolve()) for folder in folders):
            raise ConfigurationError(f"{path}: is a link that leads out of the model's own folder")
        if not stat.S_ISREG(found.stat().st_mode):
            raise ConfigurationError(f"{path}: is not a regular file")


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file in its folder.

    Raise if it is larger than `most_bytes`.
    """
    check_inside(path, path.parent)
    with readable(path), path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ConfigurationError(f"{path}: has more than {most_bytes} bytes")
    return content


def _stays_inside(name: str) -> bool:
    # Also by the rules of Windows: a model may be saved on one system and loaded on another.
    anchored = PurePosixPath(name).anchor or PureWindowsPath(name).anchor
    steps_out = ".." in PureWindowsPath(name).parts
    is_name = bool(name.strip("./\\")) and not _CONTROL.search(name)
    return is_name and not anchored and not steps_out
