"""Shifts traffic step by step, looks at what the new deployment answers, and shifts back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from hybridmodel.checks import check_count, check_seconds, check_tolerance, shown
from hybridmodel.deploy.rehearsal.traffic import MOST_MIRRORED
from hybridmodel.exceptions import ConfigurationError

Codes = Mapping[str, int]

STEPS = (10, 50, 100)

_MODELS_OWN = ("200", "400")
"""What a model may say: an answer, or that the request is wrong, which the old one says, too."""

_GATEWAYS = ("408", "429")
"""What the gateway says where a deployment is too slow, or has too few places."""


class Controls(Protocol):
    """What watches and changes the traffic of an endpoint."""

    def snapshot(self) -> Mapping[str, Any]:
        """Return what `Snapshot.as_json` does."""

    def set_traffic(self, shares: Mapping[str, int]) -> object:
        """Share the requests anew, in percent."""

    def set_mirror(self, mirror: Mapping[str, int]) -> object:
        """Copy requests to one deployment, in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How traffic is shifted.

    Parameters
    ----------
    mirror : int, default=10
        Percent of the requests that are copied to the new deployment first; 0 for none.
    steps : tuple of int, default=(10, 50, 100)
        Percent of the traffic, one after the other.
    hold_s : float, default=10.0
        Seconds that each step is watched.
    answers : int, default=0
        Requests that the new deployment must have answered in each step.
    patience_s : float, default=60.0
        Seconds after which a step with fewer answers ends as a failure.
    errors : int, default=0
        Errors in a step that do not matter.
    look_s : float, default=0.1
        Seconds between two looks.

    Raises
    ------
    ConfigurationError
        If a value cannot work.
    """

    mirror: int = 10
    steps: tuple[int, ...] = STEPS
    hold_s: float = 10.0
    answers: int = 0
    patience_s: float = 60.0
    errors: int = 0
    look_s: float = 0.1

    def __post_init__(self) -> None:
        check_count("mirror", self.mirror, 0, MOST_MIRRORED)
        rising = all(type(step) is int for step in self.steps) and self.steps
        if not rising or list(self.steps) != sorted({*self.steps} & {*range(1, 101)}):
            raise ConfigurationError(
                f"steps are rising whole percent from 1 to 100, as in 10 50 100, not "
                f"{shown(self.steps)}"
            )
        check_tolerance("hold_s", self.hold_s)
        for name in ("answers", "errors"):
            check_count(name, getattr(self, name), 0, 2**31 - 1)
        for name in ("patience_s", "look_s"):
            check_seconds(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What was seen while the new deployment had one share of the requests.

    Attributes
    ----------
    kind : str
        ``traffic`` or ``mirror``.
    percent : int
    began_s, ended_s : float
        By the clock: after the share was set, and before the next one was.
    codes : mapping of str to mapping of str to int
        By deployment, the answers by status: those of the gateway, or of the models while requests
        were mirrored.
    failed : mapping of str to int
        Errors of the new deployment, by status; ``dead`` where its server could not be reached.
    problem : str
        Why traffic was shifted back; empty where all went well.
    """

    kind: str
    percent: int
    began_s: float
    ended_s: float
    codes: Mapping[str, Codes]
    failed: Codes = field(default_factory=dict)
    problem: str = ""


