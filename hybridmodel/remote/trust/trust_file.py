"""The user's own file of grants: read when a decision needs it, written by ``hybridmodel trust``.

One grant a line, for every model. Nobody else may be able to write it.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.trust.grants import Grant, parse_grants
from hybridmodel.remote.trust.variables import value_of

_HEADER = "# What saved models may send where; written by `hybridmodel trust`.\n"
_MOST_BYTES = 1 << 20


def path() -> Path | None:
    """Return where the file is, whether or not there is one; None for who has no home."""
    return _path(value_of("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME"), value_of("HOME"))


@lru_cache(maxsize=8)
def _path(folder: str | None, home: str | None) -> Path | None:  # noqa: ARG001 - a key
    if folder and Path(folder).is_absolute():
        return Path(folder, "hybridmodel", "allow")
    try:
        return Path.home() / ".config" / "hybridmodel" / "allow"
    except RuntimeError:
        return None


def read() -> tuple[Grant, ...]:
    """Return the grants in the file, none where there is no file.

    Raises `ConfigurationError` if others may write it, or it holds anything else.
    """
    file = path()
    if file is None:
        return ()
    try:
        found = os.stat(file)  # noqa: PTH116 - half of the time
        return _read(file, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode)
    except OSError:
        return ()


@lru_cache(maxsize=1)
def _read(file: Path, *_: object) -> tuple[Grant, ...]:
    """Read a file, once for each state of it."""
    with file.open("rb") as opened:
        _check_owner(os.fstat(opened.fileno()), file)
        text = opened.read(_MOST_BYTES).decode("utf-8", "replace")
    return parse_grants([line.partition("#")[0] for line in text.splitlines()], str(file))


def write(grants: Iterable[Grant]) -> Path:
    """Replace the grants in the file, readable by the user alone, and return its path."""
    file = path()
    if file is None:
        raise ConfigurationError("there is no home folder to write to; use HYBRIDMODEL_ALLOW")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = _HEADER + "".join(f"{line}\n" for line in sorted(set(map(str, grants))))
    descriptor, part = tempfile.mkstemp(dir=file.parent, prefix=".allow-")  # Made with 0600.
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
        Path(part).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(part).unlink()
        raise
    return file


def _check_owner(found: os.stat_result, file: Path) -> None:
    if os.name == "nt":
        return
    if found.st_uid not in (0, os.geteuid()) or stat.S_IMODE(found.st_mode) & 0o022:
        raise ConfigurationError(
            f"{file}: others may write this file, so it grants nothing; look through it, and then: "
            f"chmod 600 {file}"
        )
