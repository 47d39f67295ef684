"""How long a job waits for an endpoint that does not answer now."""

from __future__ import annotations

from typing import Any

import pytest

from hybridmodel import EndpointRefused, EndpointUnavailable
from hybridmodel.batch.patience import Patience
from hybridmodel.exceptions import CircuitOpen, EndpointTimeout, RateLimited


class Scripted:
    """Raises one error after the other, then answers; its time passes in pauses only."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.pauses: list[float] = []
        self.patience = Patience(
            away_s=30.0, sleep=self.pauses.append, clock=lambda: sum(self.pauses), draw=lambda: 1.0
        )

    def __call__(self) -> str:
        """Answer, or raise."""
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def away(kind: Any = EndpointUnavailable, after_s: float | None = None) -> Exception:
    """Make an error."""
    error: Exception = kind("no", retry_after_s=after_s)
    return error


def test_a_busy_endpoint_is_asked_again_after_longer_and_longer_pauses() -> None:
    """No shorter than it asks for, and counted."""
    script = Scripted(*(away(RateLimited, after_s) for after_s in (None, None, 3, None)))
    assert script.patience(script) == ("answer", 4)
    assert script.pauses == [0.25, 0.5, 3, 2.0]


def test_a_request_that_was_held_back_is_not_counted() -> None:
    """A probe of another thread may end soon, whatever its lease; nothing was sent meanwhile."""
    script = Scripted(away(), away(CircuitOpen, 31), away(CircuitOpen, 31))
    assert script.patience(script) == ("answer", 1)
    assert script.pauses == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("error", "least_s", "most_s"),
    [
        (away(RateLimited), 590, 600),
        (away(), 20, 30),
        (away(after_s=31), 0, 0),
        (away(EndpointTimeout), 0, 0),
        (EndpointRefused("no"), 0, 0),
    ],
    ids=["busy", "away", "away for long", "out of time", "refused"],
)
def test_what_lasts_is_raised(error: Exception, least_s: float, most_s: float) -> None:
    """After minutes of refusals, the time of a call without an answer, or at once."""
    script = Scripted(*[error] * 1000)
    with pytest.raises(type(error)):
        script.patience(script)
    assert least_s <= sum(script.pauses) <= most_s
