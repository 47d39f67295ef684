"""What a model has done so far, in the form of Triton's statistics extension."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

_STEPS = ("compute_input", "compute_infer", "compute_output")
_ALL = ("success", "fail", "queue", *_STEPS, "cache_hit", "cache_miss")


class Statistics:
    """Counts the requests for one version of a model and their time; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent = {key: {"count": 0, "ns": 0} for key in _ALL}
        self._last_ms = 0

    def succeeded(self, marks_ns: Sequence[int]) -> None:
        """Count an answered request by the times at which its steps began, and its end."""
        steps = {
            step: end - start for step, (start, end) in zip(_STEPS, pairwise(marks_ns), strict=True)
        }
        self._add({"success": marks_ns[-1] - marks_ns[0], "queue": 0, **steps})

    def failed(self, started_ns: int) -> None:
        """Count a request that the model could not answer."""
        self._add({"fail": time.perf_counter_ns() - started_ns})

    def as_json(self) -> dict[str, Any]:
        """Return the statistics as JSON; times in nanoseconds, dates in ms."""
        with self._lock:
            spent, last_ms = deepcopy(self._spent), self._last_ms
        count = spent["success"]["count"]
        return {
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
                self._spent[key]["count"] += 1
                self._spent[key]["ns"] += value
