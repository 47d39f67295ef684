"""How many requests help at the same time is learned from how long they take."""

from __future__ import annotations

import pytest

from hybridmodel.remote.gathering.pace import Pace


def learned(took_s: float, most: int = 16, requests: int = 500) -> int:
    """Return how many are under way after so many requests, which each take this time."""
    pace = Pace()
    pace.note(0.010, 1)
    for _ in range(requests):
        pace.note(took_s, pace.at_a_time(most))
    return pace.at_a_time(most)


def test_two_are_under_way_at_first() -> None:
    """One is at the server while another is written or read."""
    assert Pace().at_a_time(16) == 2


@pytest.mark.parametrize(("most", "expected"), [(16, 16), (5, 5), (1, 1)])
def test_a_long_way_is_used_by_many(most: int, expected: int) -> None:
    """Where requests take no longer together than alone, as many go as may."""
    assert learned(0.011, most) == expected


def test_requests_that_wait_for_each_other_are_few() -> None:
    """Where a server takes as long for four as for two twice, few are under way, for ever."""
    pace = Pace()
    for _ in range(5000):
        together = pace.at_a_time(16)
        pace.note(0.010 * max(1.0, together / 2), together)
    assert pace.at_a_time(16) <= 4


def test_without_callers_that_wait_nothing_is_learned() -> None:
    """That one request alone is fast says nothing about several."""
    pace = Pace()
    for _ in range(500):
        pace.note(0.010, 1)
    assert pace.at_a_time(16) == 2


def test_on_one_host_few_are_under_way() -> None:
    """However alike, requests of a millisecond are work of this process for the most part."""
    assert learned(0.001) == 2


def test_a_lower_limit_counts_at_once() -> None:
    """What a 429 taught about requests under way bounds what is learned here."""
    pace = Pace()
    for _ in range(500):
        pace.note(0.010, 16)
    assert (pace.at_a_time(16), pace.at_a_time(3), pace.at_a_time(1)) == (16, 3, 1)


def test_a_faster_past_is_forgotten() -> None:
    """After a move to a place that is farther away, many are under way again."""
    pace = Pace()
    for _ in range(200):
        pace.note(0.001, 2)
    for _ in range(5000):
        pace.note(0.030, pace.at_a_time(16))
    assert pace.at_a_time(16) == 16
