"""A running estimate of what a cascade's threshold costs, from kept rows that were sent as well."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import numpy as np

from hybridmodel.cascade.judge_selection import judge_for
from hybridmodel.cascade.judges import Judge, Outputs
from hybridmodel.data.tensors import ModelSpec
from hybridmodel.exceptions import ConfigurationError, MissingDependency
from hybridmodel.routing.policies import Cascade

Array = np.ndarray[Any, Any]


class Audit:
    """Counts audited rows of one cascade; begins anew when another one is used.

    What is estimated needs no labels: the share of all rows that are kept though the other model
    answers them otherwise. Where a calibration had labels, its loss is at most that.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._policy: Cascade | None = None
        self._judge: Judge | None = None
        self._begin()

    def judge(self, policy: Cascade, spec: ModelSpec) -> Judge:
        """Return what tells whether two answers differ.

        Raises
        ------
        ConfigurationError
            If the model's outputs do not say by themselves, and no calibration did.
        """
        with self._lock:
            if self._judge is None or policy != self._policy:
                self._judge, self._policy = judge_of(policy, spec), policy
                self._begin()
            return self._judge

    def note(self, rows: int, kept: int, small: Outputs, big: Outputs) -> None:
        """Take in a call.

        Parameters
        ----------
        rows, kept : int
            Rows of the call, and those that stayed here.
        small, big : mapping of str to ndarray
            Both answers to the rows that were audited, which may be none.
        """
        judge = self._judge
        differ = judge.judge(None, small, big).losses if judge and small else np.empty(0, bool)
        with self._lock:
            self._rows += rows
            self._kept += kept
            self._audited += len(differ)
            self._differ += int(differ.sum())

    def stats(self) -> dict[str, float]:
        """Return the estimate, with its 95 % interval, by name; nothing before the first row."""
        from hybridmodel.cascade.bounds import interval

        with self._lock:
            if not self._audited or self._policy is None:
                return {}
            kept = self._kept / self._rows
            differ, audited = self._differ, self._audited
            promised = self._policy.calibration
        found = {"cascade.audited": audited, "cascade.live_risk": kept * differ / audited}
        with suppress(MissingDependency):  # A small device has no scipy.
            low, high = interval(differ, audited)
            found |= {"cascade.live_risk_low": kept * low, "cascade.live_risk_high": kept * high}
            if promised is not None:
                found["cascade.promise_holds"] = int(kept * low <= promised.difference_bound)
        return found

    def _begin(self) -> None:
        self._rows = self._kept = self._audited = self._differ = 0


def judge_of(policy: Cascade, spec: ModelSpec) -> Judge:
    """Return what tells whether the answers of two models differ, as the calibration did.

    Raises
    ------
    ConfigurationError
        If the outputs do not say by themselves, and the calibration used a function.
    """
    found = policy.calibration
    if found is None:
        return judge_for(spec, policy.score)
    if found.loss_function is not None:
        raise ConfigurationError(
            f"the calibration judged by the function {found.loss_function}, which is not stored: "
            "audit_rate needs a calibration by classes or by tolerance"
        )
    return judge_for(spec, policy.score, answer=found.answer, tolerance=found.tolerance)
