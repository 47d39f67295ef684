"""Files beside a model: they lie in its folder, and are plain files of a bounded size.

What names them comes from whoever wrote the model, so nothing is opened, measured or hashed before
it is clear that it lies inside, and no message tells anything about a file elsewhere.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def checked_name(name: Any) -> str:
    """Return the name of a file that can only lie in the very folder.

    Raises
    ------
    ConfigurationError
        If it is no text, or has folders in it.
    """
    if not isinstance(name, str) or not _stays_inside(name) or len(PureWindowsPath(name).parts) > 1:
        raise ConfigurationError(f"expected the name of a file in this folder, got {shown(name)}")
    return name


def check_location(name: str, where: str) -> None:
    """Make sure that a path, relative to a folder, does not lead out of it on any system.

    Raises
    ------
    ConfigurationError
        If it does, or is no path.
    """
    if not _stays_inside(name):
        raise ConfigurationError(
            f"{where}: keeps tensors in {name!r}, outside of the model's own folder"
        )


def check_inside(path: Path, *folders: Path) -> None:
    """Make sure that a file exists, is a regular one, and lies in one of the folders.

    Parameters
    ----------
    path : Path
        May be a link to a file that lies inside, too.
    *folders : Path
        Each may be reached by links.

    Raises
    ------
    ConfigurationError
        If it cannot be found, leads elsewhere, or is a folder, device or pipe.
    """
    try:
        found = path.resolve()
        if not any(found.is_relative_to(folder.resolve()) for folder in folders):
            raise ConfigurationError(f"{path}: is a link that leads out of the model's own folder")
        if not stat.S_ISREG(found.stat().st_mode):
            raise ConfigurationError(f"{path}: is no regular file")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except RuntimeError as error:  # What Python up to 3.12 says of links in a circle.
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file that lies in its folder.

    Raises
    ------
    ConfigurationError
        If it is not there, is something else, lies elsewhere, or has more than `most_bytes`.
    """
    check_inside(path, path.parent)
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > most_bytes:
        raise ConfigurationError(f"{path}: has more than {most_bytes} bytes")
    return content


def _stays_inside(name: str) -> bool:
    # Read as Windows does, too: a model may be saved on one system and loaded on another.
    anchored = PurePosixPath(name).anchor or PureWindowsPath(name).anchor
    steps_out = ".." in PureWindowsPath(name).parts
    is_name = bool(name.strip("./\\")) and not _CONTROL.search(name)
    return is_name and not anchored and not steps_out
