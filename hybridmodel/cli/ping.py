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
from hybridmodel.exceptions import EndpointError, EndpointRefused, SpecMismatch
from hybridmodel.remote.regions import check_served

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel
    from hybridmodel.remote.client import EndpointClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The state of an endpoint; `reason` says in its own words why it is not ready.

    A round trip is one call for the model's metadata.
    """

    model_url: str
    ready: bool
    reason: str | None = None
    differences: tuple[str, ...] = ()
    calls: int = 0
    round_trip_median_s: float | None = None
    round_trip_min_s: float | None = None


@click.command()
@options.model_uri
@options.model_config
@options.timeout
@click.option("-n", "calls", type=click.IntRange(min=1), default=5, help="Timed calls.")
@options.as_json
def ping(
    model_uri: str, config: dict[str, Any], timeout: float | None, calls: int, as_json: bool
) -> int:
    """Check that a model's endpoint is ready and has the same inputs and outputs.

    Of a model with several endpoints each one is checked; one of them that cannot be reached is
    not ready.

    The round trip is the time of a call for the model's metadata, on an open connection; no rows
    are sent.

    Exit status: 0 ready and the same, 1 not ready, or different (every difference is listed),
    2 error, such as an endpoint that cannot be reached or does not accept the key.
    """
    with options.open_model(model_uri, config) as model:
        clients = model.client.clients
        look = examine if len(clients) == 1 else _examine_one_of_several
        found = [look(model, client, calls, timeout) for client in clients]
    if as_json:
        said = list(map(asdict, found))
        options.echo_json(said if len(said) > 1 else said[0])
    else:
        options.echo_pairs([pair for health in found for pair in _pairs(health)])
    return 0 if all(health.ready and not health.differences for health in found) else NO


def _examine_one_of_several(
    model: HybridOnnxModel, client: EndpointClient, calls: int, timeout_s: float | None
) -> Health:
    """Check an endpoint whose failure keeps nobody from asking, and checking, the others."""
    try:
        return examine(model, client, calls, timeout_s)
    except EndpointError as error:
        return Health(model_url=client.endpoint.model_url, ready=False, reason=str(error))


def examine(
    model: HybridOnnxModel,
    client: EndpointClient,
    calls: int,
    timeout_s: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Health:
    """Check one endpoint of a model by its client, and time calls for its metadata."""
    url = client.endpoint.model_url
    if not client.is_ready(timeout_s):
        reason = None
        try:
            client.metadata(timeout_s)
        except EndpointRefused as error:
            reason = str(error)
        return Health(model_url=url, ready=False, reason=reason)
    differences: tuple[str, ...] = ()
    try:
        check_served(client, model.spec, model.policies.scored_outputs, timeout_s)
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


def _pairs(health: Health) -> list[tuple[str, str]]:
    median_s, min_s = health.round_trip_median_s, health.round_trip_min_s
    if median_s is None or min_s is None:
        ready = f"no: {health.reason}" if health.reason else "no"
        return [("endpoint", health.model_url), ("ready", ready)]
    times = f"median {median_s * 1e3:.1f} ms, fastest {min_s * 1e3:.1f} ms"
    return [
        ("endpoint", health.model_url),
        ("ready", "yes"),
        ("differs", "\n".join(health.differences) or "in nothing"),
        ("round trip", f"{times}, of {health.calls} calls"),
    ]
