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

    Parameters
    ----------
    frame : DataFrame
        As it was read.
    source : Source
        Says which columns are identifiers, and whether to leave out extra ones.
    model : HybridOnnxModel
        Says which columns it takes.
    label : str, optional
        A column to keep.

    Raises
    ------
    ConfigurationError
        If a column is missing, or the model does not know its columns by name.
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
    """Refuse the name of a missing column.

    Raises
    ------
    ConfigurationError
        With the available names, and the most similar one.
    """
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

    Parameters
    ----------
    frame : DataFrame
        As `arranged` returned it.
    model : HybridOnnxModel
        Refused it.
    source : Source
        Where it is from.
    label : str or None
        The column that was named by ``--labels``.
    labels : bool
        Whether the command has ``--labels``.
    """
    given = [str(name) for name in frame.columns]
    wanted = names_of(model)
    extra = [] if wanted is None else [n for n in given if n not in wanted and n != label]
    missing = [] if wanted is None else [n for n in wanted if n not in given]
    unnamed = [name for name in given if name.startswith(_UNNAMED) and name not in (wanted or ())]
    if unnamed and source.separator is None:
        return (
            f"; {unnamed[0]!r} is a column without a name, such as the index that pandas writes: "
            f"--id-column {unnamed[0]!r} takes it as that"
        )
    if len(given) == 1 and (mark := next((m for m in ";,\t|" if m in given[0]), None)):
        return f"; if {mark!r} stands between the fields, say --separator {mark!r}"
    if not extra or missing:
        return ""
    if labels and label is None and len(extra) == 1:
        return f"; did you mean --labels {extra[0]!r}? (--ignore-extra leaves such columns out)"
    return "; --id-column NAME keeps a column that is no feature, --ignore-extra leaves such out"
