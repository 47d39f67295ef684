"""``hybridmodel convert``: estimators in files of skops become a model that is proven alike."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import options, tables
from hybridmodel.cli.errors import NO, one_line
from hybridmodel.cli.replacing import check_targets, replacing
from hybridmodel.cli.source import Source
from hybridmodel.data.tensors import ModelSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.sklearn import Conversion, ConversionDiffers, ConvertedModel

_SUFFIX = ".onnx"


@click.command()
@click.argument("small", metavar="FILE.skops", type=options.PATH)
@options.table("DATA")
@click.option(
    "-o",
    "--output",
    "target",
    type=options.PATH,
    required=True,
    help="An .onnx file, or a folder that gets a saved model, which knows the names of columns.",
)
@click.option(
    "--big",
    metavar="FILE.skops",
    type=options.PATH,
    help="The endpoint's model, fitted to the same columns; goes to --big-output.",
)
@click.option("--big-output", "big_target", type=options.PATH, help="An .onnx file for --big.")
@click.option(
    "--trust-type",
    "trusted",
    metavar="NAME",
    multiple=True,
    help="A type that may be in the files besides those that skops trusts. Repeatable.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=10_000,
    help="Rows of DATA that the conversion is proven on, at most.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    help="Of the numbers that the model takes.",
)
@click.option(
    "--keep-output", "outputs", metavar="NAME", multiple=True, help="Only this one. Repeatable."
)
@click.option(
    "--differing",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Share of the rows that may be answered otherwise.",
)
@click.option(
    "--difference",
    type=click.FloatRange(min=0),
    default=1e-4,
    help="Largest difference of a probability, or of another number as a share of its spread.",
)
@options.as_json
def convert(
    small: Path,
    source: Source,
    target: Path,
    big: Path | None,
    big_target: Path | None,
    trusted: tuple[str, ...],
    rows: int,
    outputs: tuple[str, ...],
    as_json: bool,
    **bounds: Any,
) -> int:
    """Convert an estimator of scikit-learn to ONNX, and prove on DATA that both answer alike.

    FILE.skops is what skops.io.dump wrote; pickles are not read. Columns of DATA that the estimator
    does not take are left out.

    Exit status: 0 written, 1 they answer otherwise, and nothing is written, 2 error.
    """
    _check_files(source, target, big, big_target)
    from hybridmodel.sklearn import ConversionDiffers, from_sklearn
    from hybridmodel.sklearn.converting.skops_files import read_skops

    estimators = [read_skops(path, trusted) for path in (small, big) if path is not None]
    table = _features(_first(source, rows), estimators[0])
    try:
        model = from_sklearn(
            estimators[0], table, *estimators[1:], outputs=outputs or None, **bounds
        )
    except ConversionDiffers as error:
        _tell_of_difference(error, as_json)
        return NO
    _write(model, target)
    if big_target is not None and model.big is not None:
        _write_onnx(model.big, big_target)
    _tell(model, as_json)
    return 0


def _check_files(source: Source, target: Path, big: Path | None, big_target: Path | None) -> None:
    if (big is None) != (big_target is None):
        raise click.UsageError("--big and --big-output belong together")
    if big_target is not None and big_target.suffix != _SUFFIX:
        raise ConfigurationError(f"{big_target}: is no ONNX file; let its name end in {_SUFFIX}")
    check_targets(source, target, *([] if big_target is None else [big_target]))


def _tell_of_difference(error: ConversionDiffers, as_json: bool) -> None:
    found = None if error.agreement is None else error.agreement.to_dict()
    if as_json:
        options.echo_json({"same": False, "message": str(error), "agreement": found})
    else:
        click.echo(one_line(error))


def _first(source: Source, rows: int) -> pd.DataFrame:
    """Return the first rows of a table."""
    for frame in tables.read_raw(source, ModelSpec((), ()), rows):
        return frame.iloc[:rows]
    raise InputMismatch(f"{source.name}: has no rows to prove the conversion on")


def _features(table: pd.DataFrame, estimator: Any) -> pd.DataFrame:
    names = getattr(estimator, "feature_names_in_", None)
    return table if names is None else table[[name for name in table if name in set(names)]]


def _write(model: ConvertedModel, target: Path) -> None:
    if target.suffix == _SUFFIX:
        _write_onnx(model.small, target)
        return
    from hybridmodel.flavor import save_model

    with redirect_stdout(sys.stderr):
        save_model(model, target)


def _write_onnx(made: Conversion, target: Path) -> None:
    with replacing(target) as part:
        made.write(part)


def _tell(model: ConvertedModel, as_json: bool) -> None:
    sides = {"small": model.small} | ({} if model.big is None else {"big": model.big})
    if as_json:
        described = {name: item.agreement.to_dict() for name, item in sides.items()}
        inputs, outputs = (
            [item.to_dict() for item in kind] for kind in (model.inputs, model.outputs)
        )
        options.echo_json({"same": True, "inputs": inputs, "outputs": outputs, **described})
        return
    options.echo_pairs(
        [
            ("inputs", "\n".join(map(str, model.inputs))),
            ("outputs", "\n".join(map(str, model.outputs))),
            *((name, f"{item.estimator}: {item.agreement}") for name, item in sides.items()),
        ]
    )
