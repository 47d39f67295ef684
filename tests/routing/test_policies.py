"""Policies as values: saved, copied, configured, and refused where they cannot work."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hybridmodel import (
    ConfigurationError,
    HybridOnnxModel,
    InputMismatch,
    load_model,
    save_model,
)
from hybridmodel.flavor.artifact import read, write
from hybridmodel.routing import (
    AzureFirst,
    Budget,
    Cascade,
    Hedge,
    LocalFirst,
    Shadow,
    Split,
)
from hybridmodel.routing.policies import policy_from_dict
from hybridmodel.routing.resolver import LOCAL_POLICY, REMOTE_POLICY
from hybridmodel.serving import EmbeddedServer
from tests.support import models
from tests.support.two_routes import DEAD, X, assert_same, local_outputs, remote_outputs

POLICIES_TO_SAVE = [
    AzureFirst(patience=0.5),
    LocalFirst(),
    Cascade(threshold=0.25, score="entropy", max_escalation=0.3, on_unavailable="raise"),
    Cascade(threshold=float("inf"), audit_rate=0.1),
    Budget(0.05, score="entropy", on_unavailable="raise", audit_rate=0.1),
    Budget(rows=7),
    Budget(cost=2.5, cost_per_call=0.01, cost_per_row=0.001),
    Shadow(answer="azure", share=0.5, max_pending=3),
    Split(0.25, "row", "salt"),
    Hedge(delay_s=0.5),
]


@pytest.mark.parametrize("policy", POLICIES_TO_SAVE, ids=lambda policy: policy.mode)
def test_a_policy_is_saved_with_the_model(
    server: EmbeddedServer, tmp_path: Path, policy: Any
) -> None:
    """It comes back equal, through the files and through a pickle."""
    endpoint = server.endpoint("remote")
    model = HybridOnnxModel(models.graded(), endpoint=endpoint, routing=policy)
    assert policy_from_dict(policy.to_dict()) == policy
    save_model(model, tmp_path / "saved")
    assert load_model(tmp_path / "saved").routing == model.routing
    assert pickle.loads(pickle.dumps(model)).routing == model.routing


def test_a_copy_of_a_configured_model_takes_the_same_way(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """What `model_config` said counts in a pickle as well, and is one of the two constants."""
    write(HybridOnnxModel(models.graded(), endpoint=server.endpoint("remote")), tmp_path)
    for mode, plain, answers in (
        ("azure", REMOTE_POLICY, remote_outputs),
        ("local", LOCAL_POLICY, local_outputs),
    ):
        copied = pickle.loads(pickle.dumps(read(tmp_path, config={"mode": mode})))
        assert copied.policies.for_call() is plain
        assert_same(copied.infer(X).outputs, answers())


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown mode": (lambda: made(routing="edge"), "routing is one of local, azure, azure_first"),
    "no policy": (lambda: made(routing=5), "or a policy; not int"),
    "a class": (lambda: made(routing=Hedge), "or a policy; not type"),
    "a function for good": (lambda: made(routing=lambda feeds: True), "give a function as mode="),
    "no threshold": (lambda: made(routing="cascade"), "a cascade needs a threshold"),
    "two routes": (lambda: made(routing="azure", use_azure=True), "pass use_azure or routing, not"),
    "no endpoint": (
        lambda: HybridOnnxModel(models.graded(), routing="azure_first"),
        "mode 'azure_first' needs an endpoint",
    ),
    "threshold": (lambda: Cascade(threshold=1.5), "a number from 0 to 1"),
    "threshold NaN": (lambda: Cascade(threshold=float("nan")), "a number from 0 to 1"),
    "score": (lambda: Cascade(threshold=0.5, score="certainty"), "'certainty' is not one of"),
    "on_unavailable": (lambda: Cascade(threshold=0.5, on_unavailable="x"), "'keep' or 'raise'"),
    "max_escalation": (lambda: Cascade(threshold=0.5, max_escalation=2), "from 0 to 1, not 2"),
    "audit_rate": (lambda: Cascade(threshold=0.5, audit_rate="0.1"), "audit_rate is a number"),
    "budget without a limit": (lambda: made(routing="budget"), "a budget has exactly one limit"),
    "budget with two limits": (lambda: Budget(0.1, rows=5), "a budget has exactly one limit"),
    "budget share": (lambda: Budget(1.5), "share is a number from 0 to 1, not 1.5"),
    "budget rows": (lambda: Budget(rows=-1), "rows is a whole number from 0"),
    "budget cost": (lambda: Budget(cost=-1, cost_per_row=1), "cost is a number from 0 up"),
    "budget cost of nothing": (lambda: Budget(cost=5), "cost goes with what a request or a row"),
    "budget cost without cost": (lambda: Budget(0.5, cost_per_row=1), "cost goes with what a"),
    "budget on_unavailable": (lambda: Budget(0.5, on_unavailable="x"), "'keep' or 'raise'"),
    "budget score function": (
        lambda: Budget(0.5, score=lambda outputs: outputs["label"]).to_dict(),
        "cannot be stored",
    ),
    "budget without rows to divide": (
        lambda: HybridOnnxModel(models.mean(), endpoint=DEAD, routing=Budget(0.5)),
        "the model's outputs are y",
    ),
    "damaged budget": (lambda: policy_from_dict({"mode": "budget"}), "not a stored routing policy"),
    "patience": (lambda: AzureFirst(0.0), "above 0 and up to 1"),
    "split by": (lambda: Split(0.5, "user"), "'call', 'row' or 'index', not 'user'"),
    "salt": (lambda: Split(0.5, salt=5), "salt is a str"),
    "shadow": (lambda: Shadow(answer="both"), "'local' or 'azure', not 'both'"),
    "pending": (lambda: Shadow(max_pending=0), "from 1 to 10000"),
    "delay": (lambda: Hedge(0), "positive number of seconds"),
    "no such output": (
        lambda: made(routing=Cascade(threshold=0.5, score="margin:p")),
        "probabilities",
    ),
    "no score to make": (
        lambda: HybridOnnxModel(models.strings(), endpoint=DEAD, routing=Cascade(threshold=0.5)),
        "the model's outputs are",
    ),
    "no rows to divide": (
        lambda: HybridOnnxModel(models.mean(), endpoint=DEAD, routing=Cascade(threshold=0.5)),
        "the model's outputs are y",
    ),
    "damaged": (lambda: policy_from_dict({"mode": "cascade"}), "not a stored routing policy"),
    "score function": (
        lambda: Cascade(threshold=0.5, score=lambda outputs: outputs["label"]).to_dict(),
        "cannot be stored",
    ),
}


def made(**options: Any) -> HybridOnnxModel:
    """Make a model with an endpoint that is never asked."""
    return HybridOnnxModel(models.graded(), endpoint=DEAD, **options)


@pytest.mark.parametrize(("attempt", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_policy_that_cannot_work_is_refused_at_once(
    attempt: Callable[[], Any], said: str
) -> None:
    """The message says what was given and what is possible."""
    with pytest.raises(ConfigurationError, match=said):
        attempt()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"mode": "edge"}, "mode is one of local, azure"),
        ({"mode": "x" * 50}, "not str"),
        ({"mode": "cascade"}, "needs a threshold"),
        ({"mode": "azure", "use_azure": True}, "pass use_azure or mode, not both"),
        ({"mode": Split(0.5, "index")}, "needs a DataFrame"),
    ],
)
def test_a_call_that_cannot_be_understood_is_refused(
    model: HybridOnnxModel, call: dict[str, Any], said: str
) -> None:
    """Nothing is computed or sent."""
    with pytest.raises((ConfigurationError, InputMismatch), match=said):
        model.predict(X, **call)
    assert "local.calls" not in model.stats()


def test_a_named_mode_takes_the_settings_of_the_model(server: EmbeddedServer) -> None:
    """`mode="cascade"` on a model made with a cascade is that cascade."""
    policy = Cascade(threshold=0.4)
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("remote"), routing=policy)
    by_name = model.infer(X, mode="cascade")
    assert by_name.routes.tolist() == model.infer(X).routes.tolist()
    assert set(by_name.routes) == {"local", "azure"}
