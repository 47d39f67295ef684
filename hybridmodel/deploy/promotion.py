"""`promote`: compares two deployments, and gives the new one the traffic if it holds its bounds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridmodel.checks import check_count
from hybridmodel.deploy.azure.limits import checked_name
from hybridmodel.deploy.gate import Bounds, Measured, broken, measure
from hybridmodel.deploy.pinning import pinned
from hybridmodel.deploy.shifting import Plan, Shift, Step
from hybridmodel.model import HybridOnnxModel

BATCH_ROWS = 100

Frames = Callable[[HybridOnnxModel], Iterable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """How a promotion went.

    Attributes
    ----------
    measured : Measured
        Of both deployments, before any traffic was shifted.
    bounds : Bounds
    refusals : tuple of str
        A sentence for each bound that is broken.
    steps : tuple of Step
        What was seen while traffic was shifted; none for a real endpoint.
    commands : tuple of str
        What to run for a real endpoint that holds its bounds; none for a rehearsal.
    back : str
        The command that gives a real endpoint's traffic back.
    """

    measured: Measured
    bounds: Bounds
    refusals: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    commands: tuple[str, ...] = ()
    back: str = ""

    @property
    def is_good(self) -> bool:
        """Whether all bounds hold, and no traffic was shifted back."""
        return self.outcome in ("promoted", "holds its bounds")

    @property
    def share(self) -> int:
        """Percent of the traffic that the new deployment was given; 0 where it was shifted back."""
        if any(step.problem for step in self.steps):
            return 0
        return max((one.percent for one in self.steps if one.kind == "traffic"), default=0)

    @property
    def outcome(self) -> str:
        """One of ``promoted``, ``refused``, ``shifted back`` and ``holds its bounds``."""
        if self.refusals:
            return "refused"
        if any(step.problem for step in self.steps):
            return "shifted back"
        return "holds its bounds" if self.commands else "promoted"


def promote(
    folder: str | os.PathLike[str],
    rows: Any,
    *,
    old: str = "blue",
    new: str = "green",
    model_uri: str | os.PathLike[str] | None = None,
    model_config: Mapping[str, Any] | None = None,
    credential: Any = None,
    bounds: Bounds | None = None,
    plan: Plan | None = None,
    batch_rows: int = BATCH_ROWS,
    answer: str | None = None,
    tolerance: float | None = None,
    timeout_s: float | None = None,
    tell: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Promotion:
    """Compare two deployments of an endpoint, and promote the new one if it holds its bounds.

    The endpoint is the rehearsal of the folder: its traffic is then shifted, and shifted back when
    the new deployment answers with errors. A real endpoint, where `model_config` has its ``uri`` or
    no rehearsal runs, is measured only, and the commands for it are returned.

    Parameters
    ----------
    folder : path
        What ``hybridmodel export --azure`` wrote.
    rows : DataFrame, ndarray or callable
        What both deployments are asked; a function gets the model and returns an iterable of calls.
    old, new : str
        The deployment that has the traffic, and the one that is to have it.
    model_uri : str or path, optional
        A saved model, whose columns the rows have; default is the exported ONNX file.
    model_config : mapping, optional
        Settings of the endpoint, as ``load_model`` takes them.
    credential : object, optional
        For a real endpoint, as `HybridOnnxModel` takes it.
    bounds : Bounds, optional
    plan : Plan, optional
        The steps of the traffic.
    batch_rows : int, default=100
        Rows of a call.
    answer, tolerance
        What has to be the same, as `hybridmodel.compare.comparison.Comparison` takes it.
    timeout_s : float, optional
        Of each call.
    tell : callable, optional
        Gets a sentence for each change of the traffic.
    clock, sleep : callable
        In seconds.

    Returns
    -------
    Promotion

    Raises
    ------
    ConfigurationError
        If there is no such deployment or endpoint, or another one has traffic.
    AuthenticationFailed
        If the key is not accepted.
    InputMismatch
        If rows do not fit the model.

    Examples
    --------
    >>> found = promote("digits-ep", frame, bounds=Bounds(differing=0.05))  # doctest: +SKIP
    >>> found.outcome, found.refusals  # doctest: +SKIP
    ('promoted', ())
    """
    check_count("batch_rows", batch_rows, 1, 2**31 - 1)
    bounds, plan = bounds or Bounds(), plan or Plan()
    old, new = (checked_name("deployment", name) for name in (old, new))
    place = pinned(Path(folder), model_uri, model_config, credential, deployment=old)
    shift = None
    if place.control is not None:
        shift = Shift(place.control, old, new, plan, tell=tell, clock=clock, sleep=sleep)
        shift.check()
    with place.deployment(old) as first, place.deployment(new) as second:
        measured = measure(
            first,
            second,
            rows(first) if callable(rows) else _cut(rows, batch_rows),
            names=(old, new),
            answer=answer,
            tolerance=tolerance,
            most_errors=bounds.errors,
            timeout_s=timeout_s,
        )
    refusals = broken(measured, bounds)
    if refusals:
        return Promotion(measured=measured, bounds=bounds, refusals=refusals)
    if shift is not None:
        return Promotion(measured=measured, bounds=bounds, steps=shift.run())
    *commands, back = _commands(place.endpoint, old, new, plan)
    return Promotion(measured=measured, bounds=bounds, commands=tuple(commands), back=back)


def _cut(rows: Any, size: int) -> Iterable[Any]:
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        yield rows.iloc[part] if hasattr(rows, "iloc") else rows[part]


def _commands(endpoint: str, old: str, new: str, plan: Plan) -> list[str]:
    """Return the commands of a rollout at Azure, and last the one for the way back."""
    update = f"az ml online-endpoint update -n {endpoint}"
    mirror = (plan.mirror, 0) if plan.mirror else ()
    return [
        *(f'{update} --mirror-traffic "{new}={percent}"' for percent in mirror),
        *(f'{update} --traffic "{old}={100 - percent} {new}={percent}"' for percent in plan.steps),
        f'{update} --traffic "{old}=100 {new}=0"',
    ]
