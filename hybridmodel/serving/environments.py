"""Virtual environments for tools that cannot live in the caller's own, made once and kept.

They lie in the user's cache folder: ``$HYBRIDMODEL_CACHE``, else ``hybridmodel`` within
``$XDG_CACHE_HOME`` or ``~/.cache``. Deleting that folder is always safe; it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import deque
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from hybridmodel.checks import needed_for
from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

CACHE_VARIABLE = "HYBRIDMODEL_CACHE"

_MARKER = "hybridmodel-complete"
_LINES_OF_PIP = 15


def cache_folder() -> Path:
    """Return the folder for what hybridmodel makes once and keeps; it may not exist yet."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "hybridmodel")


def environment(name: str, requirements: Sequence[str]) -> Path:
    """Return a virtual environment of this Python with `requirements`, made if need be (POSIX).

    Processes that want the same one wait for the first to make it. One that was left half made is
    made again.

    Parameters
    ----------
    name : str
        For people; environments with other requirements or of another Python do not collide.
    requirements : sequence of str
        As pip takes them; only wheels are installed.

    Returns
    -------
    Path
        The environment's folder, with ``bin/python`` in it.

    Raises
    ------
    ConfigurationError
        If it cannot be made; the message holds the end of what pip said.
    """
    python = [*sys.version_info[:2], sys.base_prefix]
    key = hashlib.sha256(json.dumps([python, *requirements]).encode()).hexdigest()[:12]
    folder = cache_folder() / "environments" / f"{name}-{key}"
    if not _is_complete(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{folder.name}.lock")) as lock:
            if not _is_complete(folder):
                _make(folder, name, requirements, lock)
    return folder


def _is_complete(folder: Path) -> bool:
    return (folder / _MARKER).exists() and (folder / "bin" / "python").exists()


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _make(folder: Path, name: str, requirements: Sequence[str], lock: int) -> None:
    with needed_for("a server's environment"):
        from tqdm.auto import tqdm
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-input", "--progress-bar=off", "--only-binary=:all:"]
    (folder / _MARKER).unlink(missing_ok=True)
    with tqdm(desc=f"Preparing {name}, only this once", unit=" steps", leave=False) as bar:
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [*pip, "install", *options, *requirements],
        ):
            with closing(_run(command, lock)) as lines:
                for line in lines:
                    bar.set_postfix_str(line[:60], refresh=False)
                    bar.update()
    (folder / _MARKER).touch()


def _run(command: Sequence[str], lock: int) -> Generator[str, None, None]:
    """Yield what the command says, line by line, and end it when the caller is interrupted."""
    last: deque[str] = deque(maxlen=_LINES_OF_PIP)
    with subprocess.Popen(  # noqa: S603 - the command is ours
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=[lock],  # The lock stays taken while the command runs, even if we are killed.
    ) as process:
        try:
            for line in cast("IO[str]", process.stdout):
                last.append(line.rstrip())
                yield line.strip()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said = "\n".join(last)
        raise ConfigurationError(f"{' '.join(command[:4])} … failed and said:\n{said}")
