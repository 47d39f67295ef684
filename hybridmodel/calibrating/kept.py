"""Answers of an endpoint that are kept in a file, so that nobody pays for them twice.

The file is Arrow IPC with one row for each answer: the hash of the row that was asked about, the
version of the model that answered, and the outputs. The metadata of its schema name the endpoint.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.answer import Answer
from hybridmodel.calibrating.sample import KEY_BYTES, Sample, bind
from hybridmodel.checks import needed_for, shown
from hybridmodel.data.arrow import as_arrow
from hybridmodel.data.tensors import WILDCARD, Array, ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

_FORMAT = "hybridmodel answers 1"
_KEY, _VERSION, _OUTPUT = "row_hash", "model_version", "output."


class KeptAnswers:
    """The answers in one file; nothing is written before the first is added.

    What another process added meanwhile is kept, unless both write in the same instant.

    Parameters
    ----------
    path : path
        Of the file; it may be new, its folder must exist.
    endpoint : str
        URL of the model that answers.
    spec : ModelSpec
        Whose outputs are kept.

    Raises
    ------
    ConfigurationError
        If the file is none of answers, is damaged, or holds those of another endpoint or with
        outputs of another kind.
    """

    def __init__(self, path: str | os.PathLike[str], endpoint: str, spec: ModelSpec) -> None:
        self.path = Path(path)
        self._endpoint, self._spec = endpoint, spec
        if not self.path.parent.is_dir():
            raise ConfigurationError(f"answers {self.path}: there is no folder {self.path.parent}")
        self._table: Any = None
        self._stamp: tuple[int, int, int] | None = None
        self._look_again()

    @property
    def outputs(self) -> tuple[str, ...] | None:
        """Names of the outputs that each answer has; None while there is no answer."""
        if self._table is None:
            return None
        names = self._table.column_names
        return tuple(name.removeprefix(_OUTPUT) for name in names if name.startswith(_OUTPUT))

    @property
    def rows(self) -> int:
        """How many answers there are, of all versions."""
        return 0 if self._table is None else int(self._table.num_rows)

    def find(
        self, keys: Sequence[bytes], names: Sequence[str]
    ) -> tuple[Array, dict[str, Array], str | None]:
        """Return the answers to rows of which these are the hashes.

        Only answers of the version that answered last count: an endpoint that serves another model
        since answers other rows differently as well.

        Returns
        -------
        (ndarray of int, dict of str to ndarray, str or None)
            Positions in `keys` of the rows that have an answer, the outputs in this order, and the
            version.

        Raises
        ------
        ConfigurationError
            If the answers lack one of the outputs.
        """
        if self._table is None or not self._table.num_rows:
            return np.empty(0, np.int64), {}, None
        for name in names:
            if name not in (self.outputs or ()):
                raise ConfigurationError(
                    f"answers {self.path}: they have the outputs {', '.join(self.outputs or ())}, "
                    f"and {name!r} is needed as well; name another file"
                )
        rows, places, version = self._places(keys)
        if not len(rows):
            return rows, {}, None
        part = self._table.take(places)
        outputs = {name: _values(part[_OUTPUT + name], self._spec.output(name)) for name in names}
        return rows, outputs, version

    def _places(self, keys: Sequence[bytes]) -> tuple[Array, Array, str | None]:
        """Return which keys have an answer of the last version, and the place of the latest."""
        import pyarrow as pa
        import pyarrow.compute as pc

        versions = self._table[_VERSION]
        last = versions[-1].as_py()
        # A comparison with null is null.
        of_last = (
            pc.is_null(versions) if last is None else pc.equal(versions, last).fill_null(False)
        )
        usable = np.flatnonzero(of_last.to_numpy())[::-1]
        stored = self._table[_KEY].take(usable)
        # A few thousand keys beside millions: without an object for each of these.
        found = pc.index_in(pa.array(keys, pa.binary(KEY_BYTES)), value_set=stored)
        places = found.fill_null(-1).to_numpy()
        rows = np.flatnonzero(places >= 0)
        return rows, usable[places[rows]], last

    def add(self, keys: Sequence[bytes], outputs: Mapping[str, Array], version: str | None) -> None:
        """Add answers, and write the file: whole, or not at all.

        Raises
        ------
        ConfigurationError
            If the outputs do not fit those that are there.
        OSError
            If the file cannot be written.
        """
        table = self._made(keys, outputs, version)
        self._look_again()
        if self._table is not None:
            if not table.schema.equals(self._table.schema):
                raise ConfigurationError(
                    f"answers {self.path}: its answers have the columns "
                    f"{_columns(self._table)}, the new ones {_columns(table)}; name another file"
                )
            import pyarrow as pa

            # In one piece: thousands of small ones would take longer to write each time.
            table = pa.concat_tables([self._table, table]).combine_chunks()
        self._write(table)
        self._table, self._stamp = table, self._stamp_now()

    def _made(self, keys: Sequence[bytes], outputs: Mapping[str, Array], version: Any) -> Any:
        import pyarrow as pa

        columns = {
            _KEY: pa.array(keys, pa.binary(KEY_BYTES)),
            _VERSION: pa.array([version] * len(keys), pa.string()),
        }
        for name in sorted(outputs):
            columns[_OUTPUT + name] = as_arrow(outputs[name])
        about = {"format": _FORMAT, "endpoint": self._endpoint}
        return pa.table(columns).replace_schema_metadata({"hybridmodel": json.dumps(about)})

    def _look_again(self) -> None:
        """Read the file, if another process has written it since."""
        stamp = self._stamp_now()
        if stamp is not None and stamp != self._stamp:
            self._table, self._stamp = self._read(), stamp

    def _stamp_now(self) -> tuple[int, int, int] | None:
        """Return what tells that the file was replaced; None where there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _write(self, table: Any) -> None:
        import pyarrow.ipc

        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        try:
            with part.open("xb") as file:
                with pyarrow.ipc.new_file(file, table.schema) as writer:
                    writer.write_table(table)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        finally:
            part.unlink(missing_ok=True)

    def _read(self) -> Any:
        with needed_for("a file of answers"):
            import pyarrow as pa
            import pyarrow.ipc
        with self._readable(pa.ArrowException):
            if not self.path.is_file():
                raise ValueError("it is no regular file")
            # Read at once: the file is replaced while its answers are in use.
            with pyarrow.ipc.open_file(pa.BufferReader(self.path.read_bytes())) as opened:
                table = opened.read_all()
            table.validate(full=True)
            about = json.loads((table.schema.metadata or {}).get(b"hybridmodel", b"{}"))
            names = table.column_names
            first = pa.schema({_KEY: pa.binary(KEY_BYTES), _VERSION: pa.string()})
            fits = len(set(names)) == len(names) and pa.schema(list(table.schema)[:2]).equals(first)
            if about.get("format") != _FORMAT or not fits:
                raise ValueError("its schema is another one")
        if about.get("endpoint") != self._endpoint:
            raise ConfigurationError(
                f"answers {self.path}: they come from {shown(about.get('endpoint'), 500)}, not "
                f"from {self._endpoint}; name another file"
            )
        self._check_outputs(table)
        return table

    def _check_outputs(self, table: Any) -> None:
        for field in list(table.schema)[2:]:
            name = field.name.removeprefix(_OUTPUT)
            known = self._spec.outputs_by_name.get(name)
            if known is None or not _fits(field.type, known) or table[field.name].null_count:
                raise ConfigurationError(
                    f"answers {self.path}: column {field.name!r} of {field.type} is no output of "
                    f"the model; its outputs are {', '.join(map(str, self._spec.outputs))}"
                )

    @contextmanager
    def _readable(self, kind: type[Exception]) -> Iterator[None]:
        try:
            yield
        except (kind, OSError, ValueError, AttributeError, RecursionError) as error:
            raise ConfigurationError(
                f"answers {self.path}: not a file of answers, or a damaged one: {error}"
            ) from error


