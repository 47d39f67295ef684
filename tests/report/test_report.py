"""The report: what it finds in both sides' answers, and how the command ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from onnx import helper

from hybridmodel import (
    ConfigurationError,
    HybridOnnxModel,
    InputMismatch,
    TritonEndpoint,
    load_model,
    save_model,
)
from hybridmodel.calibrating import calibrate
from hybridmodel.cli.program import program
from hybridmodel.cli.report import without_user
from hybridmodel.report import Findings, Gatherer, render
from hybridmodel.routing import Cascade
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.command_line import messages
from tests.support.report_pages import EVIL, checked, findings

KEY = "canary-5d0c9a17be"
KEY_ENV = "HYBRIDMODEL_API_KEY"
COLUMNS = ["a", "b", "c", "d"]
LABELS = ("no", "perhaps", "yes")

Cli = Callable[..., Result]


def frame(rows: int = 60, seed: int = 7) -> pd.DataFrame:
    """Make rows for the models of four features."""
    values = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    return pd.DataFrame(values, columns=COLUMNS)


def right(rows: pd.DataFrame) -> Any:
    """Return the true classes of rows."""
    return np.array(LABELS)[rows.to_numpy()[:, :3].argmax(axis=1)]


def coarse() -> bytes:
    """Make a classifier like `models.classifier` that sees nothing of the third feature."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    x = random.normal(size=(60, 4)).astype(np.float32)
    y = np.array(LABELS)[np.argmax(x[:, :3], axis=1)]
    x[:, 2] = 0
    made = to_onnx(
        LogisticRegression().fit(x, y), x[:1], options={"zipmap": False}, target_opset=17
    )
    return made.SerializeToString()


def with_std(seed: int) -> bytes:
    """Make ``y`` [N, 1] = x w and ``std`` [N, 1] = |y|, for ``x`` [N, 4]."""
    weights = np.random.default_rng(seed).normal(size=(4, 1)).astype(np.float32)
    return models.build(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Abs", ["y"], ["std"])],
        [models.tensor("x", "FP32", ("N", 4))],
        [models.tensor("y", "FP32", ("N", 1)), models.tensor("std", "FP32", ("N", 1))],
        {"w": weights},
    )


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve the bigger models behind the key."""
    offered = {
        **models.served(),
        "std": with_std(1),
        "other": models.linear(4, 1, seed=5),
        "wide": models.linear(20, 1, seed=5),
    }
    with serve(offered, auth_key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, server: EmbeddedServer) -> Path:
    """Save one folder for each model."""
    folder = tmp_path_factory.mktemp("models")
    for name, data, there, options in (
        ("coarse", coarse(), "classifier", {"feature_names": COLUMNS}),
        ("same", models.classifier(), "classifier", {}),
        ("cascade", coarse(), "classifier", {"routing": Cascade(threshold=0.4)}),
        ("zipmap", models.classifier(zipmap=True), "zipmap", {}),
        ("linear", models.linear(4, 1), "other", {"feature_names": COLUMNS}),
        ("std", with_std(0), "std", {}),
        ("wide", models.linear(20, 1), "wide", {}),
        ("two_inputs", models.two_inputs(), "two_inputs", {}),
        ("strings", models.strings(), "strings", {}),
        ("lookup", models.lookup(), "lookup", {}),
        ("fixed", models.identity("FP32", (2, 3)), "fixed", {}),
        ("gone", models.linear(), "gone", {}),
    ):
        endpoint = TritonEndpoint(uri=server.uri, model_name=there)
        save_model(HybridOnnxModel(data, endpoint=endpoint, **options), folder / name)
    save_model(HybridOnnxModel(models.linear()), folder / "lone")
    dead = TritonEndpoint(uri="http://127.0.0.1:9", model_name="linear")
    save_model(HybridOnnxModel(models.linear(), endpoint=dead), folder / "dead")
    return folder


@pytest.fixture
def coarse_model(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> HybridOnnxModel:
    """Return a model that is worse than its endpoint."""
    monkeypatch.setenv(KEY_ENV, KEY)
    endpoint = TritonEndpoint(uri=server.uri, model_name="classifier")
    return HybridOnnxModel(coarse(), endpoint=endpoint, feature_names=COLUMNS)


@pytest.fixture
def cli(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run ``report`` beside the models and `tmp_path`; check what holds for every ending."""
    monkeypatch.setenv(KEY_ENV, KEY)
    monkeypatch.chdir(tmp_path)
    frame().to_csv("rows.csv", index=False)
    frame().assign(truth=right(frame())).to_csv("labelled.csv", index=False)

    def run(model: str, *args: object, status: int = 0) -> Result:
        before = {path: path.read_bytes() for path in tmp_path.glob("*.htm*")}
        result = CliRunner().invoke(program, ["report", str(saved / model), *map(str, args)])
        assert result.exit_code == status, result.output
        assert result.stdout == ""
        assert KEY not in result.output
        assert not list(tmp_path.glob(".*")), "nothing half-written is left"
        if status:
            assert {path: path.read_bytes() for path in tmp_path.glob("*.htm*")} == before
            said = messages(result.stderr)
            assert said.startswith("Error: ")
            assert said.count("\n") == 1
        for page in tmp_path.glob("*.htm*"):
            assert KEY not in page.read_text()
        return result

    return run


