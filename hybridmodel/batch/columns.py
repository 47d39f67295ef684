"""Tells features, identifiers, kept and extra columns of a table apart."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hybridmodel.batch.formats.pandas_index import index_columns
from hybridmodel.cascade.formatting import some
from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

_SHOWN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns of the input are features, and which are kept beside the predictions.

    Parameters
    ----------
    ids : tuple of str
        Kept, and no features.
    keep : tuple of str
        Kept; also features if the model has names for its features and these are among them.
    keep_input : bool, default=False
        Keep all columns.
    ignore_extra : bool, default=False
        Leave out columns that the model does not take.
    for_command : bool, default=False
        Whether messages call these as the options of a command.
    """

    ids: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    keep_input: bool = False
    ignore_extra: bool = False
    for_command: bool = False

    def as_text(self, model: HybridOnnxModel) -> tuple[str, ...]:
        """Return the kept columns of CSV that are no features, which are read as text."""
        known = names_of(model) or ()
        return (*self.ids, *(name for name in self.keep if name not in known))

    def option(self, name: str) -> str:
        """Return the name of an argument for messages."""
        return f"--{name.replace('_', '-')}" if self.for_command else name


def split(batch: Any, columns: Columns, model: HybridOnnxModel, where: str) -> tuple[Any, Any]:
    """Return the features of a batch, and the columns that are kept.

    Raises `ConfigurationError` if a column is missing, or extra columns cannot be recognised.
    """
    names, index = batch.schema.names, index_columns(batch.schema)
    check_present((*columns.ids, *columns.keep), [*names, *filter(None, index.values())], where)
    features = feature_names([name for name in names if name not in index], columns, model)
    return batch.select(_positions(names, features)), _kept(batch, features, columns, index)


def feature_names(
    names: Sequence[str], columns: Columns, model: HybridOnnxModel, beside: Collection[str] = ()
) -> list[str]:
    """Return the columns that go to a model, and those that are wanted beside them.

    Raises `ConfigurationError` if the model takes columns by position, so that extra columns
    cannot be recognised.
    """
    wanted = names_of(model)
    apart = {*columns.ids, *(name for name in columns.keep if name not in (wanted or ()))}
    features = [name for name in names if name not in apart]
    if not columns.ignore_extra:
        return features
    if wanted is None:
        raise ConfigurationError(
            f"{columns.option('ignore_extra')}: the model takes columns by position, so no column "
            "is known to be extra; save it with feature_names"
        )
    return [name for name in features if name in wanted or name in beside]


def names_of(model: HybridOnnxModel) -> list[str] | None:
    """Return the columns that a model takes; None if it takes them by position."""
    if model.feature_names is not None:
        return model.feature_names
    single = model.inputs[0] if len(model.inputs) == 1 else None
    if single is not None and len(single.shape) == 2:
        return None
    return [tensor.name for tensor in model.inputs]


def check_present(wanted: Iterable[str], given: Sequence[str], where: str) -> None:
    """Refuse the name of a missing column, and list the available ones."""
    for name in wanted:
        if name in given:
            continue
        close = difflib.get_close_matches(name, given, 1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(
            f"{where} has no column {name!r}; available: {some(list(given), _SHOWN)}{meant}"
        )


def check_apart(kept: Iterable[str], predicted: Iterable[str], columns: Columns) -> None:
    """Refuse kept columns that have the name of a prediction."""
    both = sorted({*kept} & {*predicted})
    if both:
        option = "keep_input" if columns.keep_input else "keep"
        if columns.for_command and not columns.keep_input and not columns.keep:
            option = "id_column"
        raise ConfigurationError(
            f"{columns.option(option)}: the input and the predictions both have a column "
            f"{', '.join(map(repr, both))}"
        )


def _kept(batch: Any, features: list[str], columns: Columns, index: dict[str, str | None]) -> Any:
    names = batch.schema.names
    chosen = {*columns.ids, *columns.keep}
    if columns.keep_input:
        first = [name for name in names if index.get(name) is not None]
        first += [name for name in names if name in columns.ids and name not in index]
        kept = [*first, *(name for name in names if name in (chosen | {*features}) - {*first})]
    else:
        kept = [name for name in names if name in chosen or index.get(name) in chosen]
    found = batch.select(_positions(names, kept))
    renamed = [index.get(name) or name for name in found.schema.names]
    if renamed == found.schema.names:
        return found
    return type(found).from_arrays(found.columns, renamed)


def _positions(names: Sequence[str], wanted: Iterable[str]) -> list[int]:
    """Return the positions of columns, all of them if a name occurs several times."""
    order = {name: [at for at, other in enumerate(names) if other == name] for name in {*wanted}}
    found: list[int] = []
    for name in wanted:
        found += [at for at in order[name] if at not in found]
    return found
