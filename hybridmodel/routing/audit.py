"""What a cascade's threshold costs, watched on kept rows that were sent as well."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel.cascade.audit_state import AuditState
from hybridmodel.cascade.judges import LossFunction
from hybridmodel.cascade.watch import Composition, Evidence, Watch
from hybridmodel.data.tensors import Array, ModelSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.redaction import escaped
from hybridmodel.routing.audit_file import AuditFile, added_up
from hybridmodel.routing.audit_report import numbers, tell
from hybridmodel.routing.audited import (
    AnyJudge,
    AuditedCall,
    Noted,
    compare,
    fresh_state,
    judge_with,
    losses_of,
    needs_labels,
    total,
)
from hybridmodel.routing.budget import Budget
from hybridmodel.routing.late_labels import LateLabels, Waiting
from hybridmodel.routing.policies import Cascade

_MOST_NOTED, _EVERY_S = 256, 0.1
"""Calls are added up at the latest when so many rows were compared, or after so many seconds."""

_log = logging.getLogger("hybridmodel")


class Audit:
    """Watches one cascade, and starts again when another one is used; threads may share it.

    Each audited row is answered by both models. Without labels a difference counts as a loss; the
    share of all rows with one is tested against the calibration's `difference_bound`. Rows that get
    a label (`label`) are tested against its `epsilon` as well. See docs/audit.md.

    Parameters
    ----------
    clock : callable, optional
        Returns the time in seconds since 1970.
    shuffled : callable, optional
        Returns an array in another order: the rows of one call may be sorted, and nobody is to take
        its end for a change.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        shuffled: Callable[[Array], Array] | None = None,
    ) -> None:
        self._clock = clock
        self._shuffled = shuffled or np.random.default_rng().permutation
        self._writer = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._policy: Cascade | Budget | None = None
        self._judge: AnyJudge | None = None
        self._function: LossFunction | None = None
        self._file: AuditFile | None = None
        self._labelled = False
        self._begin(AuditState(cascade=""))

    def judge(self, policy: Cascade | Budget, spec: ModelSpec) -> AnyJudge:
        """Return the judge that finds what it costs to keep a row.

        Raises
        ------
        ConfigurationError
            If neither the model's outputs nor a calibration determine it, or the calibration's
            loss function has not been given (`judge_by`).
        """
        with self._lock:
            if self._judge is None or (policy is not self._policy and policy != self._policy):
                judge = judge_with(policy, spec, self._function)
                fresh = fresh_state(policy, judge)
                self._begin(self._file.resumed(fresh) if self._file else fresh)
                self._judge, self._policy = judge, policy
                self._labelled = needs_labels(policy)
            return self._judge

    def judge_by(self, function: LossFunction) -> None:
        """Give the loss function of a calibration, which is not stored with it.

        Parameters
        ----------
        function : callable
            That which `calibrate` was given as ``loss=``. Losses are from 0 to 1.

        Raises
        ------
        ConfigurationError
            If it is no function.
        """
        if not callable(function):
            raise ConfigurationError(f"a loss function is a function, not {type(function)}")
        with self._lock:
            self._function, self._judge = function, None

    def note(self, call: AuditedCall) -> None:
        """Count a call, and compare what both models answered; never an error."""
        judge, sent = self._judge, int(np.count_nonzero(call.gone))
        if judge is None:
            return
        found = None
        if call.remote is not None:
            try:
                found = compare(judge, self._labelled, call, self._most_sent(call.rate, sent))
            except Exception as error:  # noqa: BLE001 - the caller gets the answer all the same
                self._failed(error)
                return
        with self._lock:
            if judge is self._judge:  # Else another cascade is used by now.
                is_answered, rows = call.remote is not None, len(call.gone)
                new = Noted(call.rate, rows, sent, is_answered, call.request_id, found)
                self._noted.append(new)
                self._noted_rows += 1 if found is None else len(found.rows)
                is_full = self._noted_rows >= _MOST_NOTED
                if is_full or self._clock() - self._added_up_s >= _EVERY_S:
                    self._add_up()

    def label(self, request_id: str, y: Any, rows: Any = None) -> int:
        """Tell the labels of a call, once they are known.

        The last 10,000 audited calls wait for theirs, in up to 16 MiB.

        Parameters
        ----------
        request_id : str
            The `request_id` of the call's answer.
        y : sequence
            Labels as `calibrate` takes them, one for each row of the call, or of `rows`.
        rows : sequence of int, optional
            Positions in the call.

        Returns
        -------
        int
            How many of these rows had been audited and were waiting.

        Raises
        ------
        InputMismatch
            If `y` has another length, or does not fit the model.
        """
        with self._lock:
            self._add_up()
            judge = self._judge
            taken = judge and self._waiting.take(request_id, y, rows, judge.labels)
        if not judge or not taken:
            return 0
        call, labels = taken
        losses = losses_of(judge, labels, call.local, call.remote, len(call.rows))
        new = Evidence(losses[call.audited], losses[~call.audited], call.zeros, call.left)
        with self._lock:
            if judge is self._judge:
                self._set(replace(self._state, losses=self._seen(self._state.losses, new)))
        return int(call.audited.sum())

    def stats(self, *paths: str | Path) -> dict[str, float]:
        """Return the numbers by name, nothing before the first audited row.

        Parameters
        ----------
        *paths : path
            Files that the audits of other processes keep, to be added to this one; its own among
            them is left out.

        Raises
        ------
        ConfigurationError
            If one is no audit's, or of another cascade.
        OSError
            If one cannot be read.
        """
        with self._lock:
            self._add_up()
            state, own = self._state, self._file.known if self._file else {self._writer}
        if paths:
            state = added_up(state, paths, own).checked(self._clock())
        return numbers(state)

    def save(self, path: str | Path | None = None) -> None:
        """Write the state to a file now; default is that of `keep`.

        Raises
        ------
        ConfigurationError
            If no file is named, or another audit writes it.
        OSError
            If it cannot be written.
        """
        with self._lock:
            self._add_up()
            file = self._file if path is None else AuditFile(path, self._writer)
            if file is None:
                raise ConfigurationError("name a file: audit.save('audit.json')")
            if not self._state.composition.rows:
                raise ConfigurationError(
                    "nothing has been audited yet, so there is no state to save"
                )
            file.write(self._state, self._clock())

    def keep(self, path: str | Path, every_s: float = 60.0) -> None:
        """Go on from the state in a file, and keep it there: each process in a file of its own.

        Call it before the first request. It is written after an audited call, at most once in
        `every_s` seconds, and when the model is closed. A file of another cascade is replaced, with
        a warning.

        Raises
        ------
        ConfigurationError
            If the file is no audit's, or rows have been audited already.
        OSError
            If it is there and cannot be read.
        """
        with self._lock:
            if self._state.composition.rows or self._noted:
                raise ConfigurationError("call audit.keep() before the first audited row")
            self._file, self._judge = AuditFile(path, self._writer, every_s, resume=True), None

    def flush(self) -> None:
        """Write the file of `keep`, if there is one; errors are logged."""
        with self._lock:
            self._add_up()
            if self._file is not None and self._state.composition.rows:
                self._file.try_write(self._state, self._clock())

    def restart(self) -> None:
        """Forget everything seen, and the alarm: after its cause was found."""
        with self._lock:
            self._judge = None
            if self._file is not None:
                self._file.forget()
            self._begin(AuditState(cascade=""))

    @property
    def state(self) -> AuditState:
        """All that is known, as a record."""
        with self._lock:
            self._add_up()
            return self._state

    def _begin(self, state: AuditState) -> None:
        self._state = state
        self._waiting = LateLabels()
        self._noted: list[Noted] = []
        self._noted_rows = 0
        self._added_up_s = 0.0
        self._carried = 0.0, 0.0
        self._credit = 0.0
        self._failures = 0

    def _most_sent(self, rate: float, sent: int) -> int:
        """Return how many escalated rows of a call are compared: the same share as of those kept.

        They tell what it costs to keep such rows, which is what an outage does.
        """
        with self._lock:
            wanted = self._credit + rate * sent
            most = min(int(wanted), sent)
            self._credit = wanted - most
        return most

    def _add_up(self) -> None:
        """Add to the state what was noted; here, because it takes longer than a call should."""
        noted, self._noted, self._noted_rows = self._noted, [], 0
        self._added_up_s = self._clock()
        if not noted:
            return
        composition, new = total(noted)
        state = replace(self._state, composition=self._state.composition + composition)
        differences = self._seen(state.differences, new, state.composition)
        self._set(replace(state, differences=differences))
        for item in noted:
            self._wait(item)

    def _seen(self, watch: Watch, new: Evidence, composition: Composition | None = None) -> Watch:
        """Show a watch what calls tell."""
        if len(new.kept) > 1:
            new = new._replace(kept=self._shuffled(new.kept))
        return watch.seen(new, composition or self._state.composition, self._clock())

    def _wait(self, noted: Noted) -> None:
        """Keep what labels will be compared with; what has no rows goes with the next call."""
        zeros, left = (sum(parts) for parts in zip(self._carried, noted.unseen, strict=True))
        found, request_id = noted.found, noted.request_id
        if found is None or request_id is None:
            self._carried = zeros, left
            return
        self._carried = 0.0, 0.0
        waiting = Waiting(
            rows=found.rows,
            audited=found.audited,
            local=found.local,
            remote=found.remote,
            call_rows=noted.rows,
            zeros=zeros,
            left=left,
        )
        self._waiting.add(request_id, waiting)

    def _set(self, state: AuditState) -> None:
        """Replace the state; log an alarm, and write the file when it is time."""
        before, self._state = self._state, state
        for old, new in ((before.differences, state.differences), (before.losses, state.losses)):
            if old.alarm is None and new.alarm is not None:
                tell(new, new.alarm)
        if self._file is not None:
            self._file.write_when_due(state, self._clock())

    def _failed(self, error: Exception) -> None:
        with self._lock:
            self._failures += 1
            level = logging.DEBUG if self._failures > 1 else logging.WARNING
        kind, said = type(error).__name__, escaped(str(error))[:2000]
        _log.log(level, "a call cannot be audited (%s): %s", kind, said)
