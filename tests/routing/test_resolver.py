"""Which policy a call gets: what counts most, and which values `use_azure` takes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.routing import USE_AZURE_ENV, parse_use_azure
from hybridmodel.routing.resolver import LOCAL_POLICY, REMOTE_POLICY, PolicyResolver

SAID = (None, False, True)


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (None, None),
        *((value, True) for value in (True, 1, "1", "true", np.True_)),
        *((value, False) for value in (False, 0, "0", "false", np.False_)),
    ],
)
def test_meanings(value: Any, meaning: bool | None) -> None:
    """These values name a route."""
    assert parse_use_azure(value, "use_azure") is meaning


@pytest.mark.parametrize("value", ["yes", "no", "True", "on", "", 2, -1, 1.0, [True], np.int64(1)])
def test_everything_else_is_an_error(value: Any) -> None:
    """Any other value is refused, and the message names its place."""
    with pytest.raises(ConfigurationError, match=r"^the switch is True, False, 0, 1"):
        parse_use_azure(value, "the switch")


@given(st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.lists(st.booleans())))
def test_a_switch_never_fails_in_another_way(value: Any) -> None:
    """Any value has a meaning or is a ConfigurationError."""
    try:
        assert parse_use_azure(value, "use_azure") in (True, False)
    except ConfigurationError:
        assert type(value) not in (int, str) or value not in ("0", "1", "true", "false", 0, 1)


@pytest.mark.parametrize("value", ["a-key-of-which-nothing-is-shown", b"a-key-as-bytes"])
def test_long_values_are_not_shown(value: Any) -> None:
    """A key that was put in the wrong place is not in the message."""
    with pytest.raises(ConfigurationError) as caught:
        parse_use_azure(value, "use_azure")
    assert "key" not in str(caught.value)
    assert type(value).__name__ in str(caught.value)


@pytest.mark.parametrize(
    ("said", "configured", "environment", "saved"), list(product(SAID, repeat=4))
)
def test_precedence(
    said: Any, configured: Any, environment: Any, saved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call counts most, then the configuration, the environment, what was saved, and local."""
    if environment is None:
        monkeypatch.delenv(USE_AZURE_ENV, raising=False)
    else:
        monkeypatch.setenv(USE_AZURE_ENV, str(environment).lower())
    spoken = [value for value in (said, configured, environment, saved) if value is not None]
    policies = PolicyResolver(REMOTE_POLICY if saved else LOCAL_POLICY, lambda policy: policy)
    policies.configure(configured, None)
    assert policies.for_call(said) is (REMOTE_POLICY if spoken and spoken[0] else LOCAL_POLICY)


def test_the_environment_is_read_strictly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another value of the variable is an error that names it, where the variable counts."""
    monkeypatch.setenv(USE_AZURE_ENV, "yes")
    with pytest.raises(ConfigurationError, match=USE_AZURE_ENV):
        PolicyResolver(LOCAL_POLICY, lambda policy: policy).for_call()
    policies = PolicyResolver(REMOTE_POLICY, lambda policy: policy)
    policies.configure(False, None)
    assert policies.for_call() is LOCAL_POLICY
    assert policies.for_call(True) is REMOTE_POLICY
