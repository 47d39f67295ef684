"""Records out of JSON: what is not as it has to be is named with the keys that lead to it."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from typing import Any

import pytest

from hybridmodel.data.json_records import (
    MalformedRecord,
    as_json,
    count,
    counts,
    flag,
    listed,
    mapping,
    nullable,
    number,
    numbers,
    read_record,
    required,
    text,
    texts,
)
from hybridmodel.exceptions import ConfigurationError


def point(stored: Any) -> tuple[float, ...]:
    """Read a record of one list."""
    return required(stored, "at", numbers)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({}, "points: is missing"),
        ([], "expected an object, got []"),
        ({"points": 5}, "points: expected a list of points, got 5"),
        ({"points": [{"at": []}, {}]}, "points[1].at: is missing"),
        ({"points": [None]}, "points[0]: expected an object, got None"),
        ({"points": [{"at": "x"}]}, "points[0].at: expected a list of numbers, got 'x'"),
        ({"points": [{"at": [1, "x"]}]}, "points[0].at[1]: expected a number, got 'x'"),
    ],
)
def test_an_error_has_the_path(stored: Any, message: str) -> None:
    """Keys and places lead to the value, however deep it lies."""
    with pytest.raises(ConfigurationError) as caught:
        required(stored, "points", listed(point, "points"))
    assert str(caught.value) == message


def test_other_errors_get_the_path_too() -> None:
    """What a record itself refuses is said to lie at its key."""

    def refuse(value: Any) -> Any:
        raise ConfigurationError("no such kind")

    with pytest.raises(ConfigurationError, match=r"^a\[0\]: no such kind$"):
        required({"a": [1]}, "a", listed(refuse, "things"))


@pytest.mark.parametrize(
    ("read", "wrong"),
    [
        (text, 1),
        (texts, "one text"),
        (texts, ["a", 1]),
        (flag, 1),
        (flag, "true"),
        (count, True),
        (count, 1.0),
        (counts, ["x"]),
        (number, "1"),
        (number, True),
        (number, math.nan),
        (number, 10**400),
        (number, None),
        (mapping, []),
        (nullable(text), 1),
    ],
)
def test_nothing_is_guessed(read: Any, wrong: Any) -> None:
    """A value of another kind is refused, not converted."""
    with pytest.raises(MalformedRecord, match="expected"):
        read(wrong)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A record with a field that may be missing."""

    at: tuple[float, ...]
    weight: int = 7


def test_a_field_with_a_default_may_be_missing() -> None:
    """A default stands for a key that is not there, never for a value of another kind."""
    readers = {"at": numbers, "weight": count}
    assert read_record(Point, {"at": [1], "later": 0}, readers) == Point(at=(1.0,))
    assert read_record(Point, {"at": [], "weight": 1}, readers) == Point(at=(), weight=1)
    assert as_json(Point(at=(math.inf,))) == {"at": ["inf"], "weight": 7}
    with pytest.raises(MalformedRecord, match="weight: expected a whole number, got None"):
        read_record(Point, {"at": [], "weight": None}, readers)
    for stored in ({}, {"weight": 1}, None):
        with pytest.raises(MalformedRecord, match=r"at: is missing|expected an object"):
            read_record(Point, stored, readers)


def test_infinities_are_texts() -> None:
    """JSON has no infinities, so they are written as texts and read back."""
    assert as_json((1, math.inf, (-math.inf, "x"))) == [1, "inf", ["-inf", "x"]]
    assert numbers(["inf", "-inf", 1]) == (math.inf, -math.inf, 1.0)


def test_the_error_can_be_pickled() -> None:
    """An error that crosses a process keeps message and path."""
    with pytest.raises(MalformedRecord) as caught:
        point({"at": 1})
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.path) == ("at: expected a list of numbers, got 1", "at")