def test_findings(coarse_model: HybridOnnxModel) -> None:
    """A gatherer counts what both sides say and what is right, and keeps rows that differ."""
    rows = frame(300)
    truth = right(rows)
    gatherer = Gatherer(coarse_model)
    gatherer.add(rows, pd.Series(truth))
    found = gatherer.findings("m")
    here = coarse_model.infer(rows, use_azure=False).outputs
    there = coarse_model.infer(rows, use_azure=True).outputs
    small, big = here["label"], there["label"]
    assert found.summary.agreed == (small == big).sum()
    assert found.labelled is not None
    assert found.labelled.local == (small == truth).mean()
    assert found.labelled.remote == (big == truth).mean()
    assert found.labelled.both == ((small == truth) & (big == truth)).sum()
    perhaps = found.labelled.classes[1]
    assert (perhaps.label, perhaps.rows) == ("perhaps", (truth == "perhaps").sum())
    assert perhaps.remote == ((truth == "perhaps") & (big == truth)).sum()
    assert found.escalation is not None
    curve = found.escalation.curve
    assert curve.accuracy is not None
    assert (curve.accuracy[0], curve.accuracy[-1]) == (found.labelled.local, found.labelled.remote)
    assert curve.risk[0] == ((big == truth) & (small != truth)).mean()
    assert found.escalation.chosen is None
    top = np.sort(here["probabilities"], axis=1)
    margins = (top[:, -1] - top[:, -2])[small != big]
    assert [row.score for row in found.rows] == pytest.approx(np.sort(margins)[::-1][:50].tolist())
    row = found.rows[0]
    assert (row.local, row.remote, row.label) == (
        small[row.position],
        big[row.position],
        truth[row.position],
    )
    assert row.inputs == pytest.approx(rows.iloc[row.position].to_dict(), rel=1e-6)


def test_batches_do_not_matter(coarse_model: HybridOnnxModel) -> None:
    """However the rows come, the same is found."""
    rows = frame(100)
    truth = pd.Series(right(rows))

    def found(size: int) -> Findings:
        gatherer = Gatherer(coarse_model)
        gatherer.add(rows[:0], truth[:0])
        for start in range(0, 100, size):
            gatherer.add(rows[start : start + size], truth[start : start + size])
        made = gatherer.findings("m")
        outputs = tuple(
            replace(item, mean_abs_diff=round(item.mean_abs_diff or 0, 5))
            for item in made.summary.outputs
        )
        summary = replace(made.summary, calls=0, latency={}, outputs=outputs)
        return replace(made, summary=summary, durations=findings().durations)

    whole, parts = found(100), found(7)
    assert sorted(whole.summary.pairs, key=str) == sorted(parts.summary.pairs, key=str)
    same = {"pairs": ()}
    assert replace(whole, summary=replace(whole.summary, **same)) == replace(
        parts, summary=replace(parts.summary, **same)
    )


