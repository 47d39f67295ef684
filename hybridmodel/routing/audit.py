"""An estimate of what a cascade's threshold costs, from kept rows that were sent as well."""

from __future__ import annotations

import threading
from contextlib import suppress

import numpy as np

from hybridmodel.cascade.judges import Judge, Outputs, judge_for
from hybridmodel.data.tensors import ModelSpec
from hybridmodel.exceptions import ConfigurationError, MissingDependency
from hybridmodel.routing.budget import Budget
from hybridmodel.routing.policies import Cascade


class Audit:
    """Counts the audited rows of one cascade, and starts again when another cascade is used.

    The estimate needs no labels: it is the share of all rows that are kept although the endpoint's
    model answers them differently. The loss of a calibration with labels is at most that share.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._policy: Cascade | Budget | None = None
        self._judge: Judge | None = None
        self._begin()

    def judge(self, policy: Cascade | Budget, spec: ModelSpec) -> Judge:
        """Return the judge that finds whether two answers differ.

        Raises
        ------
        ConfigurationError
            If neither the model's outputs nor a calibration determine it.
        """
        with self._lock:
            if self._judge is None or policy != self._policy:
                self._judge, self._policy = judge_of(policy, spec), policy
                self._begin()
            return self._judge

    def note(self, rows: int, kept: int, local: Outputs, remote: Outputs) -> None:
        """Count a call of `rows` rows, `kept` of which were not escalated.

        `local` and `remote` are both answers to the audited rows, empty where there are none.
        """
        judge, differ = self._judge, np.empty(0, bool)
        if judge and local:
            differ = judge.compare(None, judge.read(local), judge.read(remote)).differ
        with self._lock:
            self._rows += rows
            self._kept += kept
            self._audited += len(differ)
            self._differ += int(differ.sum())

    def stats(self) -> dict[str, float]:
        """Return the estimate and its 95 % interval by name, nothing before the first row."""
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


def judge_of(policy: Cascade | Budget, spec: ModelSpec) -> Judge:
    """Return the judge that finds whether two answers differ, as the calibration did.

    Raises
    ------
    ConfigurationError
        If the calibration used a function, or the outputs do not determine a judge.
    """
    found = policy.calibration
    if found is None:
        return judge_for(spec, policy.score)
    if found.loss_function is not None:
        raise ConfigurationError(
            f"the calibration used the loss function {found.loss_function}, which is not stored: "
            "audit_rate needs a calibration by classes or by tolerance"
        )
    return judge_for(spec, policy.score, answer=found.answer, tolerance=found.tolerance)
