"""The last minutes of a rehearsal, one sample after the other: what a chart of them needs."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from hybridmodel.deploy.rehearsal.live_endpoint import LiveEndpoint
from hybridmodel.deploy.rehearsal.snapshot import Tally

SAMPLES = 180
"""So many are kept; with one a second, three minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A deployment between two samples; times are None where nothing was answered.

    Attributes
    ----------
    answers_per_s, errors_per_s : float
        Answers of the gateway, and those of them whose status is not 200.
    median_s, p99_s : float or None
        From a request's head to its answer.
    """

    answers_per_s: float
    errors_per_s: float
    median_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """All deployments, by name, `at_s` seconds after the start."""

    at_s: float
    deployments: Mapping[str, Point]


@dataclass(frozen=True, slots=True)
class _Counted:
    """What a tally had counted when it was last looked at."""

    answers: int = 0
    errors: int = 0
    timed: int = 0


class History:
    """Takes samples of an endpoint and keeps the latest; in the loop's thread only."""

    def __init__(self, endpoint: LiveEndpoint) -> None:
        self._endpoint = endpoint
        self._since = self._last = endpoint.clock()
        self._counted = dict.fromkeys(endpoint.deployments, _Counted())
        self.samples: deque[Sample] = deque(maxlen=SAMPLES)

    def take(self) -> Sample:
        """Take one more sample: of the time since the one before."""
        now = self._endpoint.clock()
        passed_s, self._last = max(now - self._last, 1e-3), now
        points = {
            name: self._point(name, deployment.answers, passed_s)
            for name, deployment in self._endpoint.deployments.items()
        }
        sample = Sample(at_s=now - self._since, deployments=points)
        self.samples.append(sample)
        return sample

    def _point(self, name: str, tally: Tally, passed_s: float) -> Point:
        codes, before = tally.codes(), self._counted[name]
        answers = sum(codes.values())
        errors = answers - codes.get("200", 0)
        latency = tally.latency_since(before.timed)
        self._counted[name] = _Counted(answers, errors, tally.timed)
        return Point(
            answers_per_s=(answers - before.answers) / passed_s,
            errors_per_s=(errors - before.errors) / passed_s,
            median_s=latency.median_s,
            p99_s=latency.p99_s,
        )
