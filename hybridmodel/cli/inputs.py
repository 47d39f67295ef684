"""The tables that ``predict`` reads: files, folders, globs and addresses, or stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from hybridmodel.batch.formats import InputFile, Reading, line_of, read, read_from
from hybridmodel.batch.formats.streams import told_apart
from hybridmodel.batch.inputs import find
from hybridmodel.data.tensors import ModelSpec

_STREAM = "-"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The input of the command.

    Parameters
    ----------
    paths : tuple of str
        As `hybridmodel.batch.inputs.find` takes them, or only ``-`` for stdin.
    separator, decimal, id_columns, ignore_extra
        As `hybridmodel.cli.source.Source` has them.

    Raises
    ------
    click.UsageError
        If stdin is one of several.
    """

    paths: tuple[str, ...]
    separator: str | None = None
    decimal: str = "."
    id_columns: tuple[str, ...] = ()
    ignore_extra: bool = False

    def __post_init__(self) -> None:
        if _STREAM in self.paths and not self.is_stream:
            raise click.UsageError("- for stdin stands alone")

    @property
    def is_stream(self) -> bool:
        """Whether it is stdin, which can be read once only."""
        return self.paths == (_STREAM,)

    @cached_property
    def files(self) -> list[InputFile]:
        """The files; none for stdin."""
        return [] if self.is_stream else find(self.paths)

    def name(self, number: int) -> str:
        """Return the name of a file in messages."""
        return "stdin" if self.is_stream else self.files[number].name

    def named(self) -> Iterator[tuple[Any, str]]:
        """Yield what is read from this machine, with its name."""
        if self.is_stream:
            yield sys.stdin, "stdin"
        for file in self.files:
            if "://" not in file.name:
                yield Path(file.path), file.name

    def reading(self, as_text: tuple[str, ...]) -> Reading:
        """Return how text is read, with columns that are kept as they are written."""
        return Reading(separator=self.separator, decimal=self.decimal, as_text=as_text)

    def batches(self, spec: ModelSpec, rows: int, reading: Reading) -> Iterator[tuple[int, Any]]:
        """Yield record batches, each with the number of its file."""
        if self.is_stream:
            with told_apart(sys.stdin.buffer, "stdin") as (kind, file):
                for batch in read_from(
                    file, kind, "stdin", spec=spec, rows=rows, start_row=0, reading=reading
                ):
                    yield 0, batch
        for number, found in enumerate(self.files):
            for batch in read(found, spec=spec, rows=rows, reading=reading):
                yield number, batch

    def line_of(self, number: int, row: int, reading: Reading) -> int | None:
        """Return the line on which a row of a file stands; None where none does."""
        return None if self.is_stream else line_of(self.files[number], row, reading)
