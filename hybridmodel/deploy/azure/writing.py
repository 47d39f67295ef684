"""Writes the files of endpoints, and names what they hold by its content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel.checks import needed_for
from hybridmodel.deploy.placing import place, staged
from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    from jinja2 import Environment

_VERSION_DIGITS = 16


def check_free(folder: Path, names: Iterable[str]) -> None:
    """Refuse to write where something is.

    Raises `ConfigurationError` if one of the names exists in the folder.
    """
    for name in names:
        if (folder / name).exists() or (folder / name).is_symlink():
            raise ConfigurationError(
                f"{folder / name}: exists already; remove it, or export into another folder"
            )


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Yield a folder to write to; at the end what it holds is in `folder`, after an error nothing.

    An error of the file system becomes a `ConfigurationError`.
    """
    with staged(folder) as stage:
        yield stage
        place(stage, folder, [Path(path.name) for path in sorted(stage.iterdir())])


def write_yaml(path: Path, document: Mapping[str, Any], comment: str) -> None:
    """Write a document, with a comment of one or more lines before it."""
    with needed_for("files for Azure"):
        import yaml

    text = yaml.safe_dump(
        dict(document), sort_keys=False, default_flow_style=False, allow_unicode=True
    )
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    write_new(path, head + text)


def write_rendered(path: Path, template: str, **values: Any) -> None:
    """Write what a template of this package makes of some values."""
    text = _environment().get_template(template).render(values)
    write_new(path, re.sub(r"\n{3,}", "\n\n", text.strip()) + "\n")


def write_new(path: Path, text: str) -> None:
    """Write a file that does not exist yet; raises `OSError` if it does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)


def content_version(folder: Path, over: Path | None = None) -> str:
    """Return a version for the files of a folder, the same for the same files.

    Azure never replaces a registered version, so a counter would soon name an older model. `over`
    is a folder into which the files will be moved, whose other files count as well.
    """
    files = {path.relative_to(root): path for root in (over, folder) if root for path in _in(root)}
    made = hashlib.sha256()
    for inner in sorted(files):
        with files[inner].open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        made.update(f"{inner.as_posix()}\0{digest}\n".encode())
    # The letter keeps readers of YAML from taking it for a number, as in 12e34.
    return f"v{made.hexdigest()[:_VERSION_DIGITS]}"


def bytes_of(folder: Path) -> int:
    """Return the size of all files of a folder."""
    return sum(path.stat().st_size for path in _in(folder))


def _in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@cache
def _environment() -> Environment:
    with needed_for("files for Azure"):
        from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("hybridmodel.deploy.azure"),
        autoescape=False,  # noqa: S701 - Markdown, and every value is checked or a name of ours
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