class Shift:
    """Gives a new deployment more and more of an old one's traffic.

    `tell` gets a sentence for each thing done. `clock` and `sleep` are in seconds.
    """

    def __init__(
        self,
        controls: Controls,
        old: str,
        new: str,
        plan: Plan,
        *,
        tell: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._controls, self._old, self._new, self._plan = controls, old, new, plan
        self._tell, self._clock, self._sleep = tell, clock, sleep

    def check(self) -> None:
        """Raise `ConfigurationError` unless both share all traffic, and there is a step to take."""
        traffic = self._controls.snapshot()["traffic"]
        for name in (self._old, self._new):
            if name not in traffic:
                raise ConfigurationError(
                    f"there is no deployment {name}; there are {', '.join(traffic)}"
                )
        if self._old == self._new:
            raise ConfigurationError(f"{self._old} cannot be promoted over itself")
        if traffic[self._old] + traffic[self._new] != 100:
            said = " ".join(f"{name}={percent}" for name, percent in traffic.items())
            raise ConfigurationError(
                f"the traffic is {said}; it is shifted where {self._old} and {self._new} have all"
            )

        if traffic[self._new] >= self._plan.steps[-1]:
            raise ConfigurationError(
                f"{self._new} has {traffic[self._new]} percent of the traffic already"
            )

    def run(self) -> tuple[Step, ...]:
        """Mirror, then shift; the last step has a `problem` where traffic was shifted back.

        Whatever is raised in between, Ctrl-C as well, leaves the traffic as it was found.
        """
        steps: list[Step] = []
        before = self._controls.snapshot()
        with self._undone(before):
            for step in self._steps(before):
                steps.append(step)
                if step.problem:
                    self._back(step)
                    break
        return tuple(steps)

    def _steps(self, before: Mapping[str, Any]) -> Iterator[Step]:
        share = before["traffic"][self._new]
        others = {name: part for name, part in before["mirror"].items() if name != self._new}
        if self._plan.mirror and not share:
            copied = {self._new: self._plan.mirror}
            yield self._watched("mirror", self._plan.mirror, self._controls.set_mirror, copied)
        # A deployment that has traffic is no mirror.
        self._controls.set_mirror(others)
        for percent in self._plan.steps:
            if percent > share:
                shares = {self._old: 100 - percent, self._new: percent}
                yield self._watched("traffic", percent, self._controls.set_traffic, shares)

    def _watched(
        self, kind: str, percent: int, change: Callable[[Mapping[str, int]], object], to: Any
    ) -> Step:
        before = self._controls.snapshot()
        change(to)
        self._tell(f"{kind} {' '.join(f'{name}={part}' for name, part in to.items())}")
        began_s, problem = self._clock(), None
        while problem is None:
            self._sleep(self._plan.look_s)
            after = self._controls.snapshot()
            failed = self._failed(before, after)
            problem = self._problem(before, after, failed, self._clock() - began_s)
        # The gateway drops the answers to copies, so that only the model's own are counted.
        counted = "codes" if kind == "traffic" else "model_codes"
        codes = {name: _more(before, after, name, counted) for name in (self._old, self._new)}
        return Step(
            kind=kind,
            percent=percent,
            began_s=began_s,
            ended_s=self._clock(),
            codes=codes,
            failed=failed,
            problem=problem,
        )

    def _problem(self, before: Any, after: Any, failed: Codes, elapsed_s: float) -> str | None:
        """Return why a step is a failure, empty where it is over and was none, else None."""
        plan = self._plan
        if sum(failed.values()) > plan.errors:
            kinds = ", ".join(f"{count} x {code}" for code, count in failed.items())
            return f"{self._new} answered with errors: {kinds}"
        answered = sum(_more(before, after, self._new, "model_codes").values())
        if elapsed_s < plan.hold_s:
            return None
        if answered >= plan.answers:
            return ""
        if elapsed_s < max(plan.hold_s, plan.patience_s):
            return None
        return f"{self._new} gave {answered} answers in {elapsed_s:.0f} s, not {plan.answers}"

    def _failed(self, before: Any, after: Any) -> dict[str, int]:
        own = _more(before, after, self._new, "model_codes")
        gateways = _more(before, after, self._new, "codes")
        return {
            **{code: count for code, count in own.items() if code not in _MODELS_OWN},
            **{code: count for code, count in gateways.items() if code in _GATEWAYS},
        }

    def _back(self, step: Step) -> None:
        self._controls.set_mirror({})
        self._controls.set_traffic({self._old: 100})
        self._tell(f"{step.problem}; shifted back: traffic {self._old}=100")

    @contextmanager
    def _undone(self, before: Mapping[str, Any]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # The rehearsal may be what has ended; the first error is the one to be told.
            with suppress(ConfigurationError):
                self._controls.set_mirror({})
                self._controls.set_traffic(before["traffic"])
                self._controls.set_mirror(before["mirror"])
            raise


def _more(before: Any, after: Any, name: str, what: str) -> dict[str, int]:
    """Return what was counted between two snapshots for a deployment."""
    counted = [
        Counter(next(one[what] for one in seen["deployments"] if one["name"] == name))
        for seen in (before, after)
    ]
    return dict(counted[1] - counted[0])
