"""An ONNX model as a file: its bytes or path, its hash, and its external files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_scan import Contents, Label, scan
from hybridmodel.local.stored_files import check_inside, check_location, readable

READ_AT_LOAD_BYTES = 1 << 22
"""A saved model up to this size is read and hashed when it is loaded, which takes 3 ms."""

_SETTINGS_VARIABLE = "ORT_LOAD_CONFIG_FROM_MODEL"


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX model, byte for byte as it came, so that its hash stays the same.

    `data` is None where the file is read from `path` when the model runs: for a saved model, or one
    with external data. `external_files` are names relative to the file's folder; `external_hashes`
    are known only for a saved model. `zipmaps` has the class labels of each output of a ``ZipMap``
    node. `unranked` has the inputs and outputs whose shape the file does not declare, and is empty
    for a saved model.
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
        """Read a model from a path, bytes or an onnx.ModelProto, which is not changed.

        A path is read now, so later changes of the file do not matter, except for its external
        data.
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
        """Return a saved model, and check the files against the facts that were saved with it.

        The model is scanned for other files that it would read. Up to `READ_AT_LOAD_BYTES` it is
        read and its hash checked. Of a larger file only the size is checked, until it first runs;
        see `verify`.
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
        if size_bytes <= READ_AT_LOAD_BYTES and not external:
            onnx = replace(onnx, data=onnx.content())
        with onnx.view() as view:
            _check_stored(onnx, zipmaps, scan(view, str(path)))
        return onnx

    @classmethod
    def unread(cls, path: Path) -> OnnxFile:
        """Return a model at a path that is scanned only: its hash is not known, and is empty."""
        onnx = cls("", None, path.absolute())
        with onnx.view() as view:
            contents = scan(view, str(path))
        external, shapeless = tuple(sorted(contents.external)), frozenset(contents.unranked)
        _check_external(onnx._file, external)
        return replace(onnx, external_files=external, zipmaps=contents.zipmaps, unranked=shapeless)

    @property
    def size_bytes(self) -> int:
        """Length of the ONNX file itself."""
        return len(self.data) if self.data is not None else _size_bytes(self._file)

    def verify(self) -> None:
        """Raise if a file is not the one whose hash is known."""
        if self.data is None:
            _check_hash(self._file, self.sha256)
        for name, expected in self.external_hashes.items():
            _check_hash(self._beside(name), expected)

    def view(self) -> AbstractContextManager[memoryview]:
        """Return a context with the bytes of the ONNX file itself, mapped and not read."""
        return _mapped(self._file) if self.data is None else nullcontext(memoryview(self.data))

    def content(self) -> bytes:
        """Return the bytes of the ONNX file itself; raise if its hash is not the known one."""
        if self.data is not None:
            return self.data
        _check_hash(self._file, self.sha256)
        return self._file.read_bytes()

    def copy_to(self, folder: Path, name: str = "model.onnx") -> Path:
        """Write the model into a folder, byte for byte, with its external files.

        Return the copy.
        """
        import shutil

        if name in map(os.path.normpath, self.external_files):
            raise ConfigurationError(
                f"{self.path}: has tensors in a file {name!r}, which is the copy's own name; "
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
        """Return size and hash of each external file, as `stored` takes them."""
        return {
            name: {
                "size_bytes": _size_bytes(self._beside(name)),
                "sha256": _hash(self._beside(name)),
            }
            for name in self.external_files
        }

    def __getstate__(self) -> dict[str, Any]:
        # A pickle may go to another machine; a model in several files cannot go with it.
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
                "the model has tensors in other files "
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
            raise ConfigurationError(f"{path}: is not a regular file")  # A pipe may block.
        with _mapped(path) as view:
            contents = scan(view, str(path))
            sha256 = hashlib.sha256(view).hexdigest()
            data = None if contents.external else bytes(view)
        external, shapeless = tuple(sorted(contents.external)), frozenset(contents.unranked)
        _check_external(path, external)
        return cls(sha256, data, path, external, contents.zipmaps, unranked=shapeless)


def _size_bytes(path: Path) -> int:
    with readable(path):
        return path.stat().st_size


def _hash(path: Path) -> str:
    import hashlib

    with readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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

    with readable(path), path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ConfigurationError(f"{path}: is empty, not an ONNX model")
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
        ):
            yield view


def _check_external(path: Path, names: tuple[str, ...]) -> None:
    # Where `path` is a link, the target's folder counts as well: caches store models like this.
    folders = (path.parent, path.resolve().parent)
    for name in names:
        check_location(name, str(path))
        if not os.path.lexists(path.parent / name):
            raise ConfigurationError(
                f"{path}: its external data {name!r} is missing; it belongs in {path.parent}"
            )
        check_inside(path.parent / name, *folders)


def _check_stored(
    onnx: OnnxFile, zipmaps: Mapping[str, tuple[Label, ...]], contents: Contents
) -> None:
    """Compare what a saved model says about its ONNX file with the file."""
    if contents.external != set(onnx.external_files):
        others = sorted(contents.external ^ set(onnx.external_files))
        raise ConfigurationError(
            f"{onnx.path}: is not as it was saved: its tensors are in other files "
            f"({', '.join(map(repr, others[:5]))})"
        )
    if any(contents.zipmaps.get(name, ()) != labels for name, labels in zipmaps.items()):
        raise ConfigurationError(f"{onnx.path}: is not as it was saved: it has other labels")
    if contents.has_settings and os.environ.get(_SETTINGS_VARIABLE) == "1":
        raise ConfigurationError(
            f"{onnx.path}: has settings for onnxruntime's sessions, which may write files, and "
            f"{_SETTINGS_VARIABLE} activates them; unset that variable"
        )


def is_onnx_file(uri: str | os.PathLike[str]) -> bool:
    """Tell whether a model is a file; saved ones are folders."""
    text = os.fspath(uri)
    return text.lower().endswith(".onnx") and "://" not in text and Path(text).is_file()
