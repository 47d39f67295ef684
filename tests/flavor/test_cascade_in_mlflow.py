"""A calibrated cascade from the sample to production: found, saved, logged, loaded, watched."""

from __future__ import annotations

import io
import json
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from hybridmodel import (
    Calibration,
    ConfigurationError,
    HybridOnnxModel,
    MissingDependency,
    calibrate,
    load_model,
    log_model,
    save_model,
)
from hybridmodel.cli.program import program
from hybridmodel.routing import Cascade
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.mlflow_tools import tracked_at

RANDOM = np.random.default_rng(7)
X = RANDOM.normal(size=(2000, 3)).astype(np.float32)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])


def tilted(by: float = 0.3) -> bytes:
    """Make a big model that differs from `graded` where the two best classes are near."""
    return models.build(
        [
            models.helper.make_node("Add", ["x", "tilt"], ["logits"]),
            models.helper.make_node("Softmax", ["logits"], ["probabilities"]),
            models.helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
        ],
        [models.tensor("x", "FP32", ("N", 3))],
        [models.tensor("label", "INT64", ("N",)), models.tensor("probabilities", "FP32", ("N", 3))],
        {"tilt": np.array([by, 0.0, -by], np.float32)},
    )


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve the big model."""
    with serve({"big": tilted()}) as running:
        yield running


@pytest.fixture(scope="module")
def found(server: EmbeddedServer) -> Calibration:
    """Calibrate without labels, for one row in fifty."""
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("big"))
    return calibrate(model, FRAME, epsilon=0.02)


@pytest.fixture
def model(server: EmbeddedServer, found: Calibration) -> HybridOnnxModel:
    """Return the small model with its calibrated cascade."""
    policy = Cascade(calibration=found)
    return HybridOnnxModel(models.graded(), endpoint=server.endpoint("big"), routing=policy)


def test_a_calibrated_cascade_keeps_its_promise_on_new_rows(
    server: EmbeddedServer, model: HybridOnnxModel, found: Calibration
) -> None:
    """Of 20,000 other rows about the expected share goes on, and few of the kept ones differ."""
    rows = np.random.default_rng(8).normal(size=(20_000, 3)).astype(np.float32)
    answer = model.infer(rows)
    gone = answer.routes == "azure"
    low, high = found.escalation_interval
    assert 0 < found.escalation < 1
    assert low - 0.02 < gone.mean() < high + 0.02
    big = HybridOnnxModel(tilted()).infer(rows).outputs["label"]
    assert (answer.outputs["label"] != big).mean() <= 0.02


def test_score_and_threshold_may_be_said_again_and_nothing_else(found: Calibration) -> None:
    """What agrees with the calibration is fine; what does not is refused."""
    assert Cascade(calibration=found, score="margin").threshold == found.threshold
    for other in ({"threshold": 0.9}, {"score": "entropy"}):
        with pytest.raises(ConfigurationError, match="pass either the calibration or these two"):
            Cascade(calibration=found, **other)


def test_a_calibration_of_another_model_is_refused(
    server: EmbeddedServer, found: Calibration
) -> None:
    """At construction, with both hashes."""
    with pytest.raises(ConfigurationError, match="made with another local model"):
        HybridOnnxModel(
            models.graded(2.0), endpoint=server.endpoint("big"), routing=Cascade(calibration=found)
        )


def test_a_calibration_for_another_endpoint_is_warned_of(
    model: HybridOnnxModel, server: EmbeddedServer, found: Calibration
) -> None:
    """At construction and where a call names it, once each, with both addresses and a way out."""
    policy, other = (
        Cascade(calibration=found),
        server.endpoint("big").with_overrides(model_name="b"),
    )
    said = r"endpoint is \S+/b\b.*, but the calibration was made with \S+/big\b.*: calibrate again"
    with pytest.warns(UserWarning, match=said) as caught:
        HybridOnnxModel(model.local, endpoint=other, routing=policy)
    with pytest.warns(UserWarning, match=said) as called:
        HybridOnnxModel(model.local, endpoint=other).predict(X[:0], mode=policy)
    assert [item.filename for item in (*caught, *called)] == [__file__, __file__]


def test_it_is_saved_with_the_model_and_warns_of_another_endpoint(
    model: HybridOnnxModel, tmp_path: Path
) -> None:
    """What is loaded equals what was saved; with another endpoint the promise is in doubt."""
    save_model(model, tmp_path / "saved")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_model(tmp_path / "saved")
    assert loaded.routing == model.routing
    assert loaded.infer(X[:50]).routes.tolist() == model.infer(X[:50]).routes.tolist()
    with pytest.warns(UserWarning, match="calibrate again"):
        load_model(tmp_path / "saved", model_config={"model_name": "bigger"})


@pytest.mark.parametrize("server_of", ["new_tracking_server", "old_tracking_server"])
def test_it_is_logged_with_the_model(
    model: HybridOnnxModel, server_of: str, request: pytest.FixtureRequest
) -> None:
    """Numbers are metrics of the run, the promise is a tag; record and picture are artifacts."""
    with tracked_at(request.getfixturevalue(server_of)), mlflow.start_run() as run_:
        log_model(model, name="graded")
        client = mlflow.MlflowClient()
        metrics = client.get_run(run_.info.run_id).data.metrics
        tags = client.get_run(run_.info.run_id).data.tags
        names = {item.path for item in client.list_artifacts(run_.info.run_id)}
        text = mlflow.artifacts.load_text(f"runs:/{run_.info.run_id}/calibration.json")
    calibration = getattr(model.routing, "calibration")  # noqa: B009 - of a cascade
    assert tags["hybridmodel.promise"].startswith("with 90% confidence at most 2.00% of all rows")
    assert metrics["calibration_escalation"] == pytest.approx(calibration.escalation)
    assert metrics["calibration_epsilon"] == 0.02
    assert {"calibration.json", "calibration.png"} <= names
    assert Calibration.from_json(text) == calibration


@pytest.mark.parametrize(("tilt", "holds"), [(0.3, 1), (1.5, 0)])
def test_an_audit_notices_when_the_promise_is_broken(
    found: Calibration, tilt: float, holds: int
) -> None:
    """It holds for the model of the calibration, and not once another one is deployed there."""
    rows = np.random.default_rng(9).normal(size=(3000, 3)).astype(np.float32)
    with serve({"big": tilted(tilt)}) as changed:
        endpoint = changed.endpoint("big")
        same = replace(found, endpoint=endpoint.model_url)
        policy = Cascade(calibration=same, audit_rate=1.0)
        model = HybridOnnxModel(models.graded(), endpoint=endpoint, routing=policy)
        model.predict(rows)
    stats = model.stats()
    assert stats["cascade.promise_holds"] == holds
    assert (stats["cascade.live_risk_low"] <= 0.02) is bool(holds)


def run(*args: str, status: int = 0) -> str:
    """Run the program in this process, and return what it printed."""
    result = CliRunner().invoke(program, list(args))
    assert result.exit_code == status, result.output
    return result.output if status else result.stdout


@pytest.fixture
def files(server: EmbeddedServer, tmp_path: Path) -> Path:
    """Save the model without a policy, and a sample with labels."""
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("big"))
    save_model(model, tmp_path / "saved")
    labels = HybridOnnxModel(tilted()).predict(FRAME, output="label")
    FRAME.assign(y=labels.to_numpy()).to_csv(tmp_path / "sample.csv", index=False)
    FRAME.head(10).to_csv(tmp_path / "few.csv", index=False)
    return tmp_path


def test_the_command_calibrates(files: Path) -> None:
    """It prints the promise, writes what it found and draws it."""
    asked = ["calibrate", str(files / "saved"), str(files / "sample.csv")]
    asked += ["--labels", "y", "--epsilon", "0.02"]
    text = run(*asked, "-o", str(files / "found.json"), "--plot", str(files / "curve.png"))
    assert "promise: at most 2.00% of all rows are kept at a loss" in text
    found = Calibration.from_json((files / "found.json").read_text())
    assert found.accuracy is not None
    assert found.accuracy.big == 1.0
    assert (files / "curve.png").read_bytes().startswith(b"\x89PNG")
    printed = CliRunner().invoke(program, [*asked, "--json"]).stdout
    assert json.loads(printed)["threshold"] == found.threshold


def test_the_command_asks_for_few_rows_and_for_none_twice(files: Path) -> None:
    """A random part of the sample is enough, its answers are kept, and then nobody is asked."""
    asked = ["calibrate", str(files / "saved"), str(files / "sample.csv"), "--labels", "y"]
    asked += ["--epsilon", "0.02", "--answers", str(files / "answers.arrow"), "--json"]
    first = json.loads(run(*asked, "--subsample", "50"))
    again = json.loads(run(*asked, "--subsample", "50", "--no-ask"))
    whole = json.loads(run(*asked, "--subsample", str(len(FRAME))))
    assert 50 <= first["asked_rows"] < len(FRAME)
    assert again["asked_rows"] == 0
    assert whole["asked_rows"] == len(FRAME) - first["asked_rows"]
    assert first["threshold"] == again["threshold"] == whole["threshold"]


def test_the_command_promises_what_the_library_promises(
    model: HybridOnnxModel, files: Path
) -> None:
    """Another promise, groups by a column that is no feature or is one, and a cost."""
    rows = pd.read_csv(files / "sample.csv").assign(site=lambda frame: frame.index % 2)
    rows.to_csv(files / "sites.csv", index=False)
    columns = list(FRAME)
    named = HybridOnnxModel(model.local, endpoint=model.endpoint, feature_names=columns)
    save_model(named, files / "named")
    asked = ["calibrate", str(files / "named"), str(files / "sites.csv"), "--labels", "y"]
    asked += ["--json", "--ignore-extra", "--epsilon", "0.05"]
    for options, wanted in (
        (["--promise", "accuracy"], {"promise": "accuracy"}),
        (["--by", "site"], {"by": rows["site"]}),
        (["--cost-remote", "0.001"], {"cost_remote": 0.001}),
    ):
        printed = json.loads(run(*asked, *options))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About a class that loses more than others.
            expected = calibrate(named, rows[columns], rows["y"], epsilon=0.05, **wanted)
        assert printed["threshold"] == expected.threshold
        assert len(printed.get("groups") or ()) == len(expected.groups or ())
    refused = CliRunner().invoke(program, [*asked, "--by", columns[0]])
    assert "by has 2000 groups" in refused.stderr
    refused = CliRunner().invoke(program, [*asked, "--by", "region"])
    assert refused.exit_code == 2
    assert "--by: " in refused.stderr
    assert "has no column 'region'" in refused.stderr


def test_the_command_says_when_there_are_too_few_rows(files: Path) -> None:
    """Everything has to be escalated then, and the status is 1."""
    text = run(
        "calibrate", str(files / "saved"), str(files / "few.csv"), "--epsilon", "0.02", status=1
    )
    assert "too few to keep this promise" in text
    assert "114 are needed" in text


def test_the_command_closes_the_loop(
    files: Path, new_tracking_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found becomes a version of its own, with the signature as it was, and is shown."""
    saved, sample = str(files / "saved"), str(files / "sample.csv")
    monkeypatch.chdir(files)
    with tracked_at(new_tracking_server):
        asked = ["calibrate", saved, sample, "--labels", "y", "--epsilon", "0.02"]
        text = run(*asked, "--log", "models:/graded", "--alias", "challenger", "-o", "found.json")
        assert re.search(
            r"^\d+ more rows? allows? one more loss: \d+ instead of \d+$", text, re.MULTILINE
        )
        uri = "models:/graded@challenger"
        shown = run("inspect", uri)
        described = json.loads(run("inspect", uri, "--json"))
        signature = mlflow.models.get_model_info(uri).signature
        name = mlflow.MlflowClient().get_model_version_by_alias("graded", "challenger").run_id
        metrics = mlflow.MlflowClient().get_run(name).data.metrics
        loaded = load_model(uri)
    found = Calibration.from_json((files / "found.json").read_text())
    assert loaded.routing == Cascade(calibration=found)
    assert signature == mlflow.models.get_model_info(saved).signature
    assert metrics["calibration_rows"] == found.rows
    assert "promise: at most 2.00% of all rows are kept at a loss" in shown
    assert described["defaults"]["route"] == "cascade"
    assert described["calibration"]["threshold"] == found.threshold
    assert described["calibration"]["text"] == str(found)


