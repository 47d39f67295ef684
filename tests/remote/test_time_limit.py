"""How long a call may take: what the machine allows, and numbers that are none."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from hybridmodel import ConfigurationError, EndpointTimeout, HybridOnnxModel, TritonEndpoint
from hybridmodel.calibrating import calibrate
from hybridmodel.cascade.scores import as_score
from hybridmodel.checks import check_seconds, shown
from hybridmodel.flavor.pyfunc import PyfuncModel
from hybridmodel.remote.fields import read_field
from hybridmodel.remote.trust.variables import capped
from hybridmodel.routing import AzureFirst, Budget, Cascade, Hedge, Shadow, Split, parse_use_azure
from tests.support import models
from tests.support.faulty import FaultyEndpoint

X = np.ones((2, 4), np.float32)
HUGE = (10**400, 10**5000, -(10**5000), Fraction(10**400))
LIMIT = "HYBRIDMODEL_MAX_TIMEOUT_S"


@pytest.mark.parametrize("value", HUGE, ids=["10^400", "10^5000", "-10^5000", "fraction"])
def test_a_number_beyond_floats_is_refused_as_any_other(value: Any) -> None:
    """Wherever seconds, shares, counts, flags or thresholds are taken, it is one clear error."""
    where = {"uri": "https://a.example", "model_name": "m"}
    model = HybridOnnxModel(models.linear(), endpoint=TritonEndpoint(**where, auth_key_env=None))
    for attempt in (
        lambda: model.predict(X, use_azure=True, timeout=value),
        lambda: model.predict(X, use_azure=value),
        lambda: TritonEndpoint(**where, timeout_s=value),
        lambda: TritonEndpoint(**where, max_attempts=value),
        lambda: TritonEndpoint(**where, model_version=value),
        lambda: TritonEndpoint(**where, allow_http=value),
        lambda: AzureFirst(value),
        lambda: Hedge(value),
        lambda: Split(value),
        lambda: Shadow(max_pending=value),
        lambda: Cascade(threshold=value),
        lambda: Cascade(threshold=0.1, audit_rate=value),
        lambda: Budget(value),
        lambda: Budget(rows=value),
        lambda: Budget(cost=value, cost_per_row=1),
        lambda: parse_use_azure(value, "the test"),
        lambda: as_score("margin").check_threshold(value),
        lambda: calibrate(model, X, epsilon=value),
        lambda: calibrate(model, X, epsilon=0.1, tolerance=value),
    ):
        with pytest.raises(ConfigurationError) as caught:
            attempt()
        assert len(str(caught.value)) < 400


def test_a_count_of_many_digits_is_refused() -> None:
    """The drop-in's entries are texts, and int() refuses some thousand digits in its own way."""
    with pytest.raises(ConfigurationError, match="whole number"):
        read_field("max_attempts", "9" * 5000, "the test")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        ("x", "'x'"),
        (True, "True"),
        (10**400, "a number of 1329 bits"),
        ("x" * 100, "a str"),
        (Fraction(10**5000), "a Fraction"),
    ],
)
def test_a_value_is_shown_short(value: Any, text: str) -> None:
    """As the source would write it, or what it is."""
    assert shown(value) == text


def test_the_longest_time_is_a_year() -> None:
    """More would overflow the timeouts of sockets."""
    assert check_seconds("timeout", 1e300) == 365 * 86_400.0


@pytest.mark.parametrize("ask", ["timeout", "endpoint", "http", "azure_first"])
def test_the_machine_s_limit_caps_every_time(ask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for 1e300 s gets what the machine allows, by whatever way."""
    monkeypatch.setenv(LIMIT, "0.3")
    with FaultyEndpoint(lambda _: faulty.wait(20)) as faulty:
        endpoint = faulty.endpoint(timeout_s=1e300)
        model = HybridOnnxModel(models.linear(), endpoint=endpoint)
        started = time.monotonic()
        if ask == "azure_first":
            assert model.infer(X, mode="azure_first", timeout=1e300).route == "local"
        elif ask == "http":
            with pytest.raises(Exception, match="EndpointTimeout"):
                PyfuncModel(model).predict(X, {"use_azure": True, "timeout": 1e300})
        else:
            with pytest.raises(EndpointTimeout, match=r"0\.3 s"):
                model.predict(X, use_azure=True, timeout=1e300 if ask == "timeout" else None)
        assert time.monotonic() - started < 5
        model.close()


def test_the_limit_lengthens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shorter time stays; without the variable, or with an empty one, so does every time."""
    monkeypatch.setenv(LIMIT, "50")
    assert (capped(3.0), capped(80.0)) == (3.0, 50.0)
    monkeypatch.setenv(LIMIT, "")
    assert capped(80.0) == 80.0
    monkeypatch.delenv(LIMIT)
    assert capped(80.0) == 80.0


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf", "1e400", "5 s"])
def test_a_limit_that_is_none_is_said(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that cannot be read is an error, not no limit."""
    monkeypatch.setenv(LIMIT, value)
    with pytest.raises(ConfigurationError, match=LIMIT):
        capped(1.0)
