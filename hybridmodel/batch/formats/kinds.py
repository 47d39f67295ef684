"""The format of a file, by its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from hybridmodel.exceptions import ConfigurationError

PARQUET, CSV, JSON_LINES, ARROW = "parquet", "csv", "jsonl", "arrow"

NAMES = {PARQUET: "parquet", CSV: "csv", JSON_LINES: "json lines", ARROW: "arrow"}
"""What messages call them."""

_KINDS = {
    ".csv": CSV,
    ".tsv": CSV,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".parquet": PARQUET,
    ".pqt": PARQUET,
    ".arrow": ARROW,
    ".feather": ARROW,
    ".ipc": ARROW,
}
_ZIPPED = ".gz"
TEXTS = (CSV, JSON_LINES)
"""Kinds that have lines."""


@dataclass(frozen=True, slots=True)
class Format:
    """The format of a file; `separator` stands between the fields of CSV."""

    kind: str
    zipped: bool = False
    separator: str = ","

    @property
    def is_text(self) -> bool:
        """Whether it has lines."""
        return self.kind in TEXTS


def find_format(path: str) -> Format | None:
    """Tell the format of a file by its name; None if the name does not tell it."""
    name = PurePosixPath(path).name.lower()
    zipped = name.endswith(_ZIPPED)
    suffix = PurePosixPath(name.removesuffix(_ZIPPED)).suffix
    kind = _KINDS.get(suffix)
    if kind is None or (zipped and kind not in TEXTS):
        return None
    return Format(kind, zipped, "\t" if suffix == ".tsv" else ",")


def format_of(path: str) -> Format:
    """Tell the format of a file by its name.

    Raises `ConfigurationError` if the name does not tell it.
    """
    found = find_format(path)
    if found is None:
        raise ConfigurationError(
            f"{path}: a name that ends with .csv, .tsv, .jsonl or .parquet was expected, or with "
            ".arrow; after .csv, .tsv and .jsonl, .gz may follow"
        )
    return found
