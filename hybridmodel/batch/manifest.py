"""The record of a job: its task, and one line for each piece of work that is done.

A line is a checksum and a JSON object. It is written after the work it describes is on the disk, so
work without a line is not done. The last line may be torn by a full disk or a power failure, and is
cut off; any other damaged line is refused. No line names a file to be opened.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hybridmodel.batch.store import LINE_BYTES, Store
from hybridmodel.exceptions import ConfigurationError

SCHEMA_VERSION = 2
"""Increased when an older release can no longer go on with a job of a newer one."""

JOB, INPUT, PART, DONE = "job", "input", "part", "done"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the manifest: a `JOB`, an `INPUT` for each file, a `PART` each, a `DONE`."""

    kind: str
    facts: Mapping[str, Any]

    def line(self) -> bytes:
        """Return it as a line; raises `ConfigurationError` if it is longer than a line may be."""
        facts = {"kind": self.kind, **self.facts}
        text = json.dumps(facts, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        made = f"{zlib.crc32(text.encode()):08x} {text}\n".encode()
        if len(made) > LINE_BYTES:
            raise ConfigurationError(
                f"the manifest: a line of {len(made)} bytes about {self.kind!r}, at most "
                f"{LINE_BYTES} can be kept"
            )
        return made

    @classmethod
    def read(cls, line: bytes) -> Entry | None:
        """Read a line; None if it is damaged."""
        checksum, space, text = line.partition(b" ")
        if not (space and text.endswith(b"\n")):
            return None
        if checksum != b"%08x" % zlib.crc32(text[:-1]):
            return None
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError):
            return None
        kind = facts.pop("kind", None) if isinstance(facts, dict) else None
        return cls(kind, facts) if isinstance(kind, str) else None


class Manifest:
    """The manifest of one job."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, entries: Iterable[Entry]) -> None:
        """Create it with the task of the job; raises `OSError`."""
        self._store.begin_log(b"".join(entry.line() for entry in entries))

    def append(self, entry: Entry) -> None:
        """Append a line, which is on the disk when this returns; raises `OSError`."""
        self._store.append(entry.line())

    def entries(self) -> Generator[Entry, None, None]:
        """Yield the lines, none if there is no manifest; a torn last line is cut off.

        Raises `ConfigurationError` if a line before the last is not as it was written, or a later
        release made it.
        """
        number, torn = 0, False
        for number, line in enumerate(self._store.lines(), 1):
            if torn:
                raise self._refusal(number - 1)
            entry = Entry.read(line)
            if entry is None:
                torn = True
            else:
                self._check_first(number, entry)
                yield entry
        if torn:
            if number == 1:
                raise self._refusal(number)
            self._store.cut(number - 1)

    def cut(self, entries: int) -> None:
        """Keep only the first lines; raises `OSError`."""
        self._store.cut(entries)

    def _check_first(self, number: int, entry: Entry) -> None:
        if (number == 1) != (entry.kind == JOB):
            raise self._refusal(number)
        version = entry.facts.get("schema_version")
        if number == 1 and version != SCHEMA_VERSION:
            raise ConfigurationError(
                f"{self._store.name}: the half-done job was begun by another release of "
                f"hybridmodel (its manifest has version {version!r:.20}, this release knows "
                f"{SCHEMA_VERSION}); go on with that release, or begin anew with --overwrite"
            )

    def _refusal(self, number: int) -> ConfigurationError:
        return ConfigurationError(
            f"{self._store.name}: line {number} of the manifest is not as it was written, so what "
            "is done cannot be told; begin anew with --overwrite"
        )
