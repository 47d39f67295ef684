"""`Answer`: its compact state, and what it makes of it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from hybridmodel import Answer
from hybridmodel.answer import Answer as PresentedAnswer
from hybridmodel.data.answer import Reasons


def test_both_public_names_are_one_class() -> None:
    """`hybridmodel.Answer` and `hybridmodel.answer.Answer` stay, wherever the record is."""
    assert Answer is PresentedAnswer


def test_an_answer_makes_its_columns_when_they_are_read() -> None:
    """From the rows that the endpoint answered, and one reason for all rows or for each."""
    outputs: dict[str, Any] = {"y": np.zeros(3)}
    plain = Answer(outputs, "local", 0, 0.25, row_count=3)
    assert plain.routes.tolist() == ["local"] * 3
    assert plain.reasons.tolist() == ["asked"] * 3
    assert (plain.scores, plain.model_version, plain.request_id) == (None, None, None)
    mixed = Answer(outputs, "mixed", row_count=3, remote_rows=np.array([True, False, True]))
    assert mixed.routes.tolist() == ["azure", "local", "azure"]
    assert repr(plain) == "Answer(y: float64[3]; 3 rows local; 250 ms)"
    assert repr(mixed) == "Answer(y: float64[3]; 1 row local, 2 rows azure; 0 µs)"
    assert pickle.loads(pickle.dumps(mixed)).routes.tolist() == mixed.routes.tolist()


def test_each_row_may_have_a_reason_of_its_own() -> None:
    """The texts are kept once, and each row has the position of its text."""
    reason = Reasons(codes=np.array([1, 0, 1]), texts=("sure", "unsure"))
    answer = Answer({}, "local", row_count=3, reason=reason)
    assert answer.reasons.tolist() == ["unsure", "sure", "unsure"]


def test_an_answer_cannot_be_changed() -> None:
    """Its arrays belong to the caller, its fields do not."""
    with pytest.raises(AttributeError):
        Answer({}, "local").route = "azure"  # type: ignore[misc]
