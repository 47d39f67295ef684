"""The content of ``hybrid.json`` as a record: plain data without secrets.

``schema_version`` rises only when an older release would misread the file. New optional keys do not
raise it, and unknown keys are ignored. A model with one Triton endpoint, or with none, is schema 1;
a list of endpoints, or another kind of endpoint, is schema 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridmodel.checks import shown
from hybridmodel.data import json_records as records
from hybridmodel.data.tensors import TENSORS, ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.flavor.requirements import package_version
from hybridmodel.flavor.stored_settings import to_store
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.stored_files import checked_name
from hybridmodel.model import HybridOnnxModel
from hybridmodel.remote.endpoints import Stored, check_kinds, check_number, kind_of, to_stored
from hybridmodel.routing import Policy
from hybridmodel.routing.policies import policy_from_dict

SCHEMA_VERSION = 2
"""The latest that is read; files that say no more than 1 knows are written as 1."""

MODEL_FILE = "model.onnx"

_RELEASE = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){0,3}")  # Strict, because people paste it.
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRecord:
    """The ONNX file and its external files: names, sizes and hashes; inputs and outputs."""

    file: str
    sha256: str
    size_bytes: int
    external_files: Mapping[str, Mapping[str, Any]]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def spec(self) -> ModelSpec:
        """Inputs and outputs together."""
        return ModelSpec(self.inputs, self.outputs)

    def read(self, folder: Path) -> OnnxFile:
        """Return the file that it describes; raise if another file is in the folder."""
        labels = {item.name: item.labels for item in self.outputs}
        path, external = folder / self.file, self.external_files
        return OnnxFile.stored(path, self.sha256, self.size_bytes, external, labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridRecord:
    """A saved model, without its ONNX file.

    `endpoint` and `session` stay as they were stored, because a caller may replace parts of them,
    and only the rest is read.
    """

    written_by: str = "unknown"
    model: OnnxRecord
    feature_names: tuple[str, ...] | None
    output: str | None
    use_azure: bool | None
    routing: Policy | None = None
    endpoint: Stored
    session: Mapping[str, Any]

    @property
    def schema_version(self) -> int:
        """The oldest schema that can say all of it."""
        return _schema(self.endpoint)

    @property
    def endpoints(self) -> tuple[Mapping[str, Any], ...]:
        """The endpoints as they were stored, in their order."""
        if self.endpoint is None:
            return ()
        return self.endpoint if isinstance(self.endpoint, tuple) else (self.endpoint,)

    @classmethod
    def of(cls, model: HybridOnnxModel, feature_names: list[str] | None) -> HybridRecord:
        """Describe a model; raises for settings of the session that cannot be saved."""
        onnx, names = model.onnx, model.feature_names or feature_names
        return cls(
            written_by=package_version(),
            model=OnnxRecord(
                file=MODEL_FILE,
                sha256=onnx.sha256,
                size_bytes=onnx.size_bytes,
                external_files=onnx.external_facts(),
                inputs=model.inputs,
                outputs=model.outputs,
            ),
            feature_names=None if names is None else tuple(names),
            output=model.output,
            use_azure=model.use_azure,
            routing=None if model.use_azure is not None else model.routing,
            endpoint=to_stored(model.endpoints),
            session=to_store(model.local),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, in JSON's types; raises for a policy with a function."""
        return {"schema_version": self.schema_version, **records.members(self)}

    @classmethod
    def from_dict(cls, stored: Any) -> HybridRecord:
        """Read what `to_dict` of this or an older release wrote.

        An error has the path to the key.
        """
        schema = records.required(stored, "schema_version", records.count)
        _check_schema(schema, stored)
        endpoint = _endpoints if schema > 1 else _lone_triton
        readers = {**_HYBRID, "endpoint": records.nullable(endpoint)}
        return records.read_record(cls, stored, readers)


def schema_version_of(model: HybridOnnxModel) -> int:
    """Return the schema in which a model is saved."""
    return _schema(to_stored(model.endpoints))


def _schema(endpoint: Stored) -> int:
    return 2 if isinstance(endpoint, tuple) else 1


def _check_schema(found: int, stored: Mapping[str, Any]) -> None:
    if found < 1:
        raise ConfigurationError(f"schema_version: expected a number from 1 up, got {shown(found)}")
    if found > SCHEMA_VERSION:
        writer = str(stored.get("written_by"))
        later = f"hybridmodel>={writer}" if _RELEASE.fullmatch(writer) else "a later hybridmodel"
        raise ConfigurationError(
            f"has schema_version {shown(found)}, but hybridmodel {package_version()} reads only up "
            f"to {SCHEMA_VERSION}; install {later}"
        )


def _lone_triton(stored: Any) -> Mapping[str, Any]:
    """Read the endpoint of schema 1, which is Triton's to every release, whatever else it says."""
    return {name: value for name, value in records.mapping(stored).items() if name != "kind"}


def _endpoints(stored: Any) -> tuple[Mapping[str, Any], ...]:
    if isinstance(stored, list):
        check_number(len(stored))  # First: to read a very long list takes seconds.
    listed = records.listed(_endpoint, "endpoints")(stored)
    check_kinds([item["kind"] for item in listed])
    return listed


def _endpoint(stored: Any) -> Mapping[str, Any]:
    records.required(stored, "kind", records.text)
    kind_of(stored)
    return records.mapping(stored)


def _external_files(stored: Any) -> dict[str, Mapping[str, Any]]:
    return {
        name: records.read_at(f"[{shown(name)}]", _external_file, facts)
        for name, facts in records.mapping(stored).items()
    }


def _external_file(stored: Any) -> dict[str, Any]:
    facts = {"size_bytes": records.count, "sha256": _sha256}
    return {name: records.required(stored, name, read) for name, read in facts.items()}


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise records.expected("a sha256", value)
    return value


_ONNX: Mapping[str, Callable[[Any], Any]] = {
    "file": checked_name,
    "sha256": _sha256,
    "size_bytes": records.count,
    "external_files": _external_files,
    "inputs": TENSORS,
    "outputs": TENSORS,
}
_HYBRID: Mapping[str, Callable[[Any], Any]] = {
    "written_by": records.text,
    "model": lambda stored: records.read_record(OnnxRecord, stored, _ONNX),
    "feature_names": records.nullable(records.texts),
    "output": records.nullable(records.text),
    "use_azure": records.nullable(records.flag),
    "routing": records.nullable(policy_from_dict),
    "session": records.mapping,
}
