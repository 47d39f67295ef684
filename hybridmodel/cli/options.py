"""What several commands share: options, loading a model, and output for machines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.exceptions import ConfigurationError
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


_READERS: Mapping[str, Callable[[str], Any]] = {
    "use_azure": _flag,
    "entra_id": _flag,
    "allow_http": _flag,
    "binary": _flag,
    "timeout_s": float,
    "connect_timeout_s": float,
    "max_attempts": int,
    "max_batch_size": int,
    "max_request_bytes": int,
    "max_in_flight": int,
    "breaker_failures": int,
    "breaker_reset_s": float,
    "providers": _list,
}

model_uri = click.argument("model_uri", metavar="MODEL_URI")
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


def open_model(uri: str, config: Mapping[str, Any]) -> HybridOnnxModel:
    """Load a model with MLflow kept from writing to stdout, and from chatting on stderr.

    Parameters
    ----------
    uri : str
        As `hybridmodel.load_model` takes it.
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
    from hybridmodel.flavor import read_model

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
