"""The tree of errors, what the package exports, and what importing it costs."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from typing import Any

import pytest

import hybridmodel
from hybridmodel import exceptions

PARENTS = {
    "HybridModelError": (Exception,),
    "ConfigurationError": (exceptions.HybridModelError, ValueError),
    "InputMismatch": (exceptions.HybridModelError, ValueError),
    "SpecMismatch": (exceptions.HybridModelError, ValueError),
    "MissingDependency": (exceptions.HybridModelError, ImportError),
    "EndpointError": (exceptions.HybridModelError,),
    "EndpointRefused": (exceptions.EndpointError,),
    "AuthenticationFailed": (exceptions.EndpointError,),
    "EndpointUnavailable": (exceptions.EndpointError,),
    "RateLimited": (exceptions.EndpointUnavailable,),
    "EndpointTimeout": (exceptions.EndpointUnavailable, TimeoutError),
    "CircuitOpen": (exceptions.EndpointUnavailable,),
    "SubmissionUnknown": (exceptions.EndpointError,),
    "JobFailed": (exceptions.EndpointError,),
    "ProtocolError": (exceptions.EndpointError,),
}
HEAVY = ["pandas", "onnxruntime", "mlflow", "requests", "starlette", "uvicorn", "click", "tqdm"]


def classes() -> dict[str, Any]:
    """Find every class that the module defines."""
    return {
        name: kind
        for name, kind in vars(exceptions).items()
        if inspect.isclass(kind) and kind.__module__ == exceptions.__name__
    }


def test_the_tree_is_the_documented_one() -> None:
    """Each error has the parents that callers may catch, and there is no other error."""
    assert {name: kind.__bases__ for name, kind in classes().items()} == PARENTS


def test_the_docstring_shows_each_error() -> None:
    """The drawing of the tree names every class."""
    assert all(name in str(exceptions.__doc__) for name in PARENTS)


@pytest.mark.parametrize("name", sorted(PARENTS))
def test_attributes_survive_pickling(name: str) -> None:
    """An error that crosses a process keeps its message and what it knows."""
    kind = classes()[name]
    given: dict[str, Any] = {}
    if issubclass(kind, exceptions.EndpointError):
        given = {"endpoint": "https://h/v2", "status": 503, "attempts": 3, "request_id": "r"}
    if issubclass(kind, exceptions.EndpointUnavailable):
        given["retry_after_s"] = 2.5
    if issubclass(kind, exceptions.SpecMismatch):
        given = {"differences": ("one", "two")}
    made = kind("what happened", **given)
    vars(made).update(hint="help", fault="503")
    error = pickle.loads(pickle.dumps(made))
    assert type(error) is kind
    assert (error.hint, error.fault) == ("help", "503")
    assert error.args == ("what happened",)
    endpoint_s = isinstance(error, exceptions.EndpointError)
    told = "https://h/v2: what happened (help) [3 requests, request id r]"
    assert str(error) == (told if endpoint_s else "what happened")
    assert {key: getattr(error, key) for key in given} == given


def test_an_endpoint_error_knows_nothing_by_default() -> None:
    """Attributes that nobody set are None, and one attempt was made."""
    error = exceptions.EndpointTimeout("late")
    assert (error.endpoint, error.status, error.request_id) == (None, None, None)
    assert (error.attempts, error.retry_after_s) == (1, None)
    assert exceptions.SpecMismatch("other").differences == ()


def test_all_is_what_is_exported() -> None:
    """`__all__` is sorted, every name in it is there, and no public name is missing from it."""
    offered = {name: getattr(hybridmodel, name) for name in hybridmodel.__all__}
    assert list(offered) == sorted(offered) == dir(hybridmodel)
    assert set(PARENTS) <= set(offered)
    for name, value in vars(hybridmodel).items():
        if getattr(value, "__module__", "").startswith("hybridmodel.") and name[0] != "_":
            assert name in offered


def test_the_version_is_that_of_the_distribution() -> None:
    """The version is looked up only when asked for; other names stay unknown."""
    assert hybridmodel.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = hybridmodel.nothing


def test_importing_loads_nothing_heavy() -> None:
    """A fresh interpreter that imports hybridmodel loads numpy, and no library that is slow."""
    code = "import sys, hybridmodel; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "numpy" in loaded
    assert loaded.isdisjoint(HEAVY)
