"""What must be known of an ONNX file before it runs: its hash, its other files, its class labels.

Reads protobuf's wire format directly, over a memory map, because the ``onnx`` package is not
needed for anything else and a model may be larger than memory has room for twice. Field numbers
are those of ``onnx.proto``; the encoding is that of protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, Union

from hybridmodel.exceptions import ConfigurationError

Label = Union[str, int]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL = 1
_PLAIN_VALUES = (7, 8, 9)  # AttributeProto.floats, .ints, .strings
_INLINE_DATA = (4, 5, 6, 7, 9, 10, 11)  # TensorProto.float_data … raw_data … uint64_data


class _Malformed(Exception):
    pass


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX model as it came: never parsed and written again, so that its hash stays the same.

    Attributes
    ----------
    sha256 : str
        Of the ONNX file itself, in hexadecimal.
    data : bytes or None
        The whole file; None where tensors lie in other files, which are found from `path`.
    path : Path or None
        Where it was read from.
    external_files : tuple of str
        Names, relative to the file's folder, of the files that hold its large tensors.
    zipmaps : mapping of str to tuple
        Class labels of each output that a ``ZipMap`` node makes.
    """

    sha256: str
    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None
    external_files: tuple[str, ...] = ()
    zipmaps: Mapping[str, tuple[Label, ...]] = field(default_factory=dict)

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
    def stored(cls, path: Path, external_files: tuple[str, ...]) -> OnnxFile:
        """Read a model whose contents are known already, so that only its hash is taken.

        Raises
        ------
        ConfigurationError
            If it or one of its external files is missing.
        """
        try:
            if not external_files:
                data = path.read_bytes()
                return cls(hashlib.sha256(data).hexdigest(), data, path)
            _check_external(path, external_files)
            with path.open("rb") as file:
                return cls(_hash_file(file), None, path, external_files)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error

    def copy_to(self, folder: Path, name: str = "model.onnx") -> Path:
        """Write the model, byte for byte, with its external files beside it.

        Returns
        -------
        Path
            The copy.
        """
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / name
        if self.data is not None:
            target.write_bytes(self.data)
            return target
        assert self.path is not None
        shutil.copyfile(self.path, target)
        for external in self.external_files:
            (folder / external).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.path.parent / external, folder / external)
        return target

    def external_sizes(self) -> dict[str, int]:
        """Return the length in bytes of each external file."""
        if self.path is None:
            return {}
        folder = self.path.parent
        return {name: (folder / name).stat().st_size for name in self.external_files}

    @classmethod
    def _from_bytes(cls, data: bytes) -> OnnxFile:
        contents = _scan(memoryview(data), "the bytes given")
        if contents.external:
            raise ConfigurationError(
                "the model keeps tensors in other files "
                f"({', '.join(sorted(contents.external))}): pass its path instead, so that they "
                "can be found beside it"
            )
        return cls(hashlib.sha256(data).hexdigest(), data, zipmaps=contents.zipmaps)

    @classmethod
    def _from_path(cls, path: Path) -> OnnxFile:
        path = path.absolute()
        try:
            with path.open("rb") as file:
                contents, sha256, data = _scan_file(file, path)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
        external = tuple(sorted(contents.external))
        _check_external(path, external)
        return cls(sha256, None if external else data, path, external, contents.zipmaps)


@dataclass
class _Contents:
    external: set[str] = field(default_factory=set)
    zipmaps: dict[str, tuple[Label, ...]] = field(default_factory=dict)


