"""JSON that anyone may have written is read as everyone reads it, or refused."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.cascade import Calibration
from hybridmodel.data.json_records import MOST_LEVELS, loads
from hybridmodel.exceptions import ConfigurationError
from tests.support.strategies import law

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@law
@given(VALUES)
def test_what_was_written_comes_back(value: Any) -> None:
    """What the standard library writes is read as it was, from a text and from bytes."""
    text = json.dumps(value, ensure_ascii=False)
    assert loads(text, "here") == value
    assert loads(json.dumps(value).encode(), "here") == value


@law
@given(st.text() | st.binary())
def test_anything_else_is_a_configuration_error(content: str | bytes) -> None:
    """Any text and any bytes are read or refused, never anything else."""
    with suppress(ConfigurationError):
        loads(content, "here")


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("levels", [MOST_LEVELS + 1, 900, 1_000_000])
def test_deep_nesting_is_refused(opening: str, levels: int) -> None:
    """Too many levels are refused, long before they could end the stack of the interpreter."""
    closing = opening.translate({ord("["): "]", ord("{"): "}"})[::-1].strip(':"a')
    for text in (opening * levels, opening * levels + "1" + closing * levels):
        with pytest.raises(ConfigurationError, match=r"^here: "):
            loads(text, "here")


def test_some_nesting_is_read() -> None:
    """As many levels as a saved model never has are still read."""
    assert loads("[" * MOST_LEVELS + "]" * MOST_LEVELS, "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "here: the key 'c' occurs twice in one object"),
        ('[{"a": 1}, {"a": 1}, NaN]', "here: NaN is not a number in JSON"),
        ("[-Infinity]", "here: -Infinity is not a number in JSON"),
        ("Infinity", "here: Infinity is not a number in JSON"),
        ("", "here: Expecting value"),
        ("9" * 5000, "here: Exceeds the limit"),
    ],
)
def test_what_readers_differ_about_is_refused(text: str, message: str) -> None:
    """A key that occurs twice, and numbers that are none, are refused."""
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        loads(text, "here")


def test_many_keys_take_a_moment() -> None:
    """A hundred thousand keys, of which the last occurs twice, are no work for hours."""
    pairs = ", ".join(f'"{number}": 0' for number in range(100_000))
    with pytest.raises(ConfigurationError, match="'99999' occurs twice"):
        loads(f'{{{pairs}, "99999": 1}}', "here")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"schema_version": ' + "[" * 700 + "]" * 700 + "}", '{"a": NaN}', "\xff"],
)
def test_hostile_calibrations(text: str) -> None:
    """A calibration's file is read as strictly."""
    for content in (text, text.encode("latin-1")):
        with pytest.raises(ConfigurationError, match="not the description of a calibration"):
            Calibration.from_json(content)