def test_numbers(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For numbers, both sides' values and their distances from the labels are found."""
    monkeypatch.setenv(KEY_ENV, KEY)
    model, rows = load_model(saved / "std"), frame(200)
    here = model.infer(rows).outputs["y"][:, 0].astype(float)
    there = model.infer(rows, use_azure=True).outputs["y"][:, 0].astype(float)
    labels = there + 0.25
    gatherer = Gatherer(model, score="uncertainty:std", answer="y", tolerance=0.5)
    gatherer.add(rows, pd.Series(labels))
    found = gatherer.findings("m")
    assert found.numbers is not None
    assert sum(found.numbers.counts) == 200
    assert found.numbers.edges[0] == pytest.approx((there - here).min())
    assert found.numbers.remote_errors is not None
    assert found.numbers.remote_errors.mean_abs == pytest.approx(0.25)
    assert found.summary.agreed == (np.abs(there - here) <= 0.5).sum()
    assert found.labelled is not None
    assert found.labelled.remote == 1.0
    assert found.labelled.classes == ()
    assert found.escalation is not None
    assert found.escalation.curve.risk[0] == (np.abs(here - labels) > 0.5).mean()
    checked(render(found))


def test_rows_that_are_no_numbers(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a side gives no finite number, the row is left out of the pictures and said to be."""
    monkeypatch.setenv(KEY_ENV, KEY)
    rows = frame(5)
    rows.iloc[:, 0] = [np.nan] * 4 + [1.0]
    for share in (1, 0):
        gatherer = Gatherer(load_model(saved / "linear"))
        gatherer.add(rows.iloc[: 4 + share])
        found = gatherer.findings("m")
        assert found.numbers is not None
        assert found.numbers.skipped == 4
        assert len(found.numbers.pairs) == share
        checked(render(found))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"score": "confidence:nothing"}, "no output 'nothing'"),
        ({"score": "loudness"}, "is not one of"),
        ({"answer": "nothing"}, "no output 'nothing'"),
        ({"tolerance": 0.1, "answer": "probabilities"}, "not one number for each row"),
    ],
)
def test_what_the_model_cannot_give_is_refused(
    coarse_model: HybridOnnxModel, options: dict[str, Any], said: str
) -> None:
    """Nobody is asked for anything before it is known that the report can be made."""
    with pytest.raises(ConfigurationError, match=said):
        Gatherer(coarse_model, **options)
    assert coarse_model.stats().get("azure.requests", 0) == 0


def test_labels_as_files_have_them(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that are read as text, or texts that look like numbers, are the model's classes."""
    monkeypatch.setenv(KEY_ENV, KEY)
    rows = frame(6)
    for labels, column in (((0, 1, 2), "012012"), (("0", "1", "2"), [0, 1, 2, 0, 1, 2])):
        data = models.classifier(labels=labels)
        with serve({"m": data}) as there:
            endpoint = TritonEndpoint(uri=there.uri, model_name="m", auth_key_env=None)
            gatherer = Gatherer(HybridOnnxModel(data, endpoint=endpoint))
            gatherer.add(rows, pd.Series(list(column)))
            found = gatherer.findings("m").labelled
            assert found is not None
            assert found.rows == 6


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series(["x"] * 6),
        pd.Series([0.5] * 6),
        pd.Series([0, 1, None] * 2),
        pd.Series(["no", None] * 3),
        pd.Series(pd.to_datetime(["2024-01-01"] * 6)),
    ],
)
def test_labels_of_another_kind(saved: Path, labels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that no class of the model can be are refused."""
    monkeypatch.setenv(KEY_ENV, KEY)
    gatherer = Gatherer(load_model(saved / "same"))

    def report() -> None:
        gatherer.add(frame(6), labels)
        gatherer.findings("m")

    with pytest.raises(InputMismatch, match="label"):
        report()


def test_the_command(cli: Cli, tmp_path: Path, server: EmbeddedServer, saved: Path) -> None:
    """The page says what was compared with what, and how it came out."""
    result = cli("coarse", "labelled.csv", "--labels", "truth", "-o", "page.html")
    assert result.stderr.startswith("page.html: 60 rows asked; both agree on ")
    read = checked((tmp_path / "page.html").read_text())
    for words in (
        load_model(saved / "coarse").onnx.sha256,
        f"{server.uri}/v2/models/classifier/versions/1",
        "60 of labelled.csv",
        "column truth",
        "margin:probabilities",
        "Right by label",
        "Calls of one row each, one after the other, both sides in turn: 50",
    ):
        assert words in read.text
    assert len(read.all("svg")) == 3


def test_the_models_own_threshold(cli: Cli, tmp_path: Path) -> None:
    """A model that was saved with a cascade shows what its threshold does to the rows."""
    frame().to_csv("rows.csv", index=False)
    cli("cascade", "rows.csv", "--calls", 0)
    read = checked((tmp_path / "report.html").read_text())
    assert "The threshold that the model was saved with, 0.4" in read.text
    assert "Calls for all rows: 1" in read.text
    assert "the local model and the endpoint differ" in read.text


@pytest.mark.filterwarnings("ignore:.*many rows have the same score")
@pytest.mark.filterwarnings("ignore:class ")
def test_the_models_own_calibration(coarse_model: HybridOnnxModel) -> None:
    """A calibrated cascade shows its promise beside what its threshold does to these rows."""
    sample, rows = frame(400, seed=1), frame(200, seed=2)
    promise = calibrate(coarse_model, sample, right(sample), epsilon=0.05)
    model = HybridOnnxModel(
        coarse(),
        endpoint=coarse_model.endpoint,
        feature_names=COLUMNS,
        routing=Cascade(calibration=promise),
    )
    gatherer = Gatherer(model)
    gatherer.add(rows, pd.Series(right(rows)))
    found = gatherer.findings("m")
    assert found.escalation is not None
    chosen = found.escalation.chosen
    assert chosen is not None
    assert (chosen.threshold, chosen.epsilon) == (promise.threshold, 0.05)
    answer = model.infer(rows, mode="cascade")
    assert chosen.escalation == (answer.routes == "azure").mean()
    assert chosen.accuracy is not None
    assert chosen.accuracy.cascade == (answer.outputs["label"] == right(rows)).mean()
    read = checked(render(found))
    assert "promised: 5.00 %" in read.text
    assert "cascade right" in read.text


@pytest.mark.parametrize(
    ("name", "rows", "options", "words"),
    [
        ("same", frame(5), [], "There is none."),
        ("zipmap", frame(5), [], "100.0 %"),
        ("linear", frame(5), [], "no score that says how sure it is"),
        ("linear", frame(5), ["--tolerance", 100], "within 100"),
        ("std", frame(5), ["--score", "uncertainty:std"], "the answer is not a class"),
        ("std", frame(5), ["--answer", "y"], "The number y"),
        (
            "wide",
            pd.DataFrame(np.arange(60.0).reshape(3, 20)),
            ["--tolerance", 0, "--answer", "y"],
            "0 = 0, 1 = 1, 2 = 2, 3 = 3, … (20 values)",
        ),
        (
            "two_inputs",
            pd.DataFrame({"a": [[1.0, 2.0], [3.0, 4.0]], "b": [1, 2]}),
            [],
            "holds no probabilities",
        ),
        ("strings", pd.DataFrame({"text": [EVIL, "007", ""]}), [], "There is none."),
        ("lookup", pd.DataFrame({"x": [0, 1, 2]}), [], "The number y"),
        ("fixed", pd.DataFrame(np.ones((2, 3), np.float32)), [], "Calls for all rows: 1"),
    ],
)
def test_any_model(
    cli: Cli, tmp_path: Path, name: str, rows: pd.DataFrame, options: list[Any], words: str
) -> None:
    """Classes, maps, numbers, several inputs, texts and models without rows all get a page."""
    rows.columns = rows.columns.map(str)
    rows.to_parquet("rows.parquet")
    cli(name, "rows.parquet", "--calls", 3, *options)
    assert words in checked((tmp_path / "report.html").read_text()).text


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("dead", ["rows.csv"], "127.0.0.1:9"),
        ("gone", ["rows.csv"], "404"),
        ("lone", ["rows.csv"], "has no endpoint"),
        ("coarse", ["empty.csv"], "empty.csv: has no rows"),
        ("coarse", ["missing.csv"], "missing.csv: No such file"),
        ("coarse", ["rows.txt"], "ends with .csv, .tsv, .jsonl or .parquet"),
        ("coarse", ["rows.csv", "-o", "page.pdf"], "ends with .html"),
        ("coarse", ["rows.csv", "-o", "nowhere/page.html"], "no folder"),
        ("coarse", ["rows.csv", "--labels", "truth"], "has no column 'truth'; available: 'a'"),
        ("coarse", ["labelled.csv", "--labels", "a"], "missing 'a'"),
        ("coarse", ["labelled.csv"], "unexpected 'truth'"),
        ("coarse", ["rows.csv", "--score", "confidence:z"], "no output 'z'"),
        ("coarse", ["rows.csv", "--tolerance", "-1"], "--tolerance"),
        ("two_inputs", ["rows.csv"], "column names"),
        ("std", ["labelled.csv", "--labels", "truth"], "the labels belong to"),
        ("linear", ["rows.csv", "--score", "margin:y"], "no probabilities"),
    ],
)
def test_errors(cli: Cli, name: str, args: list[str], said: str, tmp_path: Path) -> None:
    """What cannot be reported on is an error of one line, and the page that was there still is."""
    frame(0).to_csv("empty.csv", index=False)
    Path("report.html").write_text("the page before")
    assert said in cli(name, *args, status=2).stderr


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:secret@host/model", "https://host/model"),
        ("models:/digits@champion", "models:/digits@champion"),
        ("folder/a@b", "folder/a@b"),
    ],
)
def test_the_title_holds_no_password(uri: str, shown: str) -> None:
    """What stands before the host in an address is left out; aliases stay."""
    assert without_user(uri) == shown


@pytest.mark.parametrize("shown", [0, 3])
def test_fewer_rows_are_shown(cli: Cli, tmp_path: Path, shown: int) -> None:
    """Whoever does not want rows of data in the page leaves them out."""
    cli("coarse", "rows.csv", "--rows", shown, "--calls", 0)
    read = checked((tmp_path / "report.html").read_text())
    assert ("input a" in read.text) == (shown > 0)
    assert f"{shown or 'None'} of " in read.text


def test_a_report_replaces_the_one_before(cli: Cli, tmp_path: Path) -> None:
    """Like every file that a command writes, the page is replaced once all is done."""
    (tmp_path / "report.html").write_text("the page before")
    cli("same", "rows.csv", "--calls", 1)
    checked((tmp_path / "report.html").read_text())