def _hash_file(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _scan_file(file: BinaryIO, path: Path) -> tuple[_Contents, str, bytes | None]:
    if os.fstat(file.fileno()).st_size == 0:
        raise ConfigurationError(f"{path}: is empty, not an ONNX model")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        with memoryview(mapped) as view:
            contents = _scan(view, str(path))
            sha256 = hashlib.sha256(view).hexdigest()
            return contents, sha256, None if contents.external else bytes(view)


def _scan(view: memoryview, where: str) -> _Contents:
    contents = _Contents()
    has_graph = False
    try:
        for number, value in _fields(view):
            if number == 7:  # ModelProto.graph
                has_graph = True
                _scan_graph(value, contents)
            elif number == 25:  # ModelProto.functions
                _scan_function(value, contents)
    except (_Malformed, RecursionError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{where}: not an ONNX model, or cut short") from error
    if not has_graph:
        raise ConfigurationError(f"{where}: not an ONNX model: it holds no graph")
    return contents


def _scan_graph(graph: memoryview, contents: _Contents) -> None:
    for number, value in _fields(graph):
        if number == 1:  # GraphProto.node
            _scan_node(value, contents)
        elif number == 5:  # .initializer
            _scan_tensor(value, contents)
        elif number == 15:  # .sparse_initializer
            _scan_sparse(value, contents)


def _scan_function(function: memoryview, contents: _Contents) -> None:
    for number, value in _fields(function):
        if number == 7:  # FunctionProto.node
            _scan_node(value, contents)


def _scan_node(node: memoryview, contents: _Contents) -> None:
    outputs, operator, attributes = [], "", []
    for number, value in _fields(node):
        if number == 2:
            outputs.append(_text(value))
        elif number == 4:
            operator = _text(value)
        elif number == 5:
            attributes.append(value)
    for attribute in attributes:
        _scan_attribute(attribute, contents)
    if operator == "ZipMap" and outputs:
        contents.zipmaps[outputs[0]] = tuple(
            label for attribute in attributes for label in _labels(attribute)
        )


def _scan_attribute(attribute: memoryview, contents: _Contents) -> None:
    for number, value in _fields(attribute):
        if number in _PLAIN_VALUES:
            return  # An attribute holds one kind of value, and trees have millions of numbers.
        if number in (5, 10):  # AttributeProto.t, .tensors
            _scan_tensor(value, contents)
        elif number in (6, 11):  # .g, .graphs
            _scan_graph(value, contents)
        elif number in (22, 23):  # .sparse_tensor, .sparse_tensors
            _scan_sparse(value, contents)


def _scan_sparse(sparse: memoryview, contents: _Contents) -> None:
    for number, value in _fields(sparse):
        if number in (1, 2):  # SparseTensorProto.values, .indices
            _scan_tensor(value, contents)


def _scan_tensor(tensor: memoryview, contents: _Contents) -> None:
    is_external, entries = False, {}
    for number, value in _fields(tensor):
        if number in _INLINE_DATA:
            return
        if number == 14:  # TensorProto.data_location
            is_external = value == _EXTERNAL
        elif number == 13:  # TensorProto.external_data
            pair = dict(_fields(value))
            entries[_text(pair.get(1, b""))] = _text(pair.get(2, b""))
    if is_external and "location" in entries:
        contents.external.add(entries["location"])


def _labels(attribute: memoryview) -> Iterator[Label]:
    name = next((_text(value) for number, value in _fields(attribute) if number == 1), "")
    if name not in ("classlabels_strings", "classlabels_int64s"):
        return
    for number, value in _fields(attribute):
        if number == 9:
            yield _text(value)
        elif number == 8:
            yield from _integers(value)


def _integers(value: Any) -> Iterator[int]:
    numbers = [value] if isinstance(value, int) else list(_packed(value))
    for number in numbers:
        yield number - 2**64 if number >= 2**63 else number


def _packed(view: memoryview) -> Iterator[int]:
    position = 0
    while position < len(view):
        number, position = _varint(view, position)
        yield number


def _text(value: Any) -> str:
    if isinstance(value, int):
        raise _Malformed
    return bytes(value).decode()


def _fields(view: Any) -> Iterator[tuple[int, Any]]:
    """Yield each field's number and its value: an int, or a view of the bytes."""
    if isinstance(view, int):
        raise _Malformed
    position = 0
    while position < len(view):
        key, position = _varint(view, position)
        kind, number = key & 7, key >> 3
        if kind == _VARINT:
            value, position = _varint(view, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = _varint(view, position)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise _Malformed
        if number == 0 or size > len(view) - position:
            raise _Malformed
        yield number, view[position : position + size]
        position += size


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    while position < len(view) and shift < 64 + 6:
        byte = view[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
    raise _Malformed


def _check_external(path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        inside = not PurePosixPath(name).is_absolute() and not PureWindowsPath(name).is_absolute()
        if not inside or ".." in PurePosixPath(name.replace("\\", "/")).parts:
            raise ConfigurationError(
                f"{path}: keeps tensors in {name!r}, outside of the model's own folder"
            )
        if not (path.parent / name).is_file():
            raise ConfigurationError(
                f"{path}: its external data {name!r} is missing; it belongs into {path.parent}"
            )
