"""The models of a server on this machine, by name and version; each is opened by its first use."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.session import LocalSession
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.serving.statistics import Statistics

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

ModelSource = Union[str, "PathLike[str]", bytes, "HybridOnnxModel"]
Models = Mapping[str, ModelSource | Mapping[str, ModelSource]]
"""Model names, each with one source (version "1") or with a source for each version."""

_NAME = re.compile(r"(?!\.\.?$)[A-Za-z0-9._-]+")
_VERSION = re.compile("[1-9][0-9]*")


class ServedModel:
    """One version of a model: its first use reads and opens it, once for all threads."""

    def __init__(self, name: str, version: str, source: Any) -> None:
        self.name, self.version = name, version
        self._source = source
        self._session: LocalSession | None = None
        self._lock = threading.Lock()
        self.statistics = Statistics()

    @property
    def onnx(self) -> OnnxFile:
        """The file; needs no session."""
        known = getattr(self._source, "onnx", None)
        return known if isinstance(known, OnnxFile) else OnnxFile.read(self._source)

    @property
    def session(self) -> LocalSession:
        """The open model; raises `ConfigurationError` if it cannot be loaded."""
        with self._lock:
            if self._session is None:
                known = getattr(self._source, "local", self._source)
                self._session = known if isinstance(known, LocalSession) else LocalSession(known)
            return self._session


Catalogue = Mapping[str, Mapping[str, ServedModel]]
"""Model names, each with its versions in ascending order."""


def catalogue(models: Models) -> Catalogue:
    """Check names and versions, and prepare each model to be opened.

    Names must fit into a URL's path and a folder, and versions are numbers from 1.
    """
    if not isinstance(models, Mapping):
        raise ConfigurationError(
            f"models is a dict of name to model, not a {type(models).__name__}"
        )
    for name in models:
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ConfigurationError(
                f"model name {name!r}: use letters, digits, '.', '_' and '-', because the name is "
                "a folder and a part of the URL"
            )
    return {name: _versions(name, given) for name, given in models.items()}


def _versions(name: str, given: Any) -> Mapping[str, ServedModel]:
    by_version = given if isinstance(given, Mapping) else {"1": given}
    for version, source in by_version.items():
        if not (isinstance(version, str) and _VERSION.fullmatch(version)):
            raise ConfigurationError(
                f"model {name!r}: version {version!r} is not a number as text, such as '1'"
            )
        if isinstance(source, (str, PathLike)) and not Path(source).is_file():
            raise ConfigurationError(f"model {name!r}: there is no file {source}")
    if not by_version:
        raise ConfigurationError(f"model {name!r} has no version; give at least one")
    ordered = sorted(by_version, key=int)
    return {version: ServedModel(name, version, by_version[version]) for version in ordered}


def endpoint_for(
    uri: str, name: str, offered: Catalogue, options: Mapping[str, Any]
) -> TritonEndpoint:
    """Describe the endpoint of a model that is served at `uri`."""
    if name not in offered:
        raise ConfigurationError(
            f"no model {name!r} on this server; available: {', '.join(map(repr, offered))}"
        )
    try:
        return TritonEndpoint(**{"uri": uri, "model_name": name, **options})
    except TypeError as error:
        raise ConfigurationError(f"endpoint({name!r}): {error}") from error
