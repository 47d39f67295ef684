"""What a server on this machine offers: models by name and version, opened when first asked."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.session import LocalSession
from hybridmodel.serving.statistics import Statistics

if TYPE_CHECKING:
    from hybridmodel.data.tensors import ModelSpec
    from hybridmodel.model import HybridOnnxModel
    from hybridmodel.remote.endpoint import TritonEndpoint

ModelSource = Union[str, "PathLike[str]", bytes, "HybridOnnxModel"]
Models = Mapping[str, ModelSource | Mapping[str, ModelSource]]
"""Model names, each with one source, which is version "1", or with a source for each version."""


class ServedModel:
    """One version of a model, read and opened when it is first needed, once for all threads.

    Parameters
    ----------
    source : path, bytes, onnx.ModelProto or HybridOnnxModel
        The model.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._session: LocalSession | None = None
        self._lock = threading.Lock()
        self.statistics = Statistics()

    @property
    def is_open(self) -> bool:
        """Whether the model has been asked for already."""
        return self._session is not None

    @property
    def onnx(self) -> OnnxFile:
        """The file, without opening a session.

        Raises
        ------
        ConfigurationError
            If it cannot be read.
        """
        known = getattr(self._source, "onnx", None)
        return known if isinstance(known, OnnxFile) else OnnxFile.read(self._source)

    @property
    def session(self) -> LocalSession:
        """The open model.

        Raises
        ------
        ConfigurationError
            If it cannot be read or loaded.
        """
        with self._lock:
            if self._session is None:
                known = getattr(self._source, "local", None)
                self._session = (
                    known if isinstance(known, LocalSession) else LocalSession(self._source)
                )
            return self._session

    @property
    def spec(self) -> ModelSpec:
        """Its inputs and outputs.

        Raises
        ------
        ConfigurationError
            If it cannot be read or loaded.
        """
        return self.session.spec


Catalogue = Mapping[str, Mapping[str, ServedModel]]
"""Model names, each with its versions in ascending order."""


def catalogue(models: Models) -> Catalogue:
    """Check names and versions, and make each model ready to be opened.

    Raises
    ------
    ConfigurationError
        If a name has no place in a URL's path or a folder, a version is not a number from 1, or a
        file is missing.
    """
    if not isinstance(models, Mapping):
        raise ConfigurationError(
            f"models is a dict of name to model, not a {type(models).__name__}"
        )
    return {_checked_name(name): _versions(name, given) for name, given in models.items()}


def _versions(name: str, given: Any) -> Mapping[str, ServedModel]:
    by_version = given if isinstance(given, Mapping) else {"1": given}
    for version in by_version:
        if not _is_version(version):
            raise ConfigurationError(
                f"model {name!r}: version {version!r} is not a number as text, such as '1'"
            )
        source = by_version[version]
        if isinstance(source, (str, PathLike)) and not Path(source).is_file():
            raise ConfigurationError(f"model {name!r}: there is no file {source}")
    if not by_version:
        raise ConfigurationError(f"model {name!r}: no version is given")
    return {version: ServedModel(by_version[version]) for version in sorted(by_version, key=int)}


def _is_version(version: Any) -> bool:
    return (
        isinstance(version, str) and version.isascii() and version.isdigit() and version[0] != "0"
    )


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or name in ("", ".", "..") or not _is_plain(name):
        raise ConfigurationError(
            f"model name {name!r}: letters, digits, '.', '_' and '-' are possible, since it is a "
            "folder and a part of the URL"
        )
    return name


def _is_plain(name: str) -> bool:
    return name.isascii() and all(char.isalnum() or char in "._-" for char in name)


def endpoint_for(
    uri: str, name: str, offered: Catalogue, options: Mapping[str, Any]
) -> TritonEndpoint:
    """Describe the endpoint of one of the models offered at `uri`.

    Raises
    ------
    ConfigurationError
        If there is no such model or option.
    """
    from hybridmodel.remote.endpoint import TritonEndpoint

    if name not in offered:
        raise ConfigurationError(
            f"no model {name!r} is served here, but {', '.join(map(repr, offered))}"
        )
    try:
        return TritonEndpoint(**{"uri": uri, "model_name": name, **options})
    except TypeError as error:
        raise ConfigurationError(f"endpoint({name!r}): {error}") from error
