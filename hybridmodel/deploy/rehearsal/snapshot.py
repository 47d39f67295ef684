"""What can be seen of a rehearsal at one moment; plain values, which JSON can hold."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

_REMEMBERED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds that the latest requests took (at most 1000); None where there were none."""

    count: int
    median_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    max_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSnapshot:
    """One deployment at one moment.

    Attributes
    ----------
    name : str
        Such as ``blue``.
    condition : str
        One of ``starting``, ``running``, ``slow``, ``hung`` and ``dead``.
    delay_s : float
        What is added to each request while it is ``slow``.
    models : tuple of str
        Names of its models.
    traffic, mirror : int
        Percent.
    instances, wanted_instances : int
        How many count now, and how many were asked for.
    instances_in_s : float
        Until those that were asked for count.
    limit : int
        Requests that it takes at a time; more get 429.
    in_flight, waiting : int
        Requests that have a place, and those of them that wait before the model.
    codes : mapping of str to int
        Answers of the gateway, by status.
    model_codes : mapping of str to int
        Answers of the model itself, those to mirrored requests among them; ``"dead"`` where its
        server could not be reached.
    mirrored, mirror_dropped : int
        Requests that were copied here, and those that found no place.
    latency, model_latency : Latency
        From a request's head to its answer, and of the model's part.
    """

    name: str
    condition: str
    delay_s: float
    models: tuple[str, ...]
    traffic: int
    mirror: int
    instances: int
    wanted_instances: int
    instances_in_s: float
    limit: int
    in_flight: int
    waiting: int
    codes: Mapping[str, int]
    model_codes: Mapping[str, int]
    mirrored: int
    mirror_dropped: int
    latency: Latency
    model_latency: Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A rehearsal at one moment.

    Attributes
    ----------
    endpoint, uri, auth_mode, server : str
        Name and address of the endpoint, how requests are authenticated, and what runs the models.
    elapsed_s : float
        Since the start.
    traffic, mirror : mapping of str to int
        Percent for each deployment; `mirror` has at most one.
    deployments : tuple of DeploymentSnapshot
        In the order of their names in the folder.
    codes : mapping of str to int
        All answers of the gateway, by status, also those that no deployment gave.
    connections, held_bytes : int
        Open connections, and bytes of requests and answers in memory.
    requests_per_s : float
        Over the last seconds.
    delayed_s : float
        Time that the bandwidth has cost, of all requests together.
    off : tuple of str
        Behaviours that are switched off.
    notes : tuple of str
        Where the rehearsal differs from the exported files.
    jobs : tuple of mapping
        At most 50 jobs of a batch endpoint, the newest first: name, state, deployment, files,
        done, attempts, and what was said last, by the driver or why the job failed.
    """

    endpoint: str
    uri: str
    auth_mode: str
    server: str
    elapsed_s: float
    traffic: Mapping[str, int]
    mirror: Mapping[str, int]
    deployments: tuple[DeploymentSnapshot, ...]
    codes: Mapping[str, int]
    connections: int
    held_bytes: int
    requests_per_s: float
    delayed_s: float
    off: tuple[str, ...]
    notes: tuple[str, ...]
    jobs: tuple[Mapping[str, Any], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return everything as dicts, lists, texts and numbers."""
        return asdict(self)


class Tally:
    """Counts statuses and remembers the latest times; one thread writes, any may read."""

    def __init__(self) -> None:
        self._codes: Counter[str] = Counter()
        self._times_s: deque[float] = deque(maxlen=_REMEMBERED)
        self.timed = 0

    def add(self, code: int | str, elapsed_s: float | None = None) -> None:
        """Note one answer."""
        self._codes[str(code)] += 1
        if elapsed_s is not None:
            self._times_s.append(elapsed_s)
            self.timed += 1

    def codes(self) -> dict[str, int]:
        """Return the counts, by status."""
        return dict(sorted(self._codes.items()))

    def latency(self) -> Latency:
        """Return what is told of the latest times."""
        return _told(sorted(self._times_s))

    def latency_since(self, timed: int) -> Latency:
        """Return what is told of the times that came since `timed` was so many."""
        new = min(self.timed - timed, len(self._times_s))
        return _told(sorted(islice(reversed(self._times_s), new)))


def _told(times_s: list[float]) -> Latency:
    """Describe times that are in order."""
    if not times_s:
        return Latency(count=0)

    def at(share: float) -> float:
        return times_s[min(len(times_s) - 1, int(share * len(times_s)))]

    return Latency(
        count=len(times_s),
        median_s=at(0.5),
        p95_s=at(0.95),
        p99_s=at(0.99),
        max_s=times_s[-1],
    )
