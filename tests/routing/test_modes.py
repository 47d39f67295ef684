"""Routing policies: who answers, who stands in, and what never falls back."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel import (
    AuthenticationFailed,
    CircuitOpen,
    ConfigurationError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridOnnxModel,
    InputMismatch,
    ProtocolError,
    TritonEndpoint,
    load_model,
    save_model,
)
from hybridmodel.flavor.artifact import read, write
from hybridmodel.routing import (
    AzureFirst,
    Cascade,
    Hedge,
    LocalFirst,
    Shadow,
    Split,
)
from hybridmodel.routing.policies import POLICIES, policy_from_dict
from hybridmodel.routing.resolver import LOCAL_POLICY, REMOTE_POLICY
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.faulty import FaultyEndpoint, Script, error, http

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
DEAD = TritonEndpoint(
    uri="http://127.0.0.1:9", model_name="big", auth_key_env=None, breaker_failures=None
)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve the big model: that of `graded` which sees everything the other way round."""
    with serve({"big": models.graded(-1.0)}) as running:
        yield running


@pytest.fixture
def model(server: EmbeddedServer) -> HybridOnnxModel:
    """Return the small model, with the big one behind its endpoint."""
    return HybridOnnxModel(models.graded(), endpoint=server.endpoint("big"))


def small(rows: Any = X) -> dict[str, np.ndarray[Any, Any]]:
    """Answer as the small model does."""
    return HybridOnnxModel(models.graded()).infer(rows).outputs


def big(rows: Any = X) -> dict[str, np.ndarray[Any, Any]]:
    """Answer as the big model does."""
    return HybridOnnxModel(models.graded(-1.0)).infer(rows).outputs


def assert_same(found: Any, wanted: Any) -> None:
    """Hold two answers against each other, to the bit."""
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable


