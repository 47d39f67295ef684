"""What must be unchanged for a job to go on: its inputs, model, route, endpoint and options.

An input is recognised by its path, size and modification time, and by a hash of its first and last
bytes; of Parquet only the last are read, which hold the footer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from hybridmodel.batch.formats import PARQUET
from hybridmodel.batch.formats.files import InputFile
from hybridmodel.batch.formats.unreadable import readable
from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.routing import LOCAL

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

SAMPLE_BYTES = 1 << 16
"""Bytes that are read from each end of a file."""

_SHOWN = 200
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class InputIdentity:
    """The facts by which a job recognises an input file.

    `modified_ns` counts nanoseconds since 1970, or is 0 if the file system does not know it;
    `sample` is a hash of the ends of the file.
    """

    path: str
    size_bytes: int
    modified_ns: int
    sample: str

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> InputIdentity:
        """Read what `to_dict` returned; raises `ConfigurationError` for anything else."""
        match stored:
            case {
                "path": str(path),
                "size_bytes": int(size),
                "modified_ns": int(modified),
                "sample": str(sample),
            }:
                return cls(path=path, size_bytes=size, modified_ns=modified, sample=sample)
        raise ConfigurationError("not the identity of an input file")

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a file tells; only Parquet tells its number of rows and its schema."""

    identity: InputIdentity
    rows: int | None = None
    schema: Any = None


def look(file: InputFile) -> Look:
    """Look at a file.

    Raises `ConfigurationError` if there is no such file; `InputMismatch` if it is not the
    Parquet that its name says; `OSError` if it cannot be read.
    """
    info = file.filesystem.get_file_info(file.path)
    if not info.is_file:
        raise ConfigurationError(f"{file.name}: there is no such file")
    made = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with file.filesystem.open_input_file(file.path) as opened:
        if file.kind != PARQUET and info.size > SAMPLE_BYTES:
            made.update(opened.read_at(SAMPLE_BYTES, 0))
        tail = opened.read_at(min(info.size, SAMPLE_BYTES), max(0, info.size - SAMPLE_BYTES))
        made.update(tail)
        metadata = _metadata(file, opened, tail) if file.kind == PARQUET else None
    identity = InputIdentity(
        path=file.name,
        size_bytes=info.size,
        modified_ns=info.mtime_ns or 0,
        sample=made.hexdigest(),
    )
    if metadata is None:
        return Look(identity=identity)
    return Look(identity=identity, rows=metadata.num_rows, schema=metadata.schema.to_arrow_schema())


def _metadata(file: InputFile, opened: Any, tail: bytes) -> Any:
    """Read the footer of Parquet, from the bytes in `tail` if these are enough."""
    import pyarrow as pa
    import pyarrow.parquet

    footer_bytes = int.from_bytes(tail[-8:-4], "little") + 8
    with readable(file.name, "parquet"):
        is_there = footer_bytes <= len(tail)
        return pyarrow.parquet.read_metadata(pa.BufferReader(tail) if is_there else opened)


def settings_of(model: HybridOnnxModel, policy: Any, options: Mapping[str, Any]) -> dict[str, str]:
    """Describe a model, its route and the options of a job that change the answers, by name."""
    settings = {
        "model": _digest([model.onnx.sha256, dict(model.onnx.external_hashes)]),
        "features": _text(model.feature_names),
        "outputs": _text([str(spec) for spec in model.outputs]),
        "route": getattr(policy, "mode", "function"),
        "settings of the route": _policy_text(policy),
    }
    if settings["route"] != LOCAL and model.endpoint is not None:
        settings["endpoint"] = " or ".join(item.model_url for item in model.endpoints)
        settings["deployment"] = " or ".join(_text(item.deployment) for item in model.endpoints)
        widths = {getattr(item, "dimensions", None) for item in model.endpoints} - {None}
        if widths:
            settings["dimensions"] = _text(sorted(widths))
    return settings | {name: _text(value) for name, value in options.items()}


def changes(
    old: Mapping[str, Any], new: Mapping[str, str], inputs: Iterable[str] = ()
) -> list[str]:
    """List what has changed, with the old and the new value; `inputs` are appended."""
    told = [
        f"{name} was {_shown(old.get(name))}, now {_shown(new.get(name))}"
        for name in dict.fromkeys([*new, *old])
        if old.get(name) != new.get(name)
    ]
    return [*told, *inputs]


def changed_inputs(
    old: Iterable[InputIdentity], new: Iterable[InputIdentity], most: int = 3
) -> Iterator[str]:
    """Yield the first few changes of the inputs."""
    found = 0
    for then, now in zip_longest(old, new):
        if then == now:
            continue
        found += 1
        if found > most:
            yield "and more inputs"
            return
        yield _change(then, now)


def _change(then: InputIdentity | None, now: InputIdentity | None) -> str:
    if then is None and now is not None:
        return f"input {shown(now.path, _SHOWN)} is new"
    if then is not None and now is None:
        return f"input {shown(then.path, _SHOWN)} is gone"
    assert then is not None and now is not None  # noqa: S101, PT018 - zip_longest gives one at least
    if then.path != now.path:
        return f"an input was {shown(then.path, _SHOWN)}, now {shown(now.path, _SHOWN)}"
    if then.size_bytes != now.size_bytes:
        return f"input {shown(now.path, _SHOWN)} had {then.size_bytes} bytes, now {now.size_bytes}"
    if then.sample != now.sample:
        return f"input {shown(now.path, _SHOWN)} has other content than it had"
    return f"input {shown(now.path, _SHOWN)} was written again"


def _policy_text(policy: Any) -> str:
    """Return the settings of a policy, or the name of a function."""
    to_dict = getattr(policy, "to_dict", None)
    if to_dict is None:
        return f"{getattr(policy, '__module__', '')}.{getattr(policy, '__qualname__', '')}"
    try:
        stored = to_dict()
    except ConfigurationError:  # It holds a function.
        stored = {"mode": policy.mode}
    text = _text(stored)
    return text if len(text) <= _SHOWN else _digest(stored)


def _text(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    return text if len(text) <= 10 * _SHOWN else _digest(value)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(value: Any) -> str:
    return "not set" if value is None else shown(value, _SHOWN)