def keep_answers(
    path: str | os.PathLike[str],
    model: HybridOnnxModel,
    X: Any,  # noqa: N803 - as scikit-learn calls it
    answer: Answer | Mapping[str, Array],
    *,
    model_version: str | None = None,
) -> None:
    """Keep what the endpoint answered elsewhere, such as in shadow mode, for `calibrate`.

    Rows that the file has an answer to are passed over.

    Parameters
    ----------
    path : path
        The file, as `calibrate` takes it for `answers`; a new one, or one to add to.
    model : HybridOnnxModel
        With the endpoint that answered; nobody is asked.
    X : DataFrame, ndarray, list, or dict of arrays by input name
        The rows, as `HybridOnnxModel.predict` takes them.
    answer : Answer or mapping of str to ndarray
        What `HybridOnnxModel.infer` returned with ``use_azure=True``, or the endpoint's outputs by
        name, with a row for each of `X`.
    model_version : str, optional
        The version that answered, where `answer` does not tell.

    Raises
    ------
    ConfigurationError
        If the model has no endpoint, or the file is not one for its answers.
    InputMismatch
        If `X` does not fit the model, or the answer does not fit `X`.
    """
    kept = KeptAnswers(path, model.client.endpoint.model_url, model.spec)
    sample = Sample(model, bind(model, X))
    rows, keys = sample.rows, sample.keys
    if not sample.by_row:
        raise InputMismatch(
            "only answers to single rows are kept, and not all inputs of this model have a row for "
            "each row"
        )
    outputs, version = _remote_of(answer, model_version)
    for name, values in outputs.items():
        known = model.spec.outputs_by_name.get(name)
        if known is None or values.shape[:1] != (rows,) or values.dtype != known.dtype:
            raise InputMismatch(
                f"answer {name!r} is {values.dtype} of shape {list(values.shape)}; expected one of "
                f"the outputs {', '.join(map(str, model.spec.outputs))} for {rows} rows"
            )
    there, _, last = kept.find(keys, tuple(outputs))
    known_keys = {keys[row] for row in there} if last == version else set()
    fresh = {key: row for row, key in enumerate(keys) if key not in known_keys}
    if fresh:
        places = list(fresh.values())
        part = {name: values[places] for name, values in outputs.items()}
        kept.add(list(fresh), part, version)


