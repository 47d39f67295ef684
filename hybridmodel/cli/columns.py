"""Tells features, identifiers and extra columns of a table apart."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from hybridmodel.cascade.formatting import some
from hybridmodel.cli.source import Source
from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.model import HybridOnnxModel

_UNNAMED = "Unnamed: "
"""How pandas calls a column whose header is empty, such as the index that it writes itself."""
_SHOWN = 30


def names_of(model: HybridOnnxModel) -> list[str] | None:
    """Return the columns that a model takes; None where it takes them by position."""
    if model.feature_names is not None:
        return model.feature_names
    single = model.inputs[0] if len(model.inputs) == 1 else None
    if single is not None and len(single.shape) == 2:
        return None
    return [tensor.name for tensor in model.inputs]


def arranged(
    frame: pd.DataFrame, source: Source, model: HybridOnnxModel, label: str | None = None
) -> pd.DataFrame:
    """Return a frame with its identifiers as the index, and without ignored columns.

    The column `label` is never ignored.
    """
    for name in source.id_columns:
        check_column(frame, name, source, "--id-column")
    if source.id_columns:
        kept_index = any(frame.index.names)
        frame = frame.set_index(list(source.id_columns), append=kept_index)
    if not source.ignore_extra:
        return frame
    wanted = names_of(model)
    if wanted is None:
        raise ConfigurationError(
            "--ignore-extra: the model takes columns by position, so no column is known to be "
            "extra; save it with feature_names"
        )
    return frame[[name for name in frame if name in wanted or name == label]]


def check_column(frame: pd.DataFrame, name: str, source: Source, option: str) -> None:
    """Refuse the name of a missing column, and list the available ones."""
    if name in frame:
        return
    given = [str(column) for column in frame.columns]
    close = difflib.get_close_matches(name, given, 1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigurationError(
        f"{option}: {source.name} has no column {name!r}; available: {some(given, _SHOWN)}{meant}"
    )


def hint(
    frame: pd.DataFrame, model: HybridOnnxModel, source: Source, label: str | None, labels: bool
) -> str:
    """Suggest what to do about columns that do not fit; empty without a suggestion.

    `labels` says whether the command has ``--labels``, and `label` what was passed to it.
    """
    given = [str(name) for name in frame.columns]
    wanted = names_of(model)
    return (
        _unnamed_hint(given, wanted or [], source)
        or _separator_hint(given)
        or ("" if wanted is None else _extra_hint(given, wanted, label, labels))
    )


def _unnamed_hint(given: list[str], wanted: list[str], source: Source) -> str:
    unnamed = [name for name in given if name.startswith(_UNNAMED) and name not in wanted]
    if not unnamed or source.separator is not None:
        return ""
    return (
        f"; {unnamed[0]!r} is a column without a name, such as the index that pandas writes: "
        f"--id-column {unnamed[0]!r} takes it as that"
    )


def _separator_hint(given: list[str]) -> str:
    mark = next((mark for mark in ";,\t|" if len(given) == 1 and mark in given[0]), None)
    return (
        "" if mark is None else f"; if {mark!r} stands between the fields, say --separator {mark!r}"
    )


def _extra_hint(given: list[str], wanted: list[str], label: str | None, labels: bool) -> str:
    extra = [name for name in given if name not in (*wanted, label)]
    if not extra or not set(wanted) <= set(given):
        return ""
    if labels and label is None and len(extra) == 1:
        return f"; did you mean --labels {extra[0]!r}? (--ignore-extra leaves such columns out)"
    return "; --id-column NAME keeps a column that is no feature, --ignore-extra leaves such out"
