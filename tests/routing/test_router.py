"""`Router.answer`: every policy goes through it, and what it answers."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

from hybridmodel import Answer, ConfigurationError, HybridOnnxModel
from hybridmodel.data.binding import Binding
from hybridmodel.process.counters import Counters
from hybridmodel.remote.client import EndpointClient
from hybridmodel.routing import Azure, Cascade, Hedge, Local, Split
from hybridmodel.routing.policies import POLICIES
from hybridmodel.routing.router import Router
from hybridmodel.routing.routes import Request, Routes
from hybridmodel.serving import EmbeddedServer
from tests.support import models
from tests.support.two_routes import X, assert_same, local_outputs, remote_outputs


def ask(server: EmbeddedServer | None, policy: Any, rows: Any = X) -> Answer:
    """Let a router of its own carry out a policy."""
    local = HybridOnnxModel(models.graded()).local
    client = None if server is None else EndpointClient(server.endpoint("remote"), local.spec)
    bound = Binding(local.spec).bind(rows)
    router = Router(Routes(local, client, Counters()))
    return router.answer(policy, Request(bound, local.spec.output_names, None))


@pytest.mark.parametrize("mode", POLICIES)
def test_the_router_carries_out_every_policy(server: EmbeddedServer, mode: str) -> None:
    """Also the two plain ones, of which any instance will do."""
    settings: dict[str, dict[str, Any]] = {
        "cascade": {"threshold": 0.0, "score": "margin:probabilities"},
        "budget": {"rows": 0, "score": "margin:probabilities"},
        "hedge": {"delay_s": 20.0},
        "split": {"share": 1.0},
    }
    answer = ask(server, POLICIES[mode](**settings.get(mode, {})))
    is_remote = mode in ("azure", "azure_first", "hedge", "split")
    assert_same(answer.outputs, remote_outputs() if is_remote else local_outputs())
    assert answer.route == ("azure" if is_remote else "local")


@pytest.mark.parametrize(
    "policy", [Local(), Azure(), Split(1.0), Hedge(), Cascade(threshold=1.0), lambda feeds: True]
)
def test_no_policy_sends_zero_rows(policy: Any) -> None:
    """They are answered without a session or an endpoint; the route is the one asked for."""
    answer = ask(None, policy, X[:0])
    assert {name: len(array) for name, array in answer.outputs.items()} == {
        "label": 0,
        "probabilities": 0,
    }
    assert answer.route == ("azure" if isinstance(policy, Azure) else "local")
    assert (len(answer.routes), len(answer.reasons), answer.attempts) == (0, 0, 0)


def test_without_an_endpoint_only_the_local_route_answers() -> None:
    """The error says how to give the model an endpoint."""
    assert_same(ask(None, Local()).outputs, local_outputs())
    with pytest.raises(
        ConfigurationError, match=r"make the model with endpoint=TritonEndpoint\(\.\.\.\)"
    ):
        ask(None, Azure())


def test_rows_that_no_output_has_cannot_be_divided(server: EmbeddedServer) -> None:
    """A mean over all rows has none; one route may answer the call as a whole."""
    model = HybridOnnxModel(models.mean(), endpoint=server.endpoint("remote"))
    data = np.ones((2, *model.inputs[0].shape[1:]), model.inputs[0].dtype)
    with pytest.raises(ConfigurationError, match="cannot be answered by different routes"):
        model.predict(data, mode=lambda feeds: np.array([True, False]))
    assert model.infer(data, mode=lambda feeds: np.zeros(2, bool)).route == "local"


def test_predict_and_infer_agree_on_the_local_route() -> None:
    """The shortest way of `predict` computes, checks and counts what the router does."""
    model = HybridOnnxModel(models.graded())
    quick, answer = model.predict(X), model.infer(X)
    assert_same(quick, answer.outputs)
    assert model.stats() == {"local.calls": 2, "local.rows": 2 * len(X)}


def test_a_model_that_nobody_needs_is_freed_at_once(server: EmbeddedServer) -> None:
    """Nothing of it refers back to it, so that no session waits for the garbage collector."""
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("remote"))
    model.predict(X)
    model.predict(X, use_azure=True)
    model.predict(X, mode=Cascade(threshold=0.4))
    gone = weakref.ref(model.local)
    del model
    assert gone() is None
