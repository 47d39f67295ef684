"""Removes paths of this machine from errors for clients."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

_MAX_LETTERS = 2000
_PATH = re.compile(
    r"(?:[A-Za-z]:)?[\\/]{1,2}[^\s\\/'\",;:()\[\]<>|]+(?:[\\/]+[^\s\\/'\",;:()\[\]<>|]+)*"
)


def without_paths(text: str) -> str:
    """Replace the paths of this machine by ``…``, and cut a very long text.

    Names of nodes look like paths too, and are kept: a path counts if its first folder exists.
    """
    folders = {str(Path.cwd()), tempfile.gettempdir(), str(Path("~").expanduser())} - {"/"}
    for folder in sorted(folders, key=len, reverse=True):
        # To the end of the path, which may contain spaces.
        text = re.sub(re.escape(folder) + r"(?![\w-])[^'\",;:\n]*", "…", text)
    return _PATH.sub(_shown, text)[:_MAX_LETTERS]


def _shown(found: re.Match[str]) -> str:
    path = Path(found[0])
    top = Path(*path.parts[:2])
    try:
        exists = len(path.parts) > 1 and top.exists()
    except (OSError, ValueError):
        exists = False
    return "…" if exists else found[0]