@pytest.mark.parametrize(
    ("mode", "route", "answers"),
    [
        ("local", "local", small),
        ("azure", "azure", big),
        ("azure_first", "azure", big),
        ("local_first", "local", small),
        ("shadow", "local", small),
        (Shadow(answer="azure"), "azure", big),
        (Hedge(delay_s=20), "azure", big),
        (Split(0.0), "local", small),
        (Split(1.0), "azure", big),
        (Cascade(threshold=0.0), "local", small),
        (Cascade(threshold=float("inf")), "azure", big),
        (lambda feeds: True, "azure", big),
        (lambda feeds: np.zeros(len(feeds["x"]), bool), "local", small),
    ],
    # Not str: the address of a function is another in each process.
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_each_mode_answers_when_both_sides_do(
    model: HybridOnnxModel, mode: Any, route: str, answers: Callable[[], Any]
) -> None:
    """Whoever answers, the container is the same, and each row says who it was."""
    answer = model.infer(X, mode=mode)
    assert answer.route == route
    assert_same(answer.outputs, answers())
    assert answer.routes.tolist() == [route] * len(X)
    assert len(answer.reasons) == len(X)
    assert (answer.attempts > 0) is (route == "azure")


FAILURES: dict[str, Script] = {
    "503": http(503),
    "429": http(429),
    "gateway's 500": http(500, b"<html>"),
    "closed": lambda connection: connection.close(),
    "408": http(408),
}
NOT_FALLEN_BACK: dict[str, tuple[Script, type[Exception]]] = {
    "refused": (error(400, "bad tensor"), EndpointRefused),
    "401": (http(401), AuthenticationFailed),
    "no model": (http(404), EndpointRefused),
    "web page": (http(200, b"<html>"), ProtocolError),
}


@pytest.mark.parametrize("mode", ["azure_first", "hedge", Cascade(threshold=float("inf"))], ids=str)
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_the_local_model_stands_in_for_an_endpoint_that_cannot_answer(
    mode: Any, failure: Script
) -> None:
    """After one request and no pause, and each row names the error."""
    with FaultyEndpoint(failure) as faulty:
        model = HybridOnnxModel(models.graded(), endpoint=faulty.endpoint(max_attempts=5))
        model.client._retrier.sleep = pytest.fail
        answer = model.infer(X, mode=mode if mode != "hedge" else Hedge(delay_s=20))
        assert len(faulty.requests) == 1
    assert_same(answer.outputs, small())
    assert answer.route == "local"
    assert set(answer.reasons) <= {"EndpointUnavailable", "RateLimited", "EndpointTimeout"}


@pytest.mark.parametrize("mode", ["azure_first", "hedge", Cascade(threshold=float("inf"))], ids=str)
@pytest.mark.parametrize(("failure", "kind"), NOT_FALLEN_BACK.values(), ids=NOT_FALLEN_BACK)
def test_nothing_else_falls_back(mode: Any, failure: Script, kind: type[Exception]) -> None:
    """A refusal, a wrong key or a stranger at the address would stay unnoticed otherwise."""
    with FaultyEndpoint(failure) as faulty, pytest.raises(kind):
        HybridOnnxModel(models.graded(), endpoint=faulty.endpoint()).predict(
            X, mode=mode if mode != "hedge" else Hedge(delay_s=20)
        )


@pytest.mark.parametrize("mode", sorted(POLICIES.keys() - {"cascade"}))
def test_the_callers_mistake_is_an_error_in_every_mode(model: HybridOnnxModel, mode: str) -> None:
    """Data that does not fit falls back to nothing."""
    with pytest.raises(InputMismatch):
        model.predict(X[:, :2], mode=mode)


def test_use_azure_never_falls_back() -> None:
    """Also not on a model that was made with a policy that would."""
    model = HybridOnnxModel(models.graded(), endpoint=DEAD, routing="azure_first")
    assert_same(model.infer(X).outputs, small())
    for asked in ({"use_azure": True}, {"mode": "azure"}):
        with pytest.raises(EndpointUnavailable):
            model.predict(X, timeout=2, **asked)


def test_a_silent_endpoint_leaves_time_for_the_local_model() -> None:
    """`azure_first` gives it its share of the time and ends before the deadline of the call."""
    with FaultyEndpoint(lambda connection: time.sleep(5)) as faulty:
        model = HybridOnnxModel(models.graded(), endpoint=faulty.endpoint())
        started = time.monotonic()
        answer = model.infer(X, mode=AzureFirst(patience=0.5), timeout=1.0)
        assert time.monotonic() - started < 1.0
    assert set(answer.reasons) == {"EndpointTimeout"}


def test_an_open_breaker_costs_nothing() -> None:
    """While the endpoint is left alone nothing is sent, and the local model answers."""
    with FaultyEndpoint(http(503)) as faulty:
        endpoint = faulty.endpoint(breaker_failures=1)
        model = HybridOnnxModel(models.graded(), endpoint=endpoint, routing="azure_first")
        reasons = [set(model.infer(X).reasons) for _ in range(3)]
        assert len(faulty.requests) == 1
    assert reasons == [{"EndpointUnavailable"}, {"CircuitOpen"}, {"CircuitOpen"}]
    assert model.stats()["fallback.calls"] == 3
    with pytest.raises(CircuitOpen):
        model.predict(X, use_azure=True)


def test_falling_back_is_told_once_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    """An outage is one warning, not one for each call; the next outage is another."""
    good = http(
        200,
        b'{"outputs":[{"name":"label","datatype":"INT64","shape":[1],"data":[1]},'
        b'{"name":"probabilities","datatype":"FP32","shape":[1,3],"data":[0,1,0]}]}',
    )
    with FaultyEndpoint(http(503), http(503), good, http(503)) as faulty:
        model = HybridOnnxModel(models.graded(), endpoint=faulty.endpoint(), routing="azure_first")
        for _ in range(4):
            model.predict(X[:1])
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 2
    assert "the local model answers instead of the endpoint" in told[0].message


def test_the_endpoint_stands_in_for_a_local_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    """Its weights are gone since it was saved: `local_first` asks the endpoint, `local` raises."""
    models.save_external(onnx.load_from_string(models.linear()), tmp_path / "linear.onnx")
    with serve({"linear": models.linear()}) as running:
        endpoint = running.endpoint("linear")
        write(HybridOnnxModel(tmp_path / "linear.onnx", endpoint=endpoint), tmp_path / "saved")
        model = read(tmp_path / "saved")
        (tmp_path / "saved" / "weights.bin").unlink()
        rows = np.ones((2, 4), np.float32)
        answer = model.infer(rows, mode=LocalFirst())
        with pytest.raises(ConfigurationError):
            model.predict(rows, mode="local")
    assert answer.route == "azure"
    assert_same(answer.outputs, HybridOnnxModel(models.linear()).infer(rows).outputs)


@settings(deadline=None, max_examples=60)
@given(
    threshold=st.floats(0, 1),
    most=st.none() | st.floats(0, 1),
    rows=st.integers(1, 40),
)
def test_a_cascade_answers_each_row_by_whom_it_says(
    server: EmbeddedServer, threshold: float, most: float | None, rows: int
) -> None:
    """Rows under the threshold, and no more than allowed, are the big model's, in their place."""
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("big"))
    policy = Cascade(threshold=threshold, max_escalation=most)
    answer = model.infer(X[:rows], mode=policy)
    top = np.sort(small(X[:rows])["probabilities"].astype(float))
    margins = top[:, -1] - top[:, -2]
    np.testing.assert_allclose(answer.scores, margins, rtol=1e-6)
    gone = answer.routes == "azure"
    doubtful = answer.scores < threshold
    allowed = rows if most is None else int(most * rows)
    assert gone.sum() == min(doubtful.sum(), allowed)
    if gone.any() and not gone.all():
        assert answer.scores[gone].max() <= answer.scores[doubtful | gone][
            ~gone[doubtful | gone]
        ].min(initial=np.inf)
    for name, array in small(X[:rows]).items():
        expected = np.where(gone.reshape(-1, *[1] * (array.ndim - 1)), big(X[:rows])[name], array)
        np.testing.assert_array_equal(answer.outputs[name], expected)
    assert set(answer.reasons[gone]) <= {"unsure"}
    assert set(answer.reasons[~gone & doubtful]) <= {"over the limit"}
    assert set(answer.reasons[~gone & ~doubtful]) <= {"sure"}


