"""OpenTelemetry's measure of requests, for applications that have set up metrics; see `tracing`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram

_API = "opentelemetry.metrics._internal"

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The buckets that the semantic conventions of HTTP recommend."""

_log = logging.getLogger("hybridmodel")

_made: list[tuple[Any, Histogram | None]] = []
"""The application's meter provider, and the histogram that it made; None where it failed."""


def active_meter_provider() -> Any:
    """Return the application's meter provider, None where it has none."""
    api = sys.modules.get(_API)
    # A private name of today's API, because `get_meter_provider` reads the environment each time.
    if api is None or vars(api).get("_METER_PROVIDER", api) is None:
        return None
    provider: Any = api.get_meter_provider()
    return None if is_stand_in(provider) else provider


def is_stand_in(provider: Any) -> bool:
    """Tell whether a meter provider is the API's own, which does nothing; an SDK has its own."""
    return type(provider).__module__.startswith("opentelemetry.metrics")


def request_durations() -> Histogram | None:
    """Return the application's ``http.client.request.duration``, None where nobody measures."""
    provider = active_meter_provider()
    if provider is None:
        return None
    if not _made or _made[0][0] is not provider:
        _made[:] = [(provider, _made_or_told(provider))]
    return _made[0][1]


def record(histogram: Histogram, seconds: float, attributes: Mapping[str, Any]) -> None:
    """Record a request; what the application's metrics raise never changes how it ended."""
    try:
        histogram.record(seconds, attributes)
    except Exception as error:  # noqa: BLE001 - the application's own code.
        _log.debug("the duration of a request was not recorded: %s", type(error).__name__)


def _made_or_told(provider: Any) -> Histogram | None:
    try:
        return _made_by(provider)
    except Exception as error:  # noqa: BLE001 - the application's own code.
        _log.warning(
            "requests are not measured: the meter provider makes no histogram (%s)",
            type(error).__name__,
        )
        return None


def _made_by(provider: Any) -> Histogram:
    create = partial(
        provider.get_meter("hybridmodel").create_histogram,
        "http.client.request.duration",
        unit="s",
        description="Duration of HTTP client requests.",
    )
    try:
        histogram: Histogram = create(explicit_bucket_boundaries_advisory=BOUNDS_S)
    except TypeError:  # An API older than 1.30 knows no buckets that an instrument advises.
        histogram = create()
    return histogram


def attributes_of(method: str, address: str, port: int, end: int | Exception) -> Mapping[str, Any]:
    """Return what the conventions say of a request that ended with a status or an error."""
    found: dict[str, Any] = {"http.request.method": method, "server.address": address}
    if port:
        found["server.port"] = port
    if isinstance(end, int):
        found["http.response.status_code"] = end
    if not isinstance(end, int) or end >= 400:
        found["error.type"] = str(end) if isinstance(end, int) else type(end).__name__
    return found
