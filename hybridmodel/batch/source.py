"""The inputs of a job, checked before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hybridmodel.batch.fingerprint import Look, look, settings_of
from hybridmodel.batch.formats import Format, InputFile, total_rows
from hybridmodel.batch.formats.frames import is_text
from hybridmodel.batch.growing import where_grows
from hybridmodel.batch.parts import WHOLE, rows_of_part
from hybridmodel.batch.pieces import Rows
from hybridmodel.batch.pipeline import Score
from hybridmodel.batch.rules import Rules
from hybridmodel.batch.scoring import can_be_split
from hybridmodel.batch.store import LocalStore, Store
from hybridmodel.batch.target import Target
from hybridmodel.batch.two_pass import LocalPass, has_two_passes
from hybridmodel.batch.work import Task
from hybridmodel.batch.writing import form_of_parts
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.routing.resolver import REMOTE_POLICY


@dataclass(frozen=True, kw_only=True)
class Source:
    """The inputs of a job, and the rules for their rows."""

    files: Sequence[InputFile]
    looks: Sequence[Look]
    rules: Rules
    form: Format | None

    @classmethod
    def looked_at(cls, files: Sequence[InputFile], rules: Rules, target: Target) -> Source:
        """Look at files once, and refuse inputs that cannot work.

        Raises `ConfigurationError` if a file is gone, would be overwritten, or has other columns to
        be kept than the first; `InputMismatch` if one cannot be read, or lacks columns that the
        model takes; `OSError` if one cannot be opened.
        """
        target.check(files)
        made = cls(files=files, looks=[look(file) for file in files], rules=rules, form=target.form)
        made._check_schemas()
        return made

    @property
    def is_two_pass(self) -> bool:
        """Whether all rows are answered locally first, and then some of them by the endpoint."""
        return has_two_passes(self.rules.scorer.policy)

    @property
    def is_remote(self) -> bool:
        """Whether the endpoint answers all rows."""
        return self.rules.scorer.policy is REMOTE_POLICY

    @property
    def score(self) -> Score:
        """The function that answers a batch in the first pass."""
        scorer = self.rules.scorer
        return LocalPass(scorer) if self.is_two_pass else scorer

    def where_grows(self, store: Store) -> LocalStore | None:
        """Return the store if the output can grow in it."""
        return None if self.is_two_pass else where_grows(store, self.form, len(self.files))

    def form_of_parts(self, *, grows: bool) -> Format:
        """Return how parts are written."""
        return form_of_parts(self.form, is_first_pass=self.is_two_pass, grows=grows)

    @property
    def rows(self) -> int | None:
        """The number of rows of all files; None if a file does not tell."""
        return total_rows([one.rows for one in self.looks])

    @cached_property
    def task(self) -> Task:
        """The task of the job."""
        scorer, reading = self.rules.scorer, self.rules.reading
        options = {
            "output format": None if self.form is None else [self.form.kind, self.form.zipped],
            "output": scorer.output,
            "provenance": scorer.provenance,
            "id columns": scorer.columns.ids,
            "keep": scorer.columns.keep,
            "keep_input": scorer.columns.keep_input,
            "ignore_extra": scorer.columns.ignore_extra,
            "separator": reading.separator,
            "decimal": reading.decimal,
            "as_text": reading.as_text,
        }
        model = scorer.model
        return Task(
            settings=settings_of(model, scorer.policy, options),
            inputs=[one.identity for one in self.looks],
            part_rows=rows_of_part(model.spec) if can_be_split(model.spec) else WHOLE,
        )

    def check_unchanged(self) -> None:
        """Refuse inputs that changed during the job.

        Raises `ConfigurationError` if one did; the finished parts cannot be used.
        """
        for file, before in zip(self.files, self.looks, strict=True):
            info = file.filesystem.get_file_info(file.path)
            was = before.identity
            if (info.size, info.mtime_ns or 0) != (was.size_bytes, was.modified_ns):
                raise ConfigurationError(
                    f"{file.name}: was changed while it was read, so its parts cannot be used; "
                    "begin anew with --overwrite"
                )

    def _check_schemas(self) -> None:
        """Score zero rows of each file that tells its columns, which is cheap."""
        if not can_be_split(self.rules.scorer.model.spec):
            return  # Such a model may not accept zero rows.
        first: tuple[InputFile, Any] | None = None
        checked: list[Any] = []
        for file, told in zip(self.files, self.looks, strict=True):
            if told.schema is None or _has_nulls(told.schema) or told.schema in checked:
                continue
            checked.append(told.schema)
            made = self._answered(file, told)
            if first is not None and (self.form is None or not self.form.is_text):
                _check_same(file, made, *first)
            first = first or (file, made)

    def _answered(self, file: InputFile, told: Look) -> Any:
        (empty,) = self.rules.read(file, told.rows or 0, 1)
        rows = Rows(empty, file, 0)
        answer, _ = self.rules.sifter(self.score)(rows)
        self.rules.mended(rows)
        return answer.batch.schema


def _has_nulls(schema: Any) -> bool:
    """Tell whether a column has no values, so that its type is not known yet."""
    import pyarrow as pa

    return any(pa.types.is_null(field.type) for field in schema)


def _check_same(file: InputFile, schema: Any, first: InputFile, expected: Any) -> None:
    if schema.names != expected.names:
        raise ConfigurationError(
            f"{file.name}: gives the columns {', '.join(schema.names)}, where {first.name} gives "
            f"{', '.join(expected.names)}"
        )
    for one, other in zip(schema, expected, strict=True):
        if _kind(one.type) != _kind(other.type):
            raise ConfigurationError(
                f"{file.name}: column {one.name!r} is {one.type}, in {first.name} it is "
                f"{other.type}; write .csv, which has no types, or make them the same"
            )


def _kind(kind: Any) -> str:
    from pyarrow import types

    families = (("integer", types.is_integer), ("float", types.is_floating), ("text", is_text))
    return next((name for name, is_one in families if is_one(kind)), str(kind))