def test_a_cascade_sends_the_doubtful_rows_in_one_request(server: EmbeddedServer) -> None:
    """However many there are, and nothing when there are none."""
    endpoint = server.endpoint("big", binary=True)
    model = HybridOnnxModel(models.graded(), endpoint=endpoint)
    mixed = model.infer(X, mode=Cascade(threshold=0.4))
    assert (mixed.route, mixed.attempts) == ("mixed", 1)
    kept = model.infer(X, mode=Cascade(threshold=0.0))
    assert (kept.route, kept.attempts) == ("local", 0)
    stats = model.stats()
    assert stats["azure.requests"] == 1
    assert stats["cascade.rows"] == 80
    assert stats["cascade.escalated"] == stats["azure.rows"] == (mixed.routes == "azure").sum()


def test_rows_without_a_score_are_escalated(model: HybridOnnxModel) -> None:
    """A NaN is not sure, whatever the threshold."""
    rows = X[:3].copy()
    rows[1] = np.nan
    answer = model.infer(rows, mode=Cascade(threshold=0.0))
    assert answer.routes.tolist() == ["local", "azure", "local"]
    assert np.isnan(answer.scores).tolist() == [False, True, False]


def test_what_is_left_of_a_limit_is_kept_for_the_next_calls(model: HybridOnnxModel) -> None:
    """A fifth of single rows is one row in five, not none."""
    policy = Cascade(threshold=1.0, max_escalation=0.2)
    routes = [model.infer(X[:1], mode=policy).route for _ in range(20)]
    assert routes.count("azure") == 4


@pytest.mark.parametrize("keep", [True, False])
def test_a_cascade_keeps_or_raises_when_the_endpoint_is_down(keep: bool) -> None:
    """No row is lost: the local answer stands and says why, or the call fails as a whole."""
    policy = Cascade(threshold=0.4, on_unavailable="keep" if keep else "raise")
    model = HybridOnnxModel(models.graded(), endpoint=DEAD, routing=policy)
    if not keep:
        with pytest.raises(EndpointUnavailable):
            model.predict(X, timeout=3)
        return
    answer = model.infer(X, timeout=3)
    assert_same(answer.outputs, small())
    assert answer.route == "local"
    unsure = answer.scores < 0.4
    assert set(answer.reasons[unsure]) == {"EndpointUnavailable"}
    assert set(answer.reasons[~unsure]) == {"sure"}
    assert model.stats()["cascade.kept_unavailable"] == unsure.sum()


def test_audited_rows_keep_their_answer_and_are_compared(model: HybridOnnxModel) -> None:
    """The estimate of how often the big model says something else comes with its interval."""
    policy = Cascade(threshold=0.0, audit_rate=1.0)
    answer = model.infer(X, mode=policy)
    assert_same(answer.outputs, small())
    assert (answer.route, answer.attempts) == ("local", 1)
    differ = float((small()["label"] != big()["label"]).mean())
    stats = model.stats()
    assert stats["cascade.audited"] == len(X)
    assert stats["cascade.live_risk"] == pytest.approx(differ)
    assert stats["cascade.live_risk_low"] < differ <= stats["cascade.live_risk_high"]


