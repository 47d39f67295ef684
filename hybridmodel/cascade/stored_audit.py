"""The file in which an audit's state survives a restart."""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridmodel.cascade.audit_state import AuditState
from hybridmodel.data import json_records as records
from hybridmodel.exceptions import ConfigurationError

SCHEMA_VERSION = 1
MOST_BYTES = 1 << 16
"""A larger file is none of ours: the state has about 2 kB."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, kw_only=True)
class StoredAudit:
    """A state, and the id of the `Audit` that wrote it: two writers of one file would lose rows."""

    writer: str
    state: AuditState


def read_audit(path: str | Path) -> StoredAudit:
    """Read an audit's state.

    Raises
    ------
    ConfigurationError
        If the file is no audit's, was changed by others, or is of a later major version; it says
        what to do.
    FileNotFoundError, OSError
        If it cannot be read.
    """
    with Path(path).open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    try:
        return _parsed(content)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{path}: not the state of an audit: {error}; name another file, or delete this one, "
            "and the audit begins anew"
        ) from error


def write_audit(path: str | Path, stored: StoredAudit) -> None:
    """Write an audit's state; the file is the old or the new one, whatever happens meanwhile.

    Raises
    ------
    OSError
        If it cannot be written; the old file stays.
    """
    path = Path(path)
    content = {"writer": stored.writer, "state": stored.state.to_dict()}
    text = json.dumps({"schema_version": SCHEMA_VERSION, "checksum": _sum(content), **content})
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    unfinished.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(unfinished, _NEW, 0o666), "wb") as file:
            file.write(f"{text}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):  # The first error says more.
            unfinished.unlink(missing_ok=True)
        raise


def _parsed(content: bytes) -> StoredAudit:
    if len(content) > MOST_BYTES:
        raise ConfigurationError(f"it has more than {MOST_BYTES:,} bytes")
    stored = records.loads(content, "no JSON")
    version = records.required(stored, "schema_version", records.count)
    if version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"it has schema_version {version}; this hybridmodel reads {SCHEMA_VERSION}"
        )
    names = ("writer", "state")
    content_ = {name: records.required(stored, name, lambda value: value) for name in names}
    if records.required(stored, "checksum", records.text) != _sum(content_):
        raise ConfigurationError("its checksum is not that of its content")
    return StoredAudit(
        writer=records.required(stored, "writer", records.text),
        state=records.required(stored, "state", AuditState.from_dict),
    )


def _sum(content: Any) -> str:
    """Return the CRC-32 of a value's JSON: floats are written so that they read back the same."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"
