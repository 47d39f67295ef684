"""What is remembered of deployments and endpoints, as JSON beside their files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from hybridmodel.exceptions import ConfigurationError

_MOST_BYTES = 1 << 24
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A deployment as it was made.

    Attributes
    ----------
    name, model_uri, flavor : str
        Its name, what was exported, and of which flavor that was.
    config : dict
        The keys that were given, as they were read.
    feature_names : list of str or None
        Columns of a frame in the model's order.
    files : list of str
        All files in its folder, relative to it, but for the record.
    """

    name: str
    model_uri: str
    flavor: str
    config: dict[str, Any] = field(default_factory=dict)
    feature_names: list[str] | None = None
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """An endpoint: its name, its config, and how its requests are shared in percent."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    traffic: dict[str, int] = field(default_factory=dict)
    mirror: dict[str, int] = field(default_factory=dict)


T = TypeVar("T", Deployed, Shared)

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("name", "model_uri", "flavor"), str),
    **dict.fromkeys(("config", "traffic", "mirror"), dict),
    "files": list,
    "feature_names": (list, type(None)),
}


def write(path: Path, record: Deployed | Shared) -> None:
    """Write a record in one step: a reader finds the old one or the new one."""
    text = json.dumps({"format": _FORMAT, **asdict(record)}, indent=2) + "\n"
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def read(path: Path, kind: type[T]) -> T:
    """Read a record; `ConfigurationError` if it is damaged, or of a later format."""
    if path.is_symlink():
        raise ConfigurationError(f"{path}: is a link; nothing is read behind it")
    try:
        with path.open("rb") as opened:
            said = json.loads(opened.read(_MOST_BYTES))
    except (ValueError, RecursionError):
        said = None
    names = [item.name for item in fields(kind)]
    if not isinstance(said, dict) or said.get("format") != _FORMAT:
        raise ConfigurationError(f"{path}: is no record of format {_FORMAT}")
    if any(not isinstance(said.get(name), _TYPES[name]) for name in names):
        raise ConfigurationError(f"{path}: is damaged; expected {', '.join(names)}")
    if path.parent.name != said["name"]:
        raise ConfigurationError(
            f"{path}: is the record of another folder, of {said['name']!r:.60}"
        )
    _check_texts(path, said.get("files", ()), said.get("feature_names") or ())
    return kind(**{name: said[name] for name in names})


def files_in(folder: Path) -> list[str]:
    """Return all files below a folder, relative to it."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


def kept_uri(uri: str) -> str:
    """Return a model's address as it is kept: a path from the root, and nothing secret.

    A password goes, and so does a query, which may hold one.
    """
    if Path(uri).exists():
        return str(Path(uri).absolute())
    parts = urlsplit(uri)
    if not parts.scheme or not (parts.query or "@" in parts.netloc):
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _check_texts(path: Path, *lists: Iterable[Any]) -> None:
    if not all(isinstance(item, str) for one in lists for item in one):
        raise ConfigurationError(f"{path}: is damaged; expected texts")
