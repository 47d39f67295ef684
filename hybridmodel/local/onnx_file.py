"""An ONNX model as a file: its bytes or path, its hash, its other files."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_scan import Contents, Label, scan
from hybridmodel.local.stored_files import check_inside, check_location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

READ_AT_LOAD_BYTES = 1 << 22
"""Up to this size a saved model is read and hashed when it is loaded, which takes 3 ms."""

_SETTINGS_VARIABLE = "ORT_LOAD_CONFIG_FROM_MODEL"


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX model as it came: never parsed and written again, so that its hash stays the same.

    Attributes
    ----------
    sha256 : str
        Of the ONNX file itself, in hexadecimal.
    data : bytes or None
        The whole file; None where it is read from `path` when the model runs: a saved model, or
        one whose tensors lie in other files beside it.
    path : Path or None
        Where it came from.
    external_files : tuple of str
        Names, relative to the file's folder, of the files that hold its large tensors.
    zipmaps : mapping of str to tuple
        Class labels of each output that a ``ZipMap`` node makes.
    external_hashes : mapping of str to str
        Hashes of the external files, where they are known from saving.
    unranked : frozenset of str
        Inputs and outputs whose shape the file does not tell, empty for a model that was saved.
    """

    sha256: str
    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None
    external_files: tuple[str, ...] = ()
    zipmaps: Mapping[str, tuple[Label, ...]] = field(default_factory=dict)
    external_hashes: Mapping[str, str] = field(default_factory=dict)
    unranked: frozenset[str] = frozenset()

    @classmethod
    def read(cls, source: Any) -> OnnxFile:
        """Read a model.

        Parameters
        ----------
        source : path, bytes or onnx.ModelProto
            A path's content is read now; later changes of the file do not matter, except for
            its external data. A ModelProto is serialized and not changed.

        Raises
        ------
        ConfigurationError
            If it is no ONNX model, or its external data is missing.
        """
        if isinstance(source, OnnxFile):
            return source
        if isinstance(source, (str, os.PathLike)):
            return cls._from_path(Path(source))
        if isinstance(source, (bytes, bytearray, memoryview)):
            return cls._from_bytes(bytes(source))
        if hasattr(source, "SerializeToString"):
            return cls._from_bytes(source.SerializeToString())
        raise ConfigurationError(
            f"an ONNX model is a path, bytes or an onnx.ModelProto, not a {type(source).__name__}"
        )

    @classmethod
    def stored(
        cls,
        path: Path,
        sha256: str,
        size_bytes: int,
        external: Mapping[str, Mapping[str, Any]],
        zipmaps: Mapping[str, tuple[Label, ...]],
    ) -> OnnxFile:
        """Take up a model that was saved with these facts.

        It is looked through for other files that it would read. Up to `READ_AT_LOAD_BYTES` it is
        read, and its hash compared. A larger file is left where it is until the model first runs,
        and only its size is compared; `verify` does the rest.

        Parameters
        ----------
        path : Path
            The ONNX file.
        sha256 : str
            Its hash.
        size_bytes : int
            Its length.
        external : mapping of str to mapping
            As `external_facts` returns it.
        zipmaps : mapping of str to tuple
            Class labels of each output; none where it is a tensor.

        Raises
        ------
        ConfigurationError
            If a file is missing, not the one that was saved, no regular file or outside of the
            model's folder, or the model would read another one.
        """
        path = path.absolute()
        check_inside(path, path.parent)
        _check_external(path, tuple(external))
        sizes = {name: facts["size_bytes"] for name, facts in external.items()}
        for name, expected in {path.name: size_bytes, **sizes}.items():
            found = _size_bytes(path.parent / name)
            if found != expected:
                raise ConfigurationError(
                    f"{path.parent / name}: is not the file that was saved: it has {found} bytes, "
                    f"{expected} were expected"
                )
        hashes = {name: facts["sha256"] for name, facts in external.items()}
        labelled = {name: labels for name, labels in zipmaps.items() if labels}
        onnx = cls(sha256, None, path, tuple(external), labelled, hashes)
        if size_bytes > READ_AT_LOAD_BYTES or external:
            with _mapped(path) as view:
                _check_stored(onnx, zipmaps, scan(view, str(path)))
            return onnx
        onnx = replace(onnx, data=onnx.content())
        _check_stored(onnx, zipmaps, scan(memoryview(onnx.content()), str(path)))
        return onnx

    @property
    def size_bytes(self) -> int:
        """Length of the ONNX file itself."""
        return len(self.data) if self.data is not None else _size_bytes(self._file)

    def verify(self) -> None:
        """Make sure that the files still are those whose hashes are known.

        Raises
        ------
        ConfigurationError
            If one of them is not.
        """
        if self.data is None:
            _check_hash(self._file, self.sha256)
        for name, expected in self.external_hashes.items():
            _check_hash(self._beside(name), expected)

    def content(self) -> bytes:
        """Return the bytes of the ONNX file itself.

        Raises
        ------
        ConfigurationError
            If it is not the file whose hash is known, any more.
        """
        if self.data is not None:
            return self.data
        _check_hash(self._file, self.sha256)
        return self._file.read_bytes()

    def copy_to(self, folder: Path, name: str = "model.onnx") -> Path:
        """Write the model, byte for byte, with its external files beside it.

        Returns
        -------
        Path
            The copy.

        Raises
        ------
        ConfigurationError
            If the file is not the one that was read, any more.
        """
        import shutil

        if name in self.external_files:
            raise ConfigurationError(
                f"{self.path}: keeps tensors in a file {name!r}, which is the copy's own name; "
                "save the model with another name for its external data"
            )
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / name
        if self.data is not None:
            target.write_bytes(self.data)
        else:
            self.verify()
            shutil.copyfile(self._file, target)
        for external in self.external_files:
            (folder / external).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._beside(external), folder / external)
        return target

    def external_facts(self) -> dict[str, dict[str, Any]]:
        """Return length in bytes and hash of each external file, as `stored` takes them."""
        return {
            name: {
                "size_bytes": _size_bytes(self._beside(name)),
                "sha256": _hash(self._beside(name)),
            }
            for name in self.external_files
        }

    def __getstate__(self) -> dict[str, Any]:
        # A pickle goes to other machines; a model in several files stays where it is.
        return self.__dict__ if self.external_files else {**self.__dict__, "data": self.content()}

    @property
    def _file(self) -> Path:
        return self.path or Path()

    def _beside(self, name: str) -> Path:
        return self._file.parent / name

    @classmethod
    def _from_bytes(cls, data: bytes) -> OnnxFile:
        import hashlib

        contents = scan(memoryview(data), "the bytes given")
        if contents.external:
            raise ConfigurationError(
                "the model keeps tensors in other files "
                f"({', '.join(sorted(contents.external))}): pass its path instead, so that they "
                "can be found beside it"
            )
        sha256 = hashlib.sha256(data).hexdigest()
        shapeless = frozenset(contents.unranked)
        return cls(sha256, data, zipmaps=contents.zipmaps, unranked=shapeless)

    @classmethod
    def _from_path(cls, path: Path) -> OnnxFile:
        import hashlib

        path = path.absolute()
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigurationError(f"{path}: is no regular file")  # A pipe would be waited for.
        with _mapped(path) as view:
            contents = scan(view, str(path))
            sha256 = hashlib.sha256(view).hexdigest()
            data = None if contents.external else bytes(view)
        external = tuple(sorted(contents.external))
        _check_external(path, external)
        return cls(
            sha256,
            None if external else data,
            path,
            external,
            contents.zipmaps,
            unranked=frozenset(contents.unranked),
        )


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error