def _remote_of(
    answer: Answer | Mapping[str, Array], version: str | None
) -> tuple[dict[str, Array], str | None]:
    if not isinstance(answer, Answer):
        return {name: np.asarray(values) for name, values in answer.items()}, version
    if answer.route != "azure":
        raise InputMismatch(
            f"the answer came by route {answer.route!r}; only answers of the endpoint alone are "
            "kept: ask with use_azure=True"
        )
    return dict(answer.outputs), answer.model_version if version is None else version


def _columns(table: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in list(table.schema)[2:])


def _fits(kind: Any, spec: TensorSpec) -> bool:
    import pyarrow as pa

    sizes = []
    while pa.types.is_fixed_size_list(kind):
        sizes.append(kind.list_size)
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if is_text or not hasattr(kind, "to_pandas_dtype"):
        fits = is_text and spec.dtype.kind == "O"
    else:
        fits = spec.dtype == np.dtype(kind.to_pandas_dtype())
    wanted = spec.shape[1:]
    return (
        fits
        and len(sizes) == len(wanted)
        and all(one in (WILDCARD, other) for one, other in zip(wanted, sizes, strict=True))
    )


def _values(column: Any, spec: TensorSpec) -> Array:
    """Return a column of numbers, texts, or nested lists of one size as an array."""
    import pyarrow as pa

    values, sizes = column.combine_chunks(), []
    while pa.types.is_fixed_size_list(values.type):
        sizes.append(values.type.list_size)
        values = values.flatten()
    if spec.dtype.kind == "O":
        flat = np.array([*values.to_pylist(), None], dtype=object)[:-1]
    else:
        flat = values.to_numpy(zero_copy_only=False).astype(spec.dtype)
    return np.asarray(flat).reshape(len(column), *sizes)
