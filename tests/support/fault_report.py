"""What was injected, what the caller saw, and in how many seconds: one line for each fault.

A plugin of pytest that prints what the tests of faults have recorded::

    python -m pytest -q -p tests.support.fault_report tests/remote -k "row or triton_faults"
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from hybridmodel import Answer, HybridModelError

_PLACE = re.compile(r"https?://\S+: ")
_SAID = 120

_records: list[tuple[Fault, str]] = []


@dataclass(frozen=True)
class Seen:
    """How a call ended.

    Attributes
    ----------
    value : Any
        What it returned, or the error that it raised.
    seconds : float
        From the call to its end.
    """

    value: Any
    seconds: float

    @property
    def error(self) -> Any:
        """The error; there has to be one."""
        assert isinstance(self.value, HybridModelError), f"no error came, but {self.value!r}"
        return self.value

    @property
    def answer(self) -> Answer:
        """The answer; there has to be one."""
        if isinstance(self.value, BaseException):
            raise self.value
        answer: Answer = self.value
        return answer

    def __str__(self) -> str:
        if isinstance(self.value, Answer):
            return f"the right answer, {_times(self.value.attempts)}"
        name = type(self.value).__name__
        said = _PLACE.sub("", str(self.value))
        said = said if len(said) <= _SAID else f"{said[:_SAID]}…"
        status, attempts = (getattr(self.value, fact, None) for fact in ("status", "attempts"))
        facts = [str(status)] if status else []
        facts += [_times(attempts)] if attempts is not None else []
        return f"{name} ({', '.join(facts)}): {said}" if facts else f"{name}: {said}"


@dataclass(frozen=True)
class Fault:
    """One line of the report.

    Attributes
    ----------
    number : int
        Of the fault.
    injected : str
        What was done.
    saw : str
        What the caller saw.
    seconds : float
        How long the call took.
    """

    number: int
    injected: str
    saw: str
    seconds: float


Note = Callable[[int, str, Any, float], None]


def seen(call: Callable[[], Any]) -> Seen:
    """Make a call, and tell how it ended."""
    started = time.monotonic()
    try:
        value = call()
    except HybridModelError as error:
        value = error
    return Seen(value, time.monotonic() - started)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect what a test has recorded."""
    if report.when == "call":
        for name, value in report.user_properties:
            if name == "fault":
                _records.append((Fault(**value), report.outcome))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if not _records:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line("| # | injected | what the caller saw | s |")
    terminalreporter.write_line("|---|---|---|---|")
    for fault, outcome in sorted(_records, key=lambda record: record[0].number):
        failed = "" if outcome == "passed" else f" ({outcome})"
        terminalreporter.write_line(
            f"| {fault.number} | {fault.injected} | {fault.saw}{failed} | {fault.seconds:.2f} |"
        )


def noting(record_property: Callable[[str, object], None]) -> Note:
    """Return a function that records a line; made from pytest's fixture of that name."""

    def note(number: int, injected: str, saw: Any, seconds: float) -> None:
        fault = Fault(number, injected, str(saw).replace("|", "/"), seconds)
        record_property("fault", asdict(fault))  # As data, which goes from a worker to pytest.

    return note


def _times(attempts: int) -> str:
    return f"{attempts} attempt{'' if attempts == 1 else 's'}"
