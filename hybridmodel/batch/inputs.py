"""Which files are read: paths, folders, globs and addresses become `InputFile` records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from glob import has_magic
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from hybridmodel.batch.formats.files import InputFile
from hybridmodel.batch.formats.kinds import find_format, format_of
from hybridmodel.exceptions import ConfigurationError, MissingDependency

if TYPE_CHECKING:
    import pyarrow.fs

Location = str | os.PathLike[str]


class Place(NamedTuple):
    """A path as its file system takes it, with that file system."""

    filesystem: pyarrow.fs.FileSystem
    path: str
    is_local: bool


def find(inputs: Location | Iterable[Location]) -> list[InputFile]:
    """Return the files of paths, folders, globs and addresses; those of a folder in sorted order.

    Raises `ConfigurationError` if there is no file, one has an unknown format, or a file is given
    twice; `MissingDependency` if the file system of an address needs a package that is not
    installed.
    """
    given = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
    found = [file for one in given for file in _files_of(os.fspath(one))]
    if not found:
        raise ConfigurationError("no input: give at least one file, folder or glob")
    seen: set[str] = set()
    for file in found:
        if file.name in seen:
            raise ConfigurationError(f"{file.name}: is given twice")
        seen.add(file.name)
    return found


def place_of(path: Location) -> Place:
    """Return the file system of a path or address, and the path on it.

    Raises `MissingDependency` if the file system needs a package that is not installed;
    `ConfigurationError` if there is no such file system.
    """
    from pyarrow import fs

    text = os.fspath(path)
    scheme, mark, _ = text.partition("://")
    if not mark:
        return Place(fs.LocalFileSystem(), text, True)
    if scheme == "file":
        filesystem, inner = fs.FileSystem.from_uri(text)
        return Place(filesystem, inner, True)
    return Place(*_remote(text, scheme), False)


def _remote(url: str, scheme: str) -> tuple[Any, str]:
    from pyarrow import fs

    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        missing = "pip install fsspec" if error.name == "fsspec" else str(error)
        raise MissingDependency(
            f"a path of {scheme}:// needs a package that is not installed: {missing}"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{url}: {error}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path


def _files_of(given: str) -> Iterator[InputFile]:
    filesystem, path, is_local = place_of(given)
    prefix = "" if is_local else f"{given.partition('://')[0]}://"
    for one in _paths_of(given, filesystem, path):
        made = format_of(one)
        yield InputFile(
            path=one,
            kind=made.kind,
            filesystem=filesystem,
            zipped=made.zipped,
            shown=prefix + one.lstrip("/") if prefix else one,
        )


def _paths_of(given: str, filesystem: Any, path: str) -> list[str]:
    if has_magic(path) and not _exists(filesystem, path):
        paths = _matches(filesystem, path)
        if not paths:
            raise ConfigurationError(f"{given}: no file has such a name")
        return paths
    if not _is_folder(filesystem, path) or find_format(path) is not None:
        return [path]
    paths = [one for one in _below(filesystem, path) if find_format(one) is not None]
    if not paths:
        raise ConfigurationError(f"{given}: the folder has no file of a known format")
    return paths


def _is_folder(filesystem: Any, path: str) -> bool:
    from pyarrow import fs

    return bool(filesystem.get_file_info(path).type == fs.FileType.Directory)


def _exists(filesystem: Any, path: str) -> bool:
    from pyarrow import fs

    return bool(filesystem.get_file_info(path).type != fs.FileType.NotFound)


def _below(filesystem: Any, folder: str) -> list[str]:
    """Return the files below a folder, sorted by path."""
    from pyarrow import fs

    infos = filesystem.get_file_info(fs.FileSelector(folder, recursive=True))
    base = len(PurePosixPath(folder).parts)
    return sorted(
        info.path
        for info in infos
        if info.type == fs.FileType.File
        and not any(part[0] in "._" for part in PurePosixPath(info.path).parts[base:])
    )


def _matches(filesystem: Any, pattern: str) -> list[str]:
    """Return the files that match a glob, of which ``**`` matches folders below."""
    parts = PurePosixPath(pattern).parts
    fixed = 0
    while fixed < len(parts) and not has_magic(parts[fixed]):
        fixed += 1
    folder = str(PurePosixPath(*parts[:fixed])) if fixed else "."
    if not _is_folder(filesystem, folder):
        return []
    wanted = "/".join(parts[fixed:])
    return [one for one in _below(filesystem, folder) if _fits(one, folder, wanted)]


def _fits(path: str, folder: str, wanted: str) -> bool:
    inner = PurePosixPath(path).relative_to(folder) if folder != "." else PurePosixPath(path)
    levels, depth = wanted.split("/"), len(inner.parts)
    if "**" in levels:
        tail = levels[levels.index("**") + 1 :] or ["*"]
        return depth >= len(tail) and PurePosixPath(*inner.parts[-len(tail) :]).match(
            "/".join(tail)
        )
    return depth == len(levels) and inner.match(wanted)
