"""What an error may say to a client: anything but where files lie on this machine."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

_MAX_LETTERS = 2000
_PATH = re.compile(
    r"(?:[A-Za-z]:)?[\\/]{1,2}[^\s\\/'\",;:()\[\]<>|]+(?:[\\/]+[^\s\\/'\",;:()\[\]<>|]+)*"
)


def without_paths(text: str) -> str:
    """Put ``…`` in the place of paths on this machine, and cut what is very long.

    Names of nodes look like paths as well, and are kept: what counts is whether the first folder
    exists.

    Parameters
    ----------
    text : str
        Such as an error of onnxruntime.
    """
    for folder in _folders():
        # With its end, which may hold blanks.
        text = re.sub(re.escape(folder) + r"(?![\w-])[^'\",;:\n]*", "…", text)
    return _PATH.sub(_shown, text)[:_MAX_LETTERS]


def _folders() -> list[str]:
    folders = {str(Path.cwd()), tempfile.gettempdir(), str(Path("~").expanduser())}
    return sorted((folder for folder in folders if len(folder) > 1), key=len, reverse=True)


def _shown(found: re.Match[str]) -> str:
    path = Path(found[0])
    top = Path(*path.parts[:2])
    try:
        exists = len(path.parts) > 1 and top.exists()
    except (OSError, ValueError):
        exists = False
    return "…" if exists else found[0]