def test_an_audit_weighs_by_the_rows_that_were_kept(model: HybridOnnxModel) -> None:
    """The risk is of all rows, of which those that were escalated have none."""
    policy = Cascade(threshold=0.4, audit_rate=1.0)
    answer = model.infer(X, mode=policy)
    kept = answer.routes == "local"
    lost = kept & (small()["label"] != big()["label"])
    assert model.stats()["cascade.live_risk"] == pytest.approx(lost.mean())
    assert answer.attempts == 1


def test_a_slow_endpoint_is_overtaken() -> None:
    """`hedge` answers here once the delay has passed, and does not wait for the endpoint."""
    release = threading.Event()
    with FaultyEndpoint(lambda connection: release.wait(20)) as faulty:
        model = HybridOnnxModel(models.graded(), endpoint=faulty.endpoint())
        answer = model.infer(X, mode=Hedge(delay_s=0.05))
        release.set()
    assert_same(answer.outputs, small())
    assert set(answer.reasons) == {"slow endpoint"}
    assert model.stats()["hedge.calls"] == 1


@pytest.mark.parametrize("by", ["call", "row", "index"])
def test_a_split_is_always_the_same(model: HybridOnnxModel, by: str) -> None:
    """The same data goes the same way, in another process too; another salt picks others."""
    frame = pd.DataFrame(X, index=[f"customer {i}" for i in range(len(X))])
    policy = Split(0.5, by)
    first, again = (model.infer(frame, mode=policy) for _ in range(2))
    assert first.routes.tolist() == again.routes.tolist()
    if by != "call":
        assert 8 <= (first.routes == "azure").sum() <= 32
        other = model.infer(frame, mode=Split(0.5, by, salt="b"))
        assert other.routes.tolist() != first.routes.tolist()
        turned = model.infer(frame[::-1], mode=policy)
        assert turned.routes.tolist() == first.routes.tolist()[::-1]
    gone = first.routes == "azure"
    expected = np.where(gone, big()["label"], small()["label"])
    assert first.outputs["label"].tolist() == expected.tolist()


def test_a_split_takes_its_share_of_many_calls(model: HybridOnnxModel) -> None:
    """A tenth of 2,000 calls, within what chance allows."""
    from hybridmodel.data.binding import Binding
    from hybridmodel.routing.splitting import chosen

    bind = Binding(model.spec).bind
    rows = np.random.default_rng(1).normal(size=(2000, 3)).astype(np.float32)
    taken = sum(chosen(Split(0.1), bind(rows[i : i + 1])) is True for i in range(2000))
    assert 140 <= taken <= 260


def test_a_function_can_pick_rows(model: HybridOnnxModel) -> None:
    """It sees the feeds by name, and gives a yes or no for each row."""
    answer = model.infer(X, mode=lambda feeds: feeds["x"][:, 0] > 0)
    assert ((answer.routes == "azure") == (X[:, 0] > 0)).all()
    assert answer.route == "mixed"
    assert set(answer.reasons) == {"policy"}


@pytest.mark.parametrize("returned", [1, "yes", np.ones(3, bool), None, np.ones(len(X))])
def test_a_function_that_says_nothing_clear_is_an_error(
    model: HybridOnnxModel, returned: Any
) -> None:
    """True, False, or one of them for each row."""
    with pytest.raises(ConfigurationError, match="a routing function returns True, False, or 40"):
        model.predict(X, mode=lambda feeds: returned)


def test_provenance_stands_beside_the_answer(model: HybridOnnxModel) -> None:
    """Three columns for a frame, three arrays for arrays; without it nothing changes."""
    frame = pd.DataFrame(X, index=range(100, 140))
    policy = Cascade(threshold=0.4)
    plain = model.predict(frame, mode=policy)
    told = model.predict(frame, mode=policy, provenance=True)
    answer = model.infer(X, mode=policy)
    assert list(told.columns) == [*plain.columns, "route", "score", "reason"]
    pd.testing.assert_frame_equal(told[plain.columns], plain)
    assert told["route"].tolist() == answer.routes.tolist()
    assert told["score"].tolist() == answer.scores.tolist()
    arrays = model.predict(X, mode=policy, provenance=True)
    assert list(arrays) == ["label", "probabilities", "route", "score", "reason"]
    one = model.predict(frame, output="label", provenance=True)
    assert list(one.columns) == ["label", "route", "score", "reason"]
    assert one["score"].isna().all()
    assert len(model.predict(frame[:0], provenance=True)) == 0


