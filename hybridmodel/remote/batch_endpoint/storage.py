"""The files that a job has written, read through fsspec; nothing is written but where one says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hybridmodel.checks import printable
from hybridmodel.exceptions import ConfigurationError, MissingDependency
from hybridmodel.remote.batch_endpoint.addresses import path_of

if TYPE_CHECKING:
    import pandas as pd

_PIECE_BYTES = 1 << 20
_READERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    ".parquet": ("read_parquet", {}),
    ".csv": ("read_csv", {}),
    ".jsonl": ("read_json", {"lines": True}),
}
"""How pandas reads the formats that the batch driver writes."""


class Results:
    """The files of a job's output; hidden ones, which keep what is done, are left out.

    Attributes
    ----------
    uri : str
        Address of the folder.
    """

    def __init__(self, uri: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.uri = uri
        self._options = dict(storage_options or {})

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Paths of the files, relative to `uri`, in sorted order.

        Raises
        ------
        ConfigurationError
            If the folder is not there or cannot be read, or has no file.
        MissingDependency
            If its file system needs a package that is not installed.
        """
        filesystem, root = self._opened
        with _reading(self.uri):
            found = filesystem.find(root)
        base = root.rstrip("/")
        inner = sorted(_below(path, base) for path in found)
        shown = tuple(name for name in inner if not _is_hidden(name))
        if not shown:
            raise ConfigurationError(
                f"{printable(self.uri)}: there are no results; has the job been given another "
                "output, or have they been moved?"
            )
        return shown

    def download(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Copy the files into a folder, and return their paths; memory stays flat.

        Raises
        ------
        ConfigurationError
            As `files`; or if a file cannot be written, or is there already and would be replaced.
        """
        target = Path(folder)
        placed = [_inside(target, name) for name in self.files]
        for path, name in zip(placed, self.files, strict=True):
            self._copy(name, path)
        return placed

    def frame(self) -> pd.DataFrame:
        """Read all files as one table, in the order of `files`; for results that fit in memory.

        Raises
        ------
        ConfigurationError
            As `files`; or if one is neither Parquet, CSV nor JSON lines.
        """
        import pandas as pd

        return pd.concat([self._read(name) for name in self.files], ignore_index=True)

    def __repr__(self) -> str:
        return f"Results({printable(self.uri)!r})"

    def _copy(self, name: str, path: Path) -> None:
        part = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as target:
                for piece in self._pieces(name):
                    target.write(piece)
            _place(part, path)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error
        finally:
            with suppress(OSError):
                part.unlink()

    def _pieces(self, name: str) -> Iterator[bytes]:
        with self._opened_file(name) as source:
            while piece := source.read(_PIECE_BYTES):
                yield piece

    @contextmanager
    def _opened_file(self, name: str) -> Iterator[Any]:
        filesystem, root = self._opened
        with _reading(self.uri), filesystem.open(f"{root.rstrip('/')}/{name}", "rb") as source:
            yield source

    def _read(self, name: str) -> pd.DataFrame:
        import pandas as pd

        suffix = PurePosixPath(name).suffix
        if suffix not in _READERS:
            raise ConfigurationError(
                f"{printable(name)}: is neither {', '.join(_READERS)}; download() copies it"
            )
        function, options = _READERS[suffix]
        reader: Callable[..., pd.DataFrame] = getattr(pd, function)
        with self._opened_file(name) as source:
            return reader(source, **options)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """Return the file system of the address, and the path on it."""
        try:
            import fsspec

            # fsspec takes a percent sign of a local address as it is.
            place = str(path_of(self.uri)) if self.uri.startswith("file:") else self.uri
            filesystem, root = fsspec.core.url_to_fs(place, **self._options)
        except ImportError as error:
            needed = "hybridmodel[files]" if error.name == "fsspec" else "hybridmodel[abfs]"
            raise MissingDependency(
                f"{printable(self.uri)}: its file system needs a package that is not installed: "
                f"pip install '{needed}'; for azureml:// give results() the abfs:// address, or "
                "use `az ml job download`"
            ) from error
        except ValueError as error:
            raise ConfigurationError(
                f"{printable(self.uri)}: no file system reads such an address; give results() an "
                "abfs:// one, or use `az ml job download`"
            ) from error
        return filesystem, root


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    """Turn whatever a file system raises into one error that says where."""
    try:
        yield
    except FileNotFoundError as error:
        raise ConfigurationError(f"{printable(uri)}: there are no results: not found") from error
    except Exception as error:
        said = printable(f"{type(error).__name__}: {error}", 300)
        raise ConfigurationError(f"{printable(uri)}: cannot be read: {said}") from error


def _place(part: Path, path: Path) -> None:
    """Give a file its name; raises `ConfigurationError` instead of replacing one."""
    with suppress(OSError):
        # A link fails where a file is, and a rename would replace it.
        os.link(part, path)
        return
    if path.exists():
        raise ConfigurationError(f"{path}: exists already; choose another folder")
    part.rename(path)  # The file system has no links.


def _below(path: str, base: str) -> str:
    return path.removeprefix(base).lstrip("/") or PurePosixPath(path).name


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)


def _inside(folder: Path, name: str) -> Path:
    """Return where a file is put; its name comes from elsewhere, and must not lead out."""
    parts = PurePosixPath(name).parts
    if not parts or any(part in ("..", "/") or "\\" in part or "\0" in part for part in parts):
        raise ConfigurationError(f"{printable(name)}: is no name for a file in a folder")
    return folder.joinpath(*parts)
