"""The gate before a promotion: what breaks which bound, and what is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import HybridOnnxModel
from hybridmodel.compare.latencies import Latency
from hybridmodel.deploy.gate import Bounds, Failures, Measured, broken, measure, shadowed
from hybridmodel.exceptions import (
    AuthenticationFailed,
    ConfigurationError,
    EndpointUnavailable,
    InputMismatch,
)
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.promoting import ROWS, compared
from tests.support.shadowing import wait_until

GOOD = Measured(old="blue", new="green", comparison=compared(300))


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve what two deployments may have."""
    two = models.linear(3)
    served = {
        "graded": models.graded(),
        "close": models.graded(1.01),
        "worse": models.graded(-1.0),
        "broken": models.graded(np.nan),
        "other": two,
    }
    with serve(served) as one:
        yield one


def asked(server: EmbeddedServer, name: str, **options: Any) -> HybridOnnxModel:
    """Ask one of the models, as a deployment is asked."""
    endpoint = server.endpoint(name, model_version=None, max_attempts=1, **options)
    return HybridOnnxModel(models.graded(), endpoint=endpoint)


def measured(server: EmbeddedServer, new: str, rows: Any = ROWS, **options: Any) -> Measured:
    """Compare one of the models with the first one, in calls of 100 rows."""
    frames = [rows[start : start + 100] for start in range(0, len(rows), 100)]
    return measure(asked(server, "graded"), asked(server, new), frames, **options)


def test_a_close_model_holds_the_bounds(server: EmbeddedServer) -> None:
    """What differs a little is measured, and refused only by a bound of floats."""
    found = measured(server, "close")
    assert (found.rows, found.differing) == (300, 0)
    assert broken(found, Bounds()) == ()
    assert 0.001 < found.largest["probabilities"] < 0.01
    (said,) = broken(found, Bounds(difference=0.001))
    assert "'probabilities' differs by up to 0.00" in said
    assert found.versions == {"blue": ("1",), "green": ("1",)}
    assert found.latency()["green"].calls == 3


def test_a_worse_model_is_refused(server: EmbeddedServer) -> None:
    """Other classes break the bound, and the sentence has the numbers."""
    found = measured(server, "worse")
    assert found.differing == 300
    (said,) = broken(found, Bounds())
    assert said == (
        "green answered 300 of 300 rows otherwise than blue: at most 100 % of all rows with 95 % "
        "confidence, and the bound is 2 %"
    )


def test_what_is_no_number_is_no_small_difference(server: EmbeddedServer) -> None:
    """NaN in the place of a number breaks any bound of floats."""
    found = measured(server, "broken")
    assert found.largest == {"probabilities": np.inf}
    assert any("differs by up to inf" in said for said in broken(found, Bounds(difference=1e9)))


def test_another_signature_is_refused(server: EmbeddedServer) -> None:
    """A deployment with other tensors fails before a row is sent, and the reason is told."""
    found = measured(server, "other")
    assert found.rows == 0
    assert found.failures["green"].calls == {"SpecMismatch": 1}
    said = broken(found, Bounds())
    assert any("green failed 1 calls (1 x SpecMismatch)" in one for one in said)
    assert any("0 of 0 rows" in one for one in said)


def test_a_dead_deployment_is_refused(server: EmbeddedServer) -> None:
    """Each failed call counts, and it ends early when there are too many."""
    nobody = {"uri": "http://127.0.0.1:1", "breaker_failures": None}
    dead = asked(server, "graded")
    assert dead.endpoint is not None
    dead = HybridOnnxModel(models.graded(), endpoint=dead.endpoint.with_overrides(**nobody))
    found = measure(asked(server, "graded"), dead, [ROWS[:10]] * 9, most_errors=2)
    assert found.failures["green"].calls == {"EndpointUnavailable": 3}
    assert found.failures["blue"].count == 0
    said = broken(found, Bounds(errors=2))
    assert any("3 x EndpointUnavailable" in one for one in said)
    assert any("and the bound is 2" in one for one in said)


def test_what_shadow_mode_has_compared(server: EmbeddedServer) -> None:
    """A program's own comparison is judged by the same bounds, its failures as well."""
    with asked(server, "close") as model:
        for start in range(0, 300, 100):
            model.predict(ROWS[start : start + 100], mode="shadow")
        wait_until(lambda: model.comparison.summary().calls == 3)
        found = shadowed(model)
        assert (found.old, found.new, found.rows) == ("local", "azure", 300)
        assert broken(found, Bounds()) == ()
        (said,) = broken(found, Bounds(difference=0.001))
        assert "'probabilities' differs by up to 0.00" in said
        model.comparison.add_failure("EndpointTimeout")
        (said,) = broken(shadowed(model), Bounds())
        assert said == "azure failed 1 calls (1 x EndpointTimeout), and the bound is 0"