def test_the_command_predicts_by_a_calibration_or_a_threshold(
    model: HybridOnnxModel, found: Calibration, files: Path
) -> None:
    """The rows under the threshold go to the endpoint, as they do in the library."""
    (files / "found.json").write_text(found.to_json())
    saved, rows = str(files / "saved"), str(files / "sample.csv")
    said = ["predict", saved, rows, "--id-column", "y", "--provenance", "--output-name", "label"]
    for options, policy in (
        (["--calibration", str(files / "found.json")], Cascade(calibration=found)),
        (["--threshold", "0.3"], Cascade(0.3)),
        (["--threshold", "0.9", "--score", "entropy"], Cascade(0.9, "entropy")),
        (["--threshold", "0.3", "--mode", "cascade"], Cascade(0.3)),
    ):
        written = pd.read_csv(io.StringIO(run(*said, *options)))
        expected = model.infer(FRAME, output="label", mode=policy)
        assert written["route"].tolist() == expected.routes.tolist()
        assert written["label"].tolist() == expected.outputs["label"].tolist()
        assert len(set(written["route"])) == 2


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("predict --calibration missing.json", "missing.json: "),
        ("predict --calibration sample.csv", "sample.csv: not the description of a calibration"),
        ("predict --threshold 2", "has to be a number from 0 to 1"),
        ("predict --threshold 0.2 --local", "are for a cascade: leave out --use-azure, --local"),
        ("predict --threshold 0.2 --max-remote-rows 3 -o out.csv", "limits of a budget"),
        ("predict --threshold 0.2 --calibration sample.csv", "give --calibration"),
        ("predict --score margin", "--score needs --threshold"),
        ("calibrate --epsilon 0.1 --alias new", "--alias needs --log"),
        ("calibrate --epsilon 0.1 --log graded", "write models:/NAME, without a version"),
        ("calibrate --epsilon 0.1 --log models:/graded/3", "write models:/NAME, without a version"),
    ],
)
def test_options_of_cascades_that_do_not_go_together(
    files: Path, monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    """The error says which, in one line, before anything is answered."""
    monkeypatch.chdir(files)
    verb, *options = command.split()
    text = run(verb, "saved", "sample.csv", *options, status=2)
    assert said in " ".join(text.split())
    assert text.count("\n") == 1
    assert not (files / "out.csv").exists()


def test_a_registry_that_is_away_loses_nothing(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calibration is written before it is logged, and the error is one line."""
    monkeypatch.chdir(files)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    asked = ["calibrate", "saved", "sample.csv", "--labels", "y", "--epsilon", "0.02"]
    result = CliRunner().invoke(program, [*asked, "-o", "found.json", "--log", "models:/graded"])
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert Calibration.from_json((files / "found.json").read_text()).rows == len(FRAME)
    assert "threshold" in result.stdout


def test_what_escalates_everything_is_not_logged(files: Path) -> None:
    """A version that keeps nothing would be no cascade; the line says how many rows it takes."""
    text = run(
        "calibrate", str(files / "saved"), str(files / "few.csv"), "--epsilon", "0.02",
        "--log", "models:/never", status=1,
    )  # fmt: skip
    assert "104 more rows allow a promise that does not escalate everything" in text
    assert "logged as" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--labels", "z", "--epsilon", "0.02"], "has no column 'z'"),
        (["--labels", "y", "--epsilon", "2"], "epsilon is a number between 0 and 1"),
        (["--labels", "y", "--epsilon", "0.02", "--score", "luck"], "'luck' is not one of"),
    ],
)
def test_the_command_names_mistakes(files: Path, arguments: list[str], said: str) -> None:
    """In one line, with status 2, and nothing is written."""
    target = files / "found.json"
    text = run(
        "calibrate", str(files / "saved"), str(files / "sample.csv"), *arguments,
        "-o", str(target), status=2,
    )  # fmt: skip
    assert said in text
    assert not target.exists()


@pytest.mark.parametrize("missing", ["scipy", "matplotlib"])
def test_a_library_that_is_missing_is_named(
    found: Calibration, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Bounds need scipy, plots matplotlib; the error says what to install."""
    from hybridmodel.cascade.bounds import upper_bound

    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, missing, None)
    attempt: Any = found.plot if missing == "matplotlib" else lambda: upper_bound(1, 10, 0.1)
    with pytest.raises(MissingDependency, match=f"needs {missing}, .*: pip install hybridmodel"):
        attempt()