def test_an_output_of_the_same_name_is_not_overwritten() -> None:
    """A model that has an output `score` cannot be asked for provenance in `predict`."""
    made = models.build(
        [models.helper.make_node("Identity", ["x"], ["score"])],
        [models.tensor("x", "FP32", ("N", 1))],
        [models.tensor("score", "FP32", ("N", 1))],
    )
    with pytest.raises(ConfigurationError, match="the model has outputs named 'score'"):
        HybridOnnxModel(made).predict(X[:, :1], provenance=True)


POLICIES_TO_SAVE = [
    AzureFirst(patience=0.5),
    LocalFirst(),
    Cascade(threshold=0.25, score="entropy", max_escalation=0.3, on_unavailable="raise"),
    Cascade(threshold=float("inf"), audit_rate=0.1),
    Shadow(answer="azure", share=0.5, max_pending=3),
    Split(0.25, "row", "salt"),
    Hedge(delay_s=0.5),
]


@pytest.mark.parametrize("policy", POLICIES_TO_SAVE, ids=lambda policy: policy.mode)
def test_a_policy_is_saved_with_the_model(
    server: EmbeddedServer, tmp_path: Path, policy: Any
) -> None:
    """It comes back equal, through the files and through a pickle."""
    endpoint = server.endpoint("big")
    model = HybridOnnxModel(models.graded(), endpoint=endpoint, routing=policy)
    assert policy_from_dict(policy.to_dict()) == policy
    save_model(model, tmp_path / "saved")
    assert load_model(tmp_path / "saved").routing == model.routing
    assert pickle.loads(pickle.dumps(model)).routing == model.routing


def test_a_copy_of_a_configured_model_takes_the_same_way(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """What `model_config` said counts in a pickle as well, and is the plain route it stands for."""
    write(HybridOnnxModel(models.graded(), endpoint=server.endpoint("big")), tmp_path)
    for mode, plain, answers in (("azure", REMOTE_POLICY, big), ("local", LOCAL_POLICY, small)):
        copied = pickle.loads(pickle.dumps(read(tmp_path, config={"mode": mode})))
        assert copied.policies.for_call() is plain
        assert_same(copied.infer(X).outputs, answers())


def test_modes_go_through_mlflow(server: EmbeddedServer, tmp_path: Path) -> None:
    """As a param, as configuration, and with provenance, on a model that MLflow has loaded."""
    endpoint = server.endpoint("big")
    policy = Cascade(threshold=0.4)
    model = HybridOnnxModel(models.graded(), endpoint=endpoint, routing=policy)
    save_model(model, tmp_path / "saved")
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "saved"))
    frame = pd.DataFrame(X)
    told = loaded.predict(frame, params={"provenance": True})
    assert set(told["route"]) == {"local", "azure"}
    assert set(loaded.predict(frame, params={"mode": "local", "provenance": True})["route"]) == {
        "local"
    }
    again = loaded.predict(frame, params={"mode": "cascade"})
    pd.testing.assert_frame_equal(again, told[again.columns])
    there = mlflow.pyfunc.load_model(str(tmp_path / "saved"), model_config={"mode": "azure"})
    assert there.predict(frame)["label"].tolist() == big()["label"].tolist()


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
    "damaged": (lambda: policy_from_dict({"mode": "cascade"}), "not the description of a routing"),
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
    """With what came, what was expected and what is on offer."""
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
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("big"), routing=policy)
    by_name = model.infer(X, mode="cascade")
    assert by_name.routes.tolist() == model.infer(X).routes.tolist()
    assert set(by_name.routes) == {"local", "azure"}


def test_timeouts_bound_every_mode() -> None:
    """A silent endpoint ends each call at its deadline, or before it with the local answer."""
    with FaultyEndpoint(lambda connection: time.sleep(5)) as faulty:
        model = HybridOnnxModel(models.graded(), endpoint=faulty.endpoint(breaker_failures=None))
        for mode in ("azure", "azure_first", "local_first", Hedge(0.05), Cascade(threshold=1.0)):
            started = time.monotonic()
            try:
                model.predict(X, mode=mode, timeout=0.5)
            except EndpointTimeout:
                assert mode == "azure"
            assert time.monotonic() - started < 1.0