def test_errors_that_are_allowed(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bound of errors the rows of a failed call are left out, and all others compared."""
    new, infer, calls = asked(server, "close"), HybridOnnxModel.infer, iter(range(99))

    def sometimes(model: HybridOnnxModel, *args: Any, **options: Any) -> Any:
        if model is new and next(calls) == 1:
            raise EndpointUnavailable("a pause")
        return infer(model, *args, **options)

    monkeypatch.setattr(HybridOnnxModel, "infer", sometimes)
    frames = [ROWS[start : start + 100] for start in range(0, 300, 100)]
    found = measure(asked(server, "graded"), new, frames, most_errors=1)
    assert found.rows == 200
    assert broken(found, Bounds(errors=1)) == ()


def test_a_wrong_key_is_an_error() -> None:
    """It is no property of the new deployment, so nothing is measured."""
    with serve({"graded": models.graded()}, auth_key="right") as locked:
        model = asked(locked, "graded")
        assert model.endpoint is not None
        wrong = HybridOnnxModel(
            models.graded(), endpoint=model.endpoint, credential=lambda: "wrong"
        )
        with pytest.raises(AuthenticationFailed):
            measure(wrong, wrong, [ROWS])


def test_rows_that_do_not_fit(server: EmbeddedServer) -> None:
    """They are the caller's mistake."""
    with pytest.raises(InputMismatch):
        measured(server, "close", np.zeros((4, 2), np.float32))


def test_numbers_instead_of_classes(server: EmbeddedServer) -> None:
    """The caller may name the output that decides, and what does not matter in it."""
    close = measured(server, "close", answer="label")
    assert close.comparison.agree_by == "class 'label'"
    with pytest.raises(ConfigurationError):
        measured(server, "close", answer="nothing")


@pytest.mark.parametrize(
    ("differing", "rows", "bounds", "words"),
    [
        (0, 149, Bounds(), ()),
        (0, 148, Bounds(), ("it takes 149 rows without a difference",)),
        (0, 0, Bounds(), ("0 of 0 rows",)),
        (1, 300, Bounds(), ()),
        (3, 300, Bounds(), ("3 of 300 rows", "at most 2.5")),
        (3, 300, Bounds(confidence=0.5), ()),
        (300, 300, Bounds(differing=1.0), ()),
    ],
    ids=["least", "too few", "none", "one", "three", "unsure", "anything"],
)
def test_the_share_of_rows(
    differing: int, rows: int, bounds: Bounds, words: tuple[str, ...]
) -> None:
    """What counts is the share that is not exceeded with confidence, not what was seen."""
    found = broken(replace(GOOD, comparison=compared(rows, differing)), bounds)
    assert len(found) == bool(words)
    assert all(word in found[0] for word in words)


@given(st.integers(1, 400), st.data())
def test_more_differing_rows_are_never_better(rows: int, data: st.DataObject) -> None:
    """Where so many differing rows break the bound, more do as well."""
    few = data.draw(st.integers(0, rows))
    many = data.draw(st.integers(few, rows))
    results = [
        bool(broken(replace(GOOD, comparison=compared(rows, count)), Bounds()))
        for count in (few, many)
    ]
    assert results[0] <= results[1]


@pytest.mark.parametrize(
    ("new_s", "calls", "words"),
    [
        (0.014, 20, None),
        (0.016, 20, "up to 16.0 ms, 1.60 times blue's 10.0 ms, and the bound is 1.5 times"),
        (0.001, 19, "19 calls were timed, and 20 are needed"),
    ],
    ids=["as fast", "slower", "too few"],
)
def test_times(new_s: float, calls: int, words: str | None) -> None:
    """The 95 % percentile of enough calls is bounded, where it is asked for."""
    times = {"local": 0.010, "azure": new_s}
    comparison = replace(
        compared(300),
        latency={name: Latency(calls, s / 2, s, s, s) for name, s in times.items()},
    )
    found = broken(replace(GOOD, comparison=comparison), Bounds(slower=1.5))
    assert [words in said for said in found] == [True] * len(found) if words else found == ()
    assert bool(found) == bool(words)
    assert broken(replace(GOOD, comparison=comparison), Bounds()) == ()


def test_the_first_error_is_told() -> None:
    """Kinds and counts of failures are there, and what the first one said."""
    failures: Mapping[str, Failures] = {
        "blue": Failures(),
        "green": Failures(calls={"EndpointUnavailable": 2, "RateLimited": 1}, first="answered 503"),
    }
    (said,) = broken(replace(GOOD, failures=failures), Bounds(errors=2))
    assert said == (
        "green failed 3 calls (2 x EndpointUnavailable, 1 x RateLimited), and the bound is 2: "
        "answered 503"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"differing": 0},
        {"differing": 1.1},
        {"confidence": 1},
        {"difference": -1},
        {"errors": 1.5},
        {"slower": "2"},
    ],
    ids=lambda wrong: f"{next(iter(wrong))} {next(iter(wrong.values()))}",
)
def test_bounds_that_cannot_be(wrong: dict[str, Any]) -> None:
    """They are refused by name; a share of 0 can be shown by no sample."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Bounds(**wrong)
