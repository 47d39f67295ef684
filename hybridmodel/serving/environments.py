"""Virtual environments for tools that do not fit into the caller's own; each is created once.

They are in the user's cache folder: ``$HYBRIDMODEL_CACHE``, else ``hybridmodel`` in
``$XDG_CACHE_HOME`` or ``~/.cache``. That folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from hybridmodel.checks import needed_for
from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tqdm import tqdm

CACHE_VARIABLE = "HYBRIDMODEL_CACHE"

_MARKER = "hybridmodel-complete"
_LINES_OF_PIP = 15


def cache_folder() -> Path:
    """Return hybridmodel's cache folder, which may not exist yet."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "hybridmodel")


def environment(name: str, requirements: Sequence[str]) -> Path:
    """Return a folder with a virtual environment of this Python; create it if necessary (POSIX).

    Other processes that need it wait meanwhile. One that was left incomplete is created again.
    `name` is for people: environments with other requirements or another Python do not collide.
    """
    python = [*sys.version_info[:2], sys.base_prefix]
    key = hashlib.sha256(json.dumps([python, *requirements]).encode()).hexdigest()[:12]
    folder = cache_folder() / "environments" / f"{name}-{key}"
    if not _is_complete(folder):
        import fcntl

        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_complete(folder):
                _make(folder, name, requirements, lock.fileno())
    return folder


def _is_complete(folder: Path) -> bool:
    return (folder / _MARKER).exists() and (folder / "bin" / "python").exists()


def _make(folder: Path, name: str, requirements: Sequence[str], lock: int) -> None:
    with needed_for("a server's environment"):
        from tqdm.auto import tqdm as progress
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-input", "--progress-bar=off", "--only-binary=:all:"]
    (folder / _MARKER).unlink(missing_ok=True)
    with progress(desc=f"Preparing {name}, only this once", unit=" steps", leave=False) as bar:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], lock, bar)
        _run([*pip, "install", *options, *requirements], lock, bar)
    (folder / _MARKER).touch()


def _run(command: Sequence[str], lock: int, bar: tqdm[Any]) -> None:
    """Run a command, show its output in the progress bar, and end it with an interrupted caller."""
    last: deque[str] = deque(maxlen=_LINES_OF_PIP)
    with subprocess.Popen(  # noqa: S603 - the command is ours
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=[lock],  # The command holds the lock even if this process is killed.
    ) as process:
        try:
            for line in cast("IO[str]", process.stdout):
                last.append(line.rstrip())
                bar.set_postfix_str(line.strip()[:60], refresh=False)
                bar.update()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said = "\n".join(last)
        raise ConfigurationError(f"{' '.join(command[:4])} … failed with this output:\n{said}")
