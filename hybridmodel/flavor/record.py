"""What ``hybrid.json`` holds, as a record: plain data, no secret, every value of one kind.

Its ``schema_version`` rises only when an older release could not read the file rightly; new
optional keys do not raise it, and keys that are not known are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hybridmodel.checks import shown
from hybridmodel.data.json_records import (
    count,
    expected,
    flag,
    mapping,
    nullable,
    optional,
    read_at,
    required,
    text,
    texts,
)
from hybridmodel.data.tensors import ModelSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.flavor.requirements import package_version
from hybridmodel.flavor.stored_settings import to_store
from hybridmodel.local.stored_files import checked_name
from hybridmodel.model import HybridOnnxModel
from hybridmodel.routing import Policy
from hybridmodel.routing.policies import policy_from_dict

SCHEMA_VERSION = 1
MODEL_FILE = "model.onnx"

_RELEASE = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){0,3}")  # No more, since people paste it.
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRecord:
    """The ONNX file: its name, size and hash, those of its other files, inputs and outputs."""

    file: str
    sha256: str
    size_bytes: int
    external_files: Mapping[str, Mapping[str, Any]]
    spec: ModelSpec

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, in JSON's types."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "external_files": self.external_files,
            **self.spec.to_dict(),
        }

    @classmethod
    def from_dict(cls, stored: Any) -> OnnxRecord:
        """Read what `to_dict` wrote; an error has the path to what is wrong."""
        return cls(
            file=required(stored, "file", checked_name),
            sha256=required(stored, "sha256", _sha256),
            size_bytes=required(stored, "size_bytes", count),
            external_files=required(stored, "external_files", _external_files),
            spec=ModelSpec.from_dict(stored),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridRecord:
    """A saved model, without its ONNX file.

    `endpoint` and `session` are kept as they were stored: what the caller says counts instead of
    parts of them, and only the rest is read.
    """

    written_by: str
    model: OnnxRecord
    feature_names: tuple[str, ...] | None
    output: str | None
    use_azure: bool | None
    routing: Policy | None
    endpoint: Mapping[str, Any] | None
    session: Mapping[str, Any]

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
                spec=model.spec,
            ),
            feature_names=None if names is None else tuple(names),
            output=model.output,
            use_azure=model.use_azure,
            routing=None if model.use_azure is not None else model.routing,
            endpoint=None if model.endpoint is None else model.endpoint.to_dict(),
            session=to_store(model.local),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, in JSON's types; raises for a policy with a function."""
        return {
            "schema_version": SCHEMA_VERSION,
            "written_by": self.written_by,
            "model": self.model.to_dict(),
            "feature_names": None if self.feature_names is None else list(self.feature_names),
            "output": self.output,
            "use_azure": self.use_azure,
            "routing": None if self.routing is None else self.routing.to_dict(),
            "endpoint": self.endpoint,
            "session": self.session,
        }

    @classmethod
    def from_dict(cls, stored: Any) -> HybridRecord:
        """Read what `to_dict` wrote, also by an older release.

        Raises
        ------
        ConfigurationError
            If a value is missing or of another kind (the message begins with the path to it), or
            all of it is of a later major version.
        """
        _check_schema(required(stored, "schema_version", count), stored)
        return cls(
            written_by=optional(stored, "written_by", text, "unknown"),
            model=required(stored, "model", OnnxRecord.from_dict),
            feature_names=required(stored, "feature_names", nullable(texts)),
            output=required(stored, "output", nullable(text)),
            use_azure=required(stored, "use_azure", nullable(flag)),
            routing=optional(stored, "routing", nullable(policy_from_dict), None),
            endpoint=required(stored, "endpoint", nullable(mapping)),
            session=required(stored, "session", mapping),
        )


def _check_schema(found: int, stored: Mapping[str, Any]) -> None:
    if found < 1:
        raise ConfigurationError(f"schema_version: expected a number from 1 up, got {shown(found)}")
    if found > SCHEMA_VERSION:
        writer = str(stored.get("written_by"))
        later = f"hybridmodel>={writer}" if _RELEASE.fullmatch(writer) else "a later hybridmodel"
        raise ConfigurationError(
            f"has schema_version {shown(found)}, this hybridmodel {package_version()} reads up to "
            f"{SCHEMA_VERSION}; install {later}"
        )


def _external_files(stored: Any) -> dict[str, Mapping[str, Any]]:
    return {
        name: read_at(f"[{shown(name)}]", _external_file, facts)
        for name, facts in mapping(stored).items()
    }


def _external_file(stored: Any) -> dict[str, Any]:
    return {
        "size_bytes": required(stored, "size_bytes", count),
        "sha256": required(stored, "sha256", _sha256),
    }


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise expected("a sha256", value)
    return value
