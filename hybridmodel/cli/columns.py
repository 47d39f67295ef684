"""Features, identifiers and extra columns of a frame, and advice where they do not fit."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from hybridmodel.batch.columns import Columns, check_present, feature_names, names_of
from hybridmodel.cli.source import Source

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.model import HybridOnnxModel

_UNNAMED = "Unnamed: "
"""How pandas calls a column whose header is empty, such as the index that it writes itself."""


def arranged(
    frame: pd.DataFrame, source: Source, model: HybridOnnxModel, beside: Collection[str] = ()
) -> pd.DataFrame:
    """Return a frame with its identifiers as the index, and without ignored columns.

    The columns `beside` are never ignored.
    """
    names = list(map(str, frame.columns))
    check_present(source.id_columns, names, f"--id-column: {source.name}")
    columns = Columns(ids=source.id_columns, ignore_extra=source.ignore_extra, for_command=True)
    features = feature_names(names, columns, model, beside)
    if source.id_columns:
        kept_index = any(frame.index.names)
        frame = frame.set_index(list(source.id_columns), append=kept_index)
    return frame[[name for name in frame if name in features]] if source.ignore_extra else frame


def hint(
    given: list[str],
    model: HybridOnnxModel,
    separator: str | None,
    label: str | None,
    labels: bool,
) -> str:
    """Suggest what to do about columns that do not fit; empty without a suggestion.

    `separator` is the one that was said; `labels` says whether the command has ``--labels``, and
    `label` what was passed to it.
    """
    wanted = names_of(model)
    return (
        _unnamed_hint(given, wanted or [], separator)
        or _separator_hint(given)
        or ("" if wanted is None else _extra_hint(given, wanted, label, labels))
    )


def _unnamed_hint(given: list[str], wanted: list[str], separator: str | None) -> str:
    unnamed = [name for name in given if name.startswith(_UNNAMED) and name not in wanted]
    if not unnamed or separator is not None:
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
