"""The targets of `tests.fuzz`, over their seeds and some damage, without atheris."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.http import connection, http1
from hybridmodel.remote.wire import layouts
from tests.fuzz import targets
from tests.fuzz.mutator import mutate
from tests.fuzz.seeds import RESPONSES, SEEDS, WORDS
from tests.fuzz.targets import TARGETS
from tests.support.protocol_parts import decode_response
from tests.support.strategies import damaged, law


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back what the targets change in the readers."""
    monkeypatch.setattr(connection, "MAX_BODY_BYTES", connection.MAX_BODY_BYTES)
    monkeypatch.setattr(layouts, "_layouts", layouts._layouts)
    monkeypatch.setattr(http1, "_heads", http1._heads)


@pytest.mark.parametrize(
    ("name", "seed"), [(name, seed) for name, seeds in SEEDS.items() for seed in seeds]
)
def test_the_laws_hold_for_the_seeds(name: str, seed: bytes) -> None:
    """What fuzzing starts from breaks no law."""
    TARGETS[name](seed)


def test_seeds_are_of_both_kinds() -> None:
    """Some seeds are read and some are refused, so that fuzzing begins on both sides."""
    refused = 0
    for seed in RESPONSES:
        header, _, raw = seed.partition(b"\n")
        try:
            decode_response(header, raw)
        except ProtocolError:
            refused += 1
    assert 3 <= refused <= len(RESPONSES) - 8


@law
@given(st.sampled_from(sorted(SEEDS)), st.data())
def test_the_laws_hold_for_damaged_seeds(name: str, data: st.DataObject) -> None:
    """A few mutations are tried always; ``python -m tests.fuzz`` tries millions."""
    seed = data.draw(st.sampled_from(SEEDS[name]))
    word = data.draw(st.sampled_from(WORDS))
    at = data.draw(st.integers(0, len(seed)))
    TARGETS[name](data.draw(damaged(seed)))
    TARGETS[name](seed[:at] + word + seed[at:])


@law
@given(st.sampled_from(["response", "request", "metadata"]), st.randoms(), st.data())
def test_the_laws_hold_for_other_values(
    name: str, choose: random.Random, data: st.DataObject
) -> None:
    """Seeds stay JSON while their values change, and mostly become another message."""
    seed = data.draw(st.sampled_from(SEEDS[name]))
    TARGETS[name](mutate(seed, choose))


def test_changed_seeds_are_still_json() -> None:
    """The mutator gets past the reader of JSON, and is not stuck at the same message."""
    found = {mutate(RESPONSES[0], random.Random(seed)) for seed in range(100)}
    assert len(found) > 80
    for changed in found:
        json.loads(changed.partition(b"\n")[0])
    assert mutate(b"no JSON", random.Random(0)) == b"no JSON"


def test_memory_that_is_taken_is_noticed() -> None:
    """The bound on memory can fail."""
    with pytest.raises(AssertionError, match="may be"), targets.bounded(1000):
        bytearray(10_000)
