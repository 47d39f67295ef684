"""What a rehearsal is told: an endpoint, its deployments, and the limits of its gateway."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from hybridmodel.checks import as_float, check_count, shown
from hybridmodel.deploy.rehearsal.jobs.settings import Batch
from hybridmodel.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One deployment, with Azure's defaults.

    Attributes
    ----------
    name : str
        Such as ``blue``.
    models : Path
        The model repository, called ``models`` in an exported folder.
    timeout_s : float
        ``request_timeout_ms``, in seconds.
    concurrency : int
        ``max_concurrent_requests_per_instance``.
    instances : int
        ``instance_count``.
    """

    name: str
    models: Path
    timeout_s: float = 5.0
    concurrency: int = 1
    instances: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint with its deployments, of a `folder`.

    `notes` say where the rehearsal differs from the files. Where there is a `batch` endpoint, there
    may be no deployments.
    """

    name: str
    deployments: tuple[Deployment, ...]
    auth_mode: str = "key"
    traffic: Mapping[str, int] = field(default_factory=dict)
    mirror: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    folder: Path = Path()
    batch: Batch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLimits:
    """What one endpoint may use: Azure's numbers, and two of the rehearsal's own.

    Attributes
    ----------
    requests_per_s, connections_per_s, connections : int
        For the whole endpoint.
    bandwidth_bytes_per_s : int
        In each direction.
    scale_out_s : float
        Until more instances count.
    idle_s : float
        Until an idle connection closes.
    token_s : float
        How long a token is valid.
    max_body_bytes : int
        Of one request or answer; a larger one gets 413. The rehearsal's own: Azure's is unknown.
    max_held_bytes : int
        Of all requests and answers in memory; beyond it a request gets 503. The rehearsal's own.

    Raises
    ------
    ConfigurationError
        If a number is none that can be a limit.
    """

    requests_per_s: int = 500
    connections_per_s: int = 500
    connections: int = 500
    bandwidth_bytes_per_s: int = 5_000_000
    scale_out_s: float = 900.0
    idle_s: float = 240.0
    token_s: float = 3600.0
    max_body_bytes: int = 1 << 27
    max_held_bytes: int = 1 << 29

    def __post_init__(self) -> None:
        for item in fields(self):
            value, is_time = getattr(self, item.name), item.name.endswith("_s")
            if "_per_s" in item.name or not is_time:
                check_count(item.name, value, 1, 1 << 53)
            elif not 0 <= as_float(value) < math.inf:
                raise ConfigurationError(
                    f"{item.name} is a number of seconds from 0 up, not {shown(value)}"
                )
