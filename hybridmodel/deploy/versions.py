"""Decides whether a version may join what is in a folder, and moves it there."""

from __future__ import annotations

import os
from pathlib import Path

from hybridmodel.deploy.placing import is_free, place, units
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.serving.model_config import CONFIG_FILE, tensors_in


def check_place(root: Path, whole: Path, overwrite: bool) -> None:
    """Refuse a place with other files, unless they are another version of the same model."""
    if is_free(root) or (overwrite and root.is_dir()):
        return
    if not root.is_dir():
        raise ConfigurationError(f"{root}: exists and is not a folder; choose another")
    if os.path.lexists(root / whole):
        raise ConfigurationError(
            f"{root / whole}: exists already; export another version (--model-version) or into "
            "another folder, or replace it (--overwrite)"
        )
    if not (root / whole.parent / CONFIG_FILE).is_file():
        raise ConfigurationError(
            f"{root}: is a folder with other files, and none of them is {whole.parent}/"
            f"{CONFIG_FILE}; choose a new folder, or add the model to this one (--overwrite)"
        )


def settle(stage: Path, root: Path, whole: Path, overwrite: bool) -> list[str]:
    """Move what was built to its place; return notes."""
    found, notes = units(stage, root, whole), []
    others = _versions(root / whole.parent) - {whole.name}
    if others:
        _check_shared(stage / whole.parent, root / whole.parent, sorted(others, key=int))
        config = whole.parent / CONFIG_FILE
        if config in found and not overwrite:
            found.remove(config)
            notes.append(f"{config} stays as it is; --overwrite writes these settings into it")
    clashes = [str(unit) for unit in found if os.path.lexists(root / unit)]
    if clashes and not overwrite:
        raise ConfigurationError(
            f"{root}: has {', '.join(clashes)} already, with another content; choose another "
            "folder, or replace them (--overwrite)"
        )
    place(stage, root, found)
    return notes


def _versions(model: Path) -> set[str]:
    found = model.iterdir() if model.is_dir() else ()
    return {path.name for path in found if path.is_dir() and path.name.isdecimal()}


def _check_shared(new: Path, old: Path, others: list[str]) -> None:
    """Raise unless a new version has the tensors and classes of the other versions."""
    for path in sorted(new.iterdir()):
        if path.is_dir():
            continue
        texts = [_shared(folder / path.name) for folder in (new, old)]
        if texts[0] != texts[1]:
            raise ConfigurationError(
                f"{old / path.name}: all versions of a model share it, and for this one it would "
                f"differ from what it says for version {', '.join(others)}, in tensors, rows or "
                "classes; export this model under another name, or into another folder"
            )


def _shared(file: Path) -> list[str] | None:
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8", errors="replace")
    return tensors_in(text) if file.name == CONFIG_FILE else text.splitlines()
