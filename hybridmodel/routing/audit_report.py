"""What is told of an audit: numbers for `stats`, and a line in the log."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from hybridmodel.cascade.audit_state import AuditState
from hybridmodel.cascade.watch import Alarm, Watch

_log = logging.getLogger("hybridmodel")


def tell(watch: Watch, alarm: Alarm) -> None:
    """Log an alarm, once."""
    bound = 0.0 if watch.detector is None else watch.detector.bound
    _log.warning(
        "the audit of a cascade: a share above %.4g of all rows is kept at a loss%s, seen after %d "
        "audited rows at %s: the promise does not hold; find out what has changed, and calibrate "
        "again",
        bound,
        " of late" if alarm.kind == "change" else "",
        alarm.row,
        datetime.fromtimestamp(alarm.time_s, UTC).isoformat(timespec="seconds"),
    )


def numbers(state: AuditState) -> dict[str, float]:
    """Return the numbers of a state by name."""
    composition, watches = state.composition, (state.differences, state.losses)
    if not composition.audited:
        return {}
    found: dict[str, float] = {"audited": composition.audited}
    for watch, name in zip(watches, ("live_risk", "live_loss"), strict=True):
        if watch.kept.count:
            low, high = watch.interval(composition)
            found |= {name: watch.risk(composition), f"{name}_low": low, f"{name}_high": high}
    if state.losses.kept.count:
        found["labelled"] = state.losses.kept.count
    # What nobody has looked at holds no promise.
    detectors = [watch.detector for watch in watches if watch.detector and watch.kept.count]
    if detectors:
        found["promise_holds"] = int(state.alarm is None)
        found["suspicion"] = max(detector.share for detector in detectors)
    if state.alarm is not None:
        found |= {"alarm_row": state.alarm.row, "alarm_time_s": state.alarm.time_s}
    return {f"cascade.{name}": number for name, number in found.items()}
