"""What several commands share: options, loading a model, and output for machines."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli.inputs import Inputs
from hybridmodel.cli.source import Source
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.fields import FIELD_TYPES, read_field
from hybridmodel.routing import parse_use_azure

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

PATH = click.Path(path_type=Path)


def read_config(given: Iterable[str]) -> dict[str, Any]:
    """Turn ``KEY=VALUE`` texts into what ``model_config`` takes; an empty value is None."""
    config = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter("write KEY=VALUE; what came has no '='")
        try:
            config[key] = _read(key, value) if value else None
        except ConfigurationError as error:
            kind = "a number" if FIELD_TYPES.get(key) in (int, float) else "true or false"
            # The value is not shown: it may be a key.
            raise click.BadParameter(f"the value of {key} is {kind}") from error
    return config


def _read(key: str, text: str) -> Any:
    if key == "providers":
        return [part.strip() for part in text.split(",")]
    if key == "use_azure":
        return parse_use_azure(text, key)
    return read_field(key, text, key) if key in FIELD_TYPES else text


cosine = click.option(
    "--cosine",
    type=click.FloatRange(min=0),
    help="For the vectors of an embeddings endpoint: the largest cosine distance that does not "
    "matter; default is 0.01.",
)
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
answer = click.option(
    "--answer", metavar="NAME", help="The output that is acted upon, if there are several."
)
tolerance = click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="For numbers: the largest difference that does not matter.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
batch_rows = click.option(
    "--batch-rows",
    type=click.IntRange(min=1),
    default=10_000,
    help="Rows that are read, answered and written at a time.",
)


def _mark(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    mark = "\t" if given == "\\t" else given
    if mark is not None and (len(mark) != 1 or mark in '"\r\n'):
        raise click.BadParameter("one character is expected")
    return mark


_READING = (
    click.option(
        "--separator",
        metavar="CHARACTER",
        callback=_mark,
        help="What stands between the fields of CSV; default is what the header shows: a comma, "
        "else a semicolon, tab or bar.",
    ),
    click.option(
        "--decimal",
        metavar="CHARACTER",
        default=".",
        callback=_mark,
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


def table(metavar: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command an argument for a table, and options to read it, as one `source`."""
    return _read_as("source", Source, click.argument("path", metavar=metavar, type=PATH))


def table_option(name: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Do as `table`, with an option that is required."""
    option = click.option(name, "path", type=PATH, required=True, **settings)
    return _read_as("source", Source, option)


def tables(metavar: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command an argument for tables, and options to read them, as `inputs`."""
    argument = click.argument("paths", metavar=metavar, nargs=-1, required=True)
    return _read_as("inputs", Inputs, argument)


def _read_as(
    name: str, kind: type[Source | Inputs], argument: Callable[..., Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(**options: Any) -> Any:
            own = {field.name: options.pop(field.name) for field in fields(kind)}
            return command(**{name: kind(**own)}, **options)

        for option in reversed(_READING):
            run = option(run)
        read: Callable[..., Any] = argument(run)
        return read

    return decorate


_NAMED = re.compile(r"([A-Za-z0-9._-]+)=(.+)")


def named_model(text: str) -> tuple[str | None, str]:
    """Part ``NAME=MODEL`` into both; the name is None where there is only a model."""
    match = None if Path(text).exists() else _NAMED.fullmatch(text)
    return (match[1], match[2]) if match else (None, text)


def open_model(uri: str, config: Mapping[str, Any]) -> HybridOnnxModel:
    """Load a saved model or an ONNX file; MLflow writes nothing to stdout, and errors to stderr.

    A stored route that is not granted is refused when it is taken.
    """
    from hybridmodel.cli.plain_onnx import open_onnx
    from hybridmodel.flavor import read_model
    from hybridmodel.local.onnx_file import is_onnx_file

    if is_onnx_file(uri):
        return open_onnx(Path(uri), config)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
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
