"""What several commands share: options, loading a model, and output for machines."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args, get_type_hints

import click

from hybridmodel.cli.inputs import Inputs
from hybridmodel.cli.source import Source
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint import FIELDS, TritonEndpoint
from hybridmodel.routing import parse_use_azure

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

_QUIET = {"MLFLOW_LOGGING_LEVEL": "ERROR"}


def read_config(given: Iterable[str]) -> dict[str, Any]:
    """Turn ``KEY=VALUE`` texts into what ``model_config`` takes; an empty value is None.

    Raises
    ------
    click.BadParameter
        If one has no ``=`` or a value of the wrong kind. Values are not shown: they may be keys.
    """
    config = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter("write KEY=VALUE; what came has no '='")
        try:
            config[key] = _READERS.get(key, str)(value) if value else None
        except (ValueError, ConfigurationError) as error:
            kind = "true or false" if _READERS[key] is _flag else "a number"
            raise click.BadParameter(f"the value of {key} is {kind}") from error
    return config


def _flag(text: str) -> bool | None:
    return parse_use_azure(text, "a flag")


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _reader(hint: Any) -> Callable[[str], Any]:
    """Return what reads a field of this type, which may be None as well."""
    (kind,) = set(get_args(hint) or (hint,)) - {type(None)}
    return _flag if kind is bool else cast("Callable[[str], Any]", kind)


_HINTS = get_type_hints(TritonEndpoint)
_READERS: Mapping[str, Callable[[str], Any]] = {
    "use_azure": _flag,
    "providers": _list,
    **{name: _reader(_HINTS[name]) for name in FIELDS},
}

model_uri = click.argument("model_uri", metavar="MODEL_URI")
model_uris = click.argument("model_uris", metavar="[NAME=]MODEL_URI...", nargs=-1, required=True)
model_config = click.option(
    "--model-config",
    "config",
    metavar="KEY=VALUE",
    multiple=True,
    callback=lambda _context, _option, given: read_config(given),
    help="Load the model with another setting, such as uri=https://...; an empty VALUE is none. "
    "Repeatable.",
)
timeout = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Total time for one call to the endpoint; default is the model's.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
batch_rows = click.option(
    "--batch-rows",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Rows that are read, answered and written at a time.",
)


_TABLE = (
    click.option(
        "--separator",
        metavar="CHARACTER",
        help="What stands between the fields of CSV; default is what the header shows: a comma, "
        "else a semicolon, tab or bar.",
    ),
    click.option(
        "--decimal",
        metavar="CHARACTER",
        default=".",
        show_default=True,
        help="What stands before the decimals of a number in CSV.",
    ),
    click.option(
        "--id-column",
        "id_columns",
        metavar="NAME",
        multiple=True,
        help="A column that is no feature and says which row it is. Repeatable.",
    ),
    click.option("--ignore-extra", is_flag=True, help="Leave out columns that the model lacks."),
)


def tables(metavar: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command an argument for tables, and options to read them, as `Inputs`; see `table`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(
            *args: Any,
            paths: tuple[str, ...],
            separator: str | None,
            decimal: str,
            **options: Any,
        ) -> Any:
            own = {name: options.pop(name) for name in ("id_columns", "ignore_extra")}
            inputs = Inputs(
                paths=paths,
                separator=_mark("--separator", separator),
                decimal=_mark("--decimal", decimal) or ".",
                **own,
            )
            return command(*args, inputs=inputs, **options)

        return click.argument("paths", metavar=metavar, nargs=-1, required=True)(_readable(run))

    return decorate


def table(metavar: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command an argument for a table, and options to read it, as one `Source`.

    Parameters
    ----------
    metavar : str
        What the help calls it.

    Returns
    -------
    callable
        Decorates a command that takes `source`.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(
            *args: Any,
            source: Path,
            separator: str | None,
            decimal: str,
            id_columns: tuple[str, ...],
            ignore_extra: bool,
            **options: Any,
        ) -> Any:
            marks = _mark("--separator", separator), _mark("--decimal", decimal) or "."
            table = Source(source, *marks, id_columns, ignore_extra)
            return command(*args, source=table, **options)

        argument = click.argument("source", metavar=metavar, type=click.Path(path_type=Path))
        return argument(_readable(run))

    return decorate


def _readable(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options to read tables."""
    for option in reversed(_TABLE):
        command = option(command)
    return command


def _mark(option: str, given: str | None) -> str | None:
    mark = "\t" if given == "\\t" else given
    if mark is not None and (len(mark) != 1 or mark in '"\r\n'):
        raise click.BadParameter("one character is expected", param_hint=option)
    return mark


_NAMED = re.compile(r"([A-Za-z0-9._-]+)=(.+)")


def named_model(text: str) -> tuple[str | None, str]:
    """Part ``NAME=MODEL`` into both; the name is None where there is only a model."""
    match = None if Path(text).exists() else _NAMED.fullmatch(text)
    return (match[1], match[2]) if match else (None, text)


def open_model(uri: str, config: Mapping[str, Any]) -> HybridOnnxModel:
    """Load a model with MLflow kept from writing to stdout, and from chatting on stderr.

    Parameters
    ----------
    uri : str
        As `hybridmodel.load_model` takes it, or an ONNX file.
    config : mapping
        Values for ``model_config``.

    Returns
    -------
    HybridOnnxModel
        A route that is stored with it, and not granted, is refused when it is taken.

    Raises
    ------
    ConfigurationError
        If there is no hybrid model, it is damaged, or `config` has an unknown key.
    mlflow.exceptions.MlflowException
        If MLflow finds nothing at `uri`.
    """
    from hybridmodel.cli.plain_onnx import is_onnx_file, open_onnx
    from hybridmodel.flavor import read_model

    if is_onnx_file(uri):
        return open_onnx(Path(uri), config)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with redirect_stdout(sys.stderr):
        return read_model(uri, config=config, look_only=True)


def echo_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def echo_pairs(pairs: list[tuple[str, str]]) -> None:
    """Print names and values, of one or more lines, in two columns."""
    width = max(len(name) for name, _ in pairs) + 2
    for name, value in pairs:
        lines = value.replace("\n", "\n" + " " * width)
        click.echo(f"{name.ljust(width)}{lines}")
