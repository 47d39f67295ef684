"""Reads all files below some paths, and reports the findings and what they mean."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from hybridmodel.doctor.files import files_below, kind_of, opened, read
from hybridmodel.doctor.graphs import find_in_model
from hybridmodel.doctor.notebooks import find_in_notebook
from hybridmodel.doctor.probe import Probe, probe, today
from hybridmodel.doctor.python_code import MOST_BYTES, find_in_source
from hybridmodel.doctor.records import Finding, NotRead, Skipped

_MOST_NOTEBOOK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The doctor's report.

    Attributes
    ----------
    findings : tuple of Finding
        All findings, in the order in which the files were read.
    today : tuple of str
        What the installed onnxruntime does with each finding.
    probe : Probe or None
        The trial of that onnxruntime; None if there are no findings.
    files_read : tuple of str
        Files that were read completely or in part.
    files_skipped, folders_skipped : tuple of Skipped
        Files and folders that were not read, or only in part.
    """

    findings: tuple[Finding, ...]
    today: tuple[str, ...]
    probe: Probe | None
    files_read: tuple[str, ...]
    files_skipped: tuple[Skipped, ...]
    folders_skipped: tuple[Skipped, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report in JSON's types."""
        said = asdict(self)
        for finding, now in zip(said["findings"], said.pop("today"), strict=True):
            finding["today"] = now
        return said


def examine(paths: Iterable[Path], try_out: Callable[[], Probe] = probe) -> Report:
    """Find code and graphs that rely on the dead execution provider, without running any.

    Parameters
    ----------
    paths : iterable of Path
        Files and folders that exist. A file that is named twice is read once.
    try_out : callable
        Tries the installed onnxruntime; called once, and only if there are findings.
    """
    reading = _Reading()
    folders_skipped = []
    for item in files_below(paths):
        if isinstance(item, Skipped):
            folders_skipped.append(item)
        else:
            reading.add(item)
    tried = try_out() if reading.findings else None
    return Report(
        findings=tuple(reading.findings),
        today=tuple(today(finding, tried) for finding in reading.findings if tried),
        probe=tried,
        files_read=tuple(reading.files_read),
        files_skipped=tuple(reading.files_skipped),
        folders_skipped=tuple(folders_skipped),
    )


@dataclass(slots=True)
class _Reading:
    """What has been read so far."""

    findings: list[Finding] = field(default_factory=list)
    files_read: list[str] = field(default_factory=list)
    files_skipped: list[Skipped] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def add(self, path: Path) -> None:
        """Read a file, unless it has been read under another name."""
        try:
            with opened(path) as file:
                status = os.fstat(file.fileno())
                identity = (status.st_dev, status.st_ino)
                if identity in self.seen:
                    return
                self.seen.add(identity)
                found, problem = _find(path, file)
        except NotRead as error:
            self.files_skipped.append(Skipped(str(path), str(error)))
            return
        self.findings += [replace(finding, path=str(path)) for finding in found]
        self.files_read.append(str(path))
        if problem is not None:
            self.files_skipped.append(Skipped(str(path), f"is read in part: {problem}"))


def _find(path: Path, file: IO[bytes]) -> tuple[list[Finding], str | None]:
    kind = kind_of(path, file.read(1))
    file.seek(0)
    if kind == "python":
        return find_in_source(read(file, MOST_BYTES)), None
    if kind == "notebook":
        return find_in_notebook(read(file, _MOST_NOTEBOOK_BYTES))
    if os.fstat(file.fileno()).st_size == 0:
        raise NotRead("is empty")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return find_in_model(mapped)
