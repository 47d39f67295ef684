"""What a model has done so far, in the form of Triton's statistics extension."""

from __future__ import annotations

import threading
import time
from typing import Any

_STEPS = ("compute_input", "compute_infer", "compute_output")
_ALL = ("success", "fail", "queue", *_STEPS, "cache_hit", "cache_miss")


class Statistics:
    """Counts the requests of one version of a model and their time; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(_ALL, 0)
        self._ns = dict.fromkeys(_ALL, 0)
        self._last_ms = 0

    def succeeded(self, clock: Clock) -> None:
        """Count a request whose last step ends now."""
        self._add({"success": clock.total_ns(), "queue": 0, **clock.steps()})

    def failed(self, clock: Clock) -> None:
        """Count a request that the model could not answer."""
        self._add({"fail": clock.total_ns()})

    def as_json(self, name: str, version: str) -> dict[str, Any]:
        """Return what the protocol says of a model; times in nanoseconds, dates in ms."""
        with self._lock:
            spent = {key: {"count": self._counts[key], "ns": self._ns[key]} for key in self._counts}
            count, last_ms = self._counts["success"], self._last_ms
        return {
            "name": name,
            "version": version,
            "last_inference": last_ms,
            "inference_count": count,
            "execution_count": count,
            "inference_stats": spent,
            "response_stats": {},
            "batch_stats": [],
            "memory_usage": [],
        }

    def _add(self, spent_ns: dict[str, int]) -> None:
        with self._lock:
            self._last_ms = time.time_ns() // 1_000_000
            for key, value in spent_ns.items():
                self._counts[key] += 1
                self._ns[key] += value


class Clock:
    """The time of one request's steps, which follow each other."""

    def __init__(self) -> None:
        self._marks = [time.perf_counter_ns()]

    def next(self) -> None:
        """End a step and begin the next."""
        self._marks.append(time.perf_counter_ns())

    def total_ns(self) -> int:
        """Return the nanoseconds since the beginning."""
        return time.perf_counter_ns() - self._marks[0]

    def steps(self) -> dict[str, int]:
        """Return the nanoseconds of each step, the last of which ends now."""
        ends = [*self._marks[1:], time.perf_counter_ns()]
        return {
            step: end - start for step, start, end in zip(_STEPS, self._marks, ends, strict=False)
        }
