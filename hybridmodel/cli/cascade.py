"""The options that make a call of a command a cascade: a calibration, or a threshold."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli.options import PATH
from hybridmodel.cli.registering import calibrated
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.stored_files import readable
from hybridmodel.routing import Cascade

if TYPE_CHECKING:
    from hybridmodel.cascade import Calibration
    from hybridmodel.model import HybridOnnxModel

_MODES = (None, "cascade")
_MOST_BYTES = 1 << 26

_OPTIONS = (
    click.option(
        "--calibration",
        type=PATH,
        help="Ask the endpoint for rows under the threshold of this .json file, which "
        "'hybridmodel calibrate -o' wrote.",
    ),
    click.option(
        "--threshold",
        metavar="NUMBER",
        type=float,
        help="Ask the endpoint for rows whose score is lower.",
    ),
    click.option(
        "--score",
        metavar="SCORE",
        help="What --threshold compares, such as margin or uncertainty:std; default is the score "
        "of the model's own cascade, else margin.",
    ),
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets ``cascade``, for `mode_of`."""

    @functools.wraps(command)
    def run(
        *args: Any,
        calibration: Path | None,
        threshold: float | None,
        score: str | None,
        **others: Any,
    ) -> Any:
        if calibration is not None and threshold is not None:
            raise click.UsageError("give --calibration, which has a threshold, or --threshold")
        if score is not None and threshold is None:
            raise click.UsageError("--score needs --threshold")
        return command(*args, cascade=(calibration, threshold, score), **others)

    decorated: Callable[..., Any] = run
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def mode_of(
    cascade: tuple[Path | None, float | None, str | None],
    model: HybridOnnxModel,
    use_azure: bool | None,
    mode: Any,
) -> Any:
    """Return the mode of a command: a `Cascade`, or what was given where there is none.

    What else the model's own cascade says, such as `max_escalation`, counts as well.

    Raises
    ------
    click.UsageError
        If another route was asked for.
    ConfigurationError
        If the file cannot be read or is no calibration, or the threshold does not fit the score.
    """
    path, threshold, score = cascade
    if path is None and threshold is None:
        return mode
    if mode not in _MODES or use_azure is not None:
        raise click.UsageError(
            "--calibration and --threshold are for a cascade: leave out --use-azure, --local, "
            "limits of a budget and any other --mode"
        )
    own = model.policies.configured or model.policies.saved
    if path is not None:
        return calibrated(own, read_calibration(path))
    if not isinstance(own, Cascade):
        return Cascade(threshold=threshold, score=score)
    return replace(own, threshold=threshold, score=score or own.score, calibration=None)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration from a file; a `ConfigurationError` names the file."""
    from hybridmodel.cascade import Calibration

    with readable(path), path.open("rb") as file:
        text = file.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise ConfigurationError(f"{path}: has more than {_MOST_BYTES >> 20} MiB")
    try:
        return Calibration.from_json(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
