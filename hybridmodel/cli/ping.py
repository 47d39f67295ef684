"""``hybridmodel ping``: checks the endpoint, and that its inputs and outputs are the model's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import options
from hybridmodel.cli.errors import NO
from hybridmodel.exceptions import EndpointRefused, SpecMismatch

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The state of an endpoint.

    Attributes
    ----------
    model_url : str
        The endpoint's URL of the model.
    ready : bool
        Whether it can answer now.
    reason : str or None
        Why it is not ready, in the endpoint's words; None if it gives no reason.
    differences : tuple of str
        One sentence for each difference from the local model.
    calls : int
        Timed calls.
    round_trip_median_s, round_trip_min_s : float or None
        Time of one call for the model's metadata; None when it is not ready.
    """

    model_url: str
    ready: bool
    reason: str | None = None
    differences: tuple[str, ...] = ()
    calls: int = 0
    round_trip_median_s: float | None = None
    round_trip_min_s: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether the endpoint is ready and agrees with the local model's inputs and outputs."""
        return self.ready and not self.differences


@click.command()
@options.model_uri
@options.model_config
@options.timeout
@click.option(
    "-n",
    "calls",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Timed calls.",
)
@options.as_json
@click.pass_context
def ping(
    context: click.Context,
    model_uri: str,
    config: dict[str, Any],
    timeout: float | None,
    calls: int,
    as_json: bool,
) -> None:
    """Check that a model's endpoint is ready and has the same inputs and outputs.

    The round trip is the time of a call for the model's metadata, on an open connection; no rows
    are sent.

    Exit status: 0 ready and the same, 1 not ready, or different (every difference is listed),
    2 error, such as an endpoint that cannot be reached or does not accept the key.
    """
    with options.open_model(model_uri, config) as model:
        health = examine(model, calls, timeout)
    if as_json:
        options.echo_json(asdict(health))
    else:
        options.echo_pairs(_pairs(health))
    if not health.is_good:
        context.exit(NO)


def examine(
    model: HybridOnnxModel,
    calls: int,
    timeout_s: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Health:
    """Check the endpoint of a model, and time calls for its metadata."""
    client = model.client
    url = client.endpoint.model_url
    if not client.is_ready(timeout_s):
        return Health(model_url=url, ready=False, reason=_refusal(model, timeout_s))
    differences: tuple[str, ...] = ()
    try:
        model.check_endpoint(timeout_s)
    except SpecMismatch as error:
        differences = error.differences
    times_s = []
    for _ in range(calls):
        started = clock()
        client.metadata(timeout_s)
        times_s.append(clock() - started)
    return Health(
        model_url=url,
        ready=True,
        differences=differences,
        calls=calls,
        round_trip_median_s=statistics.median(times_s),
        round_trip_min_s=min(times_s),
    )


def _refusal(model: HybridOnnxModel, timeout_s: float | None) -> str | None:
    try:
        model.client.metadata(timeout_s)
    except EndpointRefused as error:
        return str(error)
    return None


def _pairs(health: Health) -> list[tuple[str, str]]:
    ready = "yes" if health.ready else f"no{': ' if health.reason else ''}{health.reason or ''}"
    pairs = [("endpoint", health.model_url), ("ready", ready)]
    if health.round_trip_median_s is not None and health.round_trip_min_s is not None:
        median_ms, min_ms = health.round_trip_median_s * 1e3, health.round_trip_min_s * 1e3
        times = f"median {median_ms:.1f} ms, fastest {min_ms:.1f} ms, of {health.calls} calls"
        pairs += [
            ("differs", "\n".join(health.differences) or "in nothing"),
            ("round trip", times),
        ]
    return pairs