def _hash(path: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _check_hash(path: Path, expected: str) -> None:
    found = _hash(path)
    if found != expected:
        raise ConfigurationError(
            f"{path}: is not the file that was saved: its sha256 is {found}, {expected} was "
            "expected"
        )


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    import mmap

    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ConfigurationError(f"{path}: is empty, not an ONNX model")
            with (
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as view,
            ):
                yield view
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error


def _check_external(path: Path, names: tuple[str, ...]) -> None:
    # The folder of a file that `path` is a link to counts as well: caches keep models so.
    folders = (path.parent, path.resolve().parent)
    for name in names:
        check_location(name, str(path))
        if not os.path.lexists(path.parent / name):
            raise ConfigurationError(
                f"{path}: its external data {name!r} is missing; it belongs into {path.parent}"
            )
        check_inside(path.parent / name, *folders)


def _check_stored(
    onnx: OnnxFile, zipmaps: Mapping[str, tuple[Label, ...]], contents: Contents
) -> None:
    """Hold what a saved model says of its ONNX file against what that holds."""
    if contents.external != set(onnx.external_files):
        others = sorted(contents.external ^ set(onnx.external_files))
        raise ConfigurationError(
            f"{onnx.path}: is not as it was saved: the files that it keeps tensors in are others "
            f"({', '.join(map(repr, others[:5]))})"
        )
    if any(contents.zipmaps.get(name, ()) != labels for name, labels in zipmaps.items()):
        raise ConfigurationError(f"{onnx.path}: is not as it was saved: its labels are others")
    if contents.has_settings and os.environ.get(_SETTINGS_VARIABLE) == "1":
        raise ConfigurationError(
            f"{onnx.path}: holds settings for onnxruntime's sessions, which may write files, and "
            f"{_SETTINGS_VARIABLE} lets them count; unset that variable"
        )
