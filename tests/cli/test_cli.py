"""The command line: what it prints where, what it writes, and how it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import HybridOnnxModel, TritonEndpoint, load_model, save_model
from hybridmodel.cli import tables
from hybridmodel.cli.errors import exit_status
from hybridmodel.cli.ping import examine
from hybridmodel.cli.program import program
from hybridmodel.cli.progress import progress
from hybridmodel.cli.source import Source
from hybridmodel.compare.differences import OutputComparison
from hybridmodel.data.tensors import TensorSpec
from hybridmodel.serving import EmbeddedServer, TritonServer, serve
from tests.support import models

KEY = "canary-0b8e57c1d2"
KEY_ENV = "HYBRIDMODEL_API_KEY"
NOWHERE = "http://127.0.0.1:9"
COLUMNS = ["a", "b", "c", "d"]
RUN = [sys.executable, "-m", "hybridmodel"]

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve the tests' models behind the key; ``other`` is ``linear`` with other weights."""
    offered = {**models.served(), "other": models.linear(seed=5)}
    with serve(offered, auth_key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, server: EmbeddedServer) -> Path:
    """Save one folder for each model."""
    folder = tmp_path_factory.mktemp("models")
    for name, data, there, options in (
        ("linear", models.linear(), "linear", {"feature_names": COLUMNS}),
        ("other", models.linear(), "other", {"feature_names": COLUMNS}),
        ("gone", models.linear(), "gone", {}),
        ("classifier", models.classifier(), "classifier", {"feature_names": COLUMNS}),
        ("zipmap", models.classifier(zipmap=True), "zipmap", {}),
        ("wrong", models.classifier(), "linear", {}),
        ("two_inputs", models.two_inputs(), "two_inputs", {}),
        ("two_outputs", models.two_outputs(), "two_outputs", {"output": "total"}),
        ("strings", models.strings(), "strings", {}),
        ("lookup", models.lookup(), "lookup", {}),
        ("half", models.identity("FP16"), "identity_FP16", {}),
        ("cube", models.identity("INT64", ("N", 2, 2)), "linear", {}),
    ):
        endpoint = TritonEndpoint(uri=server.uri, model_name=there)
        save_model(HybridOnnxModel(data, endpoint=endpoint, **options), folder / name)
    save_model(HybridOnnxModel(models.linear(), feature_names=COLUMNS), folder / "lone")
    dead = TritonEndpoint(uri=NOWHERE, model_name="linear")
    save_model(HybridOnnxModel(models.linear(), endpoint=dead), folder / "dead")
    return folder


@pytest.fixture
def cli(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command beside the models and `tmp_path`, and check what holds for every ending."""
    monkeypatch.setenv(KEY_ENV, KEY)
    monkeypatch.chdir(tmp_path)
    frame().to_csv("rows.csv", index=False)

    def run(*args: object, status: int = 0) -> Result:
        words = [str(saved / word[1:]) if word.startswith("@") else word for word in map(str, args)]
        result = CliRunner().invoke(program, words)
        assert result.exit_code == status, result.output
        assert KEY not in result.output
        if status == 2:
            assert result.stderr.startswith("Error: ")
            assert result.stderr.count("\n") == 1
        return result

    return run


def frame(rows: int = 6) -> pd.DataFrame:
    """Make rows for the models of four features."""
    values = np.random.default_rng(7).normal(size=(rows, 4)).astype(np.float32)
    return pd.DataFrame(values, columns=COLUMNS)


def expected(saved: Path, name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Predict with the library."""
    answer = load_model(saved / name).predict(rows)
    return answer.to_frame() if answer.ndim == 1 else answer


def files(folder: Path) -> set[str]:
    """List a folder."""
    return {path.name for path in folder.iterdir()}


def read_csv(text: str) -> pd.DataFrame:
    """Read what a command printed."""
    return pd.read_csv(io.StringIO(text))


def shell(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    environ = {**os.environ, KEY_ENV: KEY, **env}
    return subprocess.run(
        [*RUN, *map(str, args)], capture_output=True, text=True, env=environ, check=False
    )


def test_version(cli: Cli) -> None:
    """The version is that of the package."""
    from hybridmodel.flavor.requirements import package_version

    assert cli("--version").stdout == f"hybridmodel {package_version()}\n"


@pytest.mark.parametrize(
    "command",
    ["inspect", "predict", "ping", "compare", "calibrate", "report", "serve", "doctor"],
)
def test_help_tells_exit_statuses(cli: Cli, command: str) -> None:
    """Every command's help says what its exit statuses mean."""
    assert "Exit status: 0 " in cli(command, "--help").stdout


def test_inspect_shows_everything_but_the_key(cli: Cli, server: EmbeddedServer) -> None:
    """Inspect shows tensors, hash, endpoint and the key's variable, never the key."""
    shown = cli("inspect", "@linear").stdout
    for text in (
        "x: FP32[?, 4]",
        "y: FP32[?, 2]",
        "a, b, c, d",
        f"{server.uri}/v2/models/linear/versions/1",
        f"in {KEY_ENV}, which is set",
        "local, unless",
    ):
        assert text in shown
    assert "classes no, perhaps, yes" in cli("inspect", "@zipmap").stdout
    assert "endpoint   none" in cli("inspect", "@lone").stdout


def test_inspect_as_json(cli: Cli, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON form holds the hash, the specs, and whether the key's variable is set."""
    monkeypatch.delenv(KEY_ENV)
    shown = json.loads(cli("inspect", "@two_outputs", "--json").stdout)
    model = load_model(saved / "two_outputs")
    assert shown["sha256"] == model.onnx.sha256
    assert {key: shown[key] for key in ("inputs", "outputs")} == model.spec.to_dict()
    assert shown["endpoint"]["auth_key_is_set"] is False
    assert shown["defaults"]["output"] == "total"
    assert shown["defaults"]["route"] == "local"


def test_model_config_reaches_the_model(cli: Cli) -> None:
    """Each kind of setting arrives as what it is, and an empty one as none."""
    settings = {
        "uri": "https://example.test",
        "model_name": "m",
        "model_version": "",
        "auth_key_env": "",
        "timeout_s": "1.5",
        "binary": "true",
        "max_attempts": "2",
        "max_batch_size": "7",
        "breaker_failures": "",
        "breaker_reset_s": "2.5",
        "use_azure": "1",
        "providers": "CPUExecutionProvider",
    }
    words = [
        word for key, value in settings.items() for word in ("--model-config", f"{key}={value}")
    ]
    shown = json.loads(cli("inspect", "@lone", "--json", *words).stdout)
    assert shown["endpoint"] == {
        "uri": "https://example.test",
        "model_name": "m",
        "model_version": None,
        "auth_key_env": None,
        "secondary_key_env": None,
        "entra_id": False,
        "deployment": None,
        "ca_bundle": None,
        "allow_http": False,
        "timeout_s": 1.5,
        "connect_timeout_s": 5.0,
        "binary": True,
        "max_attempts": 2,
        "max_batch_size": 7,
        "max_request_bytes": 1 << 26,
        "max_in_flight": 16,
        "breaker_failures": None,
        "breaker_reset_s": 2.5,
        "model_url": "https://example.test/v2/models/m",
        "auth_key_is_set": None,
    }
    assert shown["defaults"]["route"] == "azure"


@pytest.mark.parametrize("route", ["--local", "--use-azure"])
@pytest.mark.parametrize("name", ["linear", "classifier", "zipmap", "two_outputs"])
def test_predict_prints_csv(cli: Cli, saved: Path, name: str, route: str) -> None:
    """Stdout holds only the predictions, row by row; stderr says which route has answered."""
    rows = frame().iloc[:, :3] if name == "two_outputs" else frame()
    rows.to_csv("these.csv", index=False)
    result = cli("predict", f"@{name}", "these.csv", route)
    pd.testing.assert_frame_equal(
        read_csv(result.stdout),
        expected(saved, name, rows),
        check_dtype=False,
        rtol=1e-5,
    )
    who = "the local model" if route == "--local" else f"/v2/models/{name}/versions/1"
    assert result.stderr.startswith("6 rows answered by ")
    assert result.stderr.endswith(f"{who}\n")


def test_predict_takes_the_route_of_the_environment(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a flag the environment chooses the route."""
    monkeypatch.setenv("HYBRIDMODEL_USE_AZURE", "1")
    assert "by the endpoint" in cli("predict", "@linear", "rows.csv").stderr
    assert "by the local model" in cli("predict", "@linear", "rows.csv", "--local").stderr


@pytest.mark.parametrize("batch_rows", [1, 4, 100])
@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
@pytest.mark.parametrize("source", ["in.csv", "in.parquet"])
def test_predict_from_file_to_file(
    cli: Cli, saved: Path, source: str, target: str, batch_rows: int
) -> None:
    """Both formats go in and come out, whatever the size of the batches."""
    rows = frame(9)
    rows.to_csv("in.csv", index=False)
    rows.to_parquet("in.parquet")
    result = cli("predict", "@classifier", source, "-o", target, "--batch-rows", batch_rows)
    assert result.stdout == ""
    answer = pd.read_csv(target) if target == "out.csv" else pd.read_parquet(target)
    pd.testing.assert_frame_equal(
        answer, expected(saved, "classifier", rows), check_dtype=False, rtol=1e-5
    )
    assert files(Path()) == {"in.csv", "in.parquet", "rows.csv", target}


@pytest.mark.parametrize("index", [[5, 7, 9], [5, 7, 8], ["x", "y", "z"]])
def test_predict_keeps_the_input(cli: Cli, index: list[Any]) -> None:
    """With --keep-input the input's named index and its columns come first."""
    rows = frame(3).set_index(pd.Index(index, name="id"))
    rows.to_parquet("in.parquet")
    result = cli("predict", "@linear", "in.parquet", "--keep-input", "--batch-rows", 2)
    answer = read_csv(result.stdout)
    assert list(answer) == ["id", *COLUMNS, "y_0", "y_1"]
    assert answer["id"].tolist() == index
    assert "id" not in read_csv(cli("predict", "@linear", "in.parquet").stdout)


def test_predict_gives_one_output(cli: Cli) -> None:
    """With --output-name only that output is printed."""
    result = cli("predict", "@classifier", "rows.csv", "--output-name", "label")
    assert list(read_csv(result.stdout)) == ["label"]


@pytest.mark.parametrize("source", ["in.csv", "in.parquet"])
@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_no_rows_in_no_rows_out(cli: Cli, source: str, target: str) -> None:
    """A file without rows gives one with the right columns and no row."""
    frame(0).to_csv("in.csv", index=False)
    frame(0).to_parquet("in.parquet")
    cli("predict", "@linear", source, "-o", target)
    answer = pd.read_csv(target) if target == "out.csv" else pd.read_parquet(target)
    assert answer.shape == (0, 2)


def test_text_is_read_as_text(cli: Cli) -> None:
    """What looks like a number or a missing value stays text for a model that takes text."""
    Path("in.csv").write_text('text\n007\nNA\n""\nGrüße\n', encoding="utf-8")
    result = cli("predict", "@strings", "in.csv")
    assert result.stdout == "shout\n007!\nNA!\n!\nGrüße!\n"


def test_text_and_numbers_in_one_file(cli: Cli, saved: Path) -> None:
    """Only the text inputs of a model are read as text."""
    spec = load_model(saved / "strings").spec
    mixed = type(spec)((*spec.inputs, TensorSpec("n", "FP32", (-1,), True)), spec.outputs)
    Path("in.csv").write_text("text,n\n01,NA\n,2\n", encoding="utf-8")
    (read,) = tables.read_raw(Source(Path("in.csv")), mixed, 10)
    assert read["text"].tolist() == ["01", ""]
    assert read["n"].isna().tolist() == [True, False]


@pytest.mark.parametrize("batch_rows", [1, 10])
def test_arrays_in_cells_are_lists_in_files(cli: Cli, batch_rows: int) -> None:
    """Nested lists in parquet are arrays for the model, and its arrays are nested lists again."""
    cubes = np.arange(12).reshape(3, 2, 2).tolist()
    pd.DataFrame({"x": cubes}).to_parquet("in.parquet")
    args = ("predict", "@cube", "in.parquet", "--batch-rows", batch_rows)
    assert [json.loads(cell) for cell in read_csv(cli(*args).stdout)["y"]] == cubes
    cli(*args, "-o", "out.parquet")
    answer = pd.read_parquet("out.parquet")["y"]
    assert [[row.tolist() for row in cell] for cell in answer] == cubes


def test_a_failure_leaves_the_old_file(cli: Cli) -> None:
    """When a later batch fails, what was there stays as it was, and nothing lies beside it."""
    Path("in.csv").write_text("x\n0\n1\n2.5\n")
    Path("out.csv").write_text("old")
    result = cli("predict", "@lookup", "in.csv", "-o", "out.csv", "--batch-rows", 2, status=2)
    assert "in.csv, line 4 (row 2, from 0), column 'x': does not fit: " in result.stderr
    assert Path("out.csv").read_text() == "old"
    assert files(Path()) == {"in.csv", "out.csv", "rows.csv"}


def test_reading_is_lazy(cli: Cli, saved: Path) -> None:
    """A file is read batch by batch, unless the model needs all rows at once."""
    spec = load_model(saved / "linear").spec
    frame(10).to_parquet("in.parquet")
    for source in (Path("rows.csv"), Path("in.parquet")):
        sizes = [len(batch) for batch in tables.read_raw(Source(source), spec, 4)]
        assert sizes in ([4, 2], [4, 4, 2])
        whole = type(spec)(spec.inputs, (TensorSpec("mean", "FP32", ()),))
        assert len(list(tables.read_raw(Source(source), whole, 4))) == 1


def test_ping_a_good_endpoint(cli: Cli, server: EmbeddedServer) -> None:
    """A ready endpoint with the same specs is status 0, with the time of the round trips."""
    shown = json.loads(cli("ping", "@linear", "--json", "-n", 3).stdout)
    assert shown["model_url"] == f"{server.uri}/v2/models/linear/versions/1"
    assert (shown["ready"], shown["differences"], shown["calls"]) == (True, [], 3)
    assert 0 < shown["round_trip_min_s"] <= shown["round_trip_median_s"]
    assert "differs     in nothing" in cli("ping", "@linear").stdout


def test_ping_takes_times(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The round trip is the clock's time around one call."""
    monkeypatch.setenv(KEY_ENV, KEY)
    ticks = iter([0.0, 1.0, 10.0, 12.0, 20.0, 26.0])
    with load_model(saved / "linear") as model:
        health = examine(model, 3, clock=lambda: next(ticks))
    assert (health.round_trip_min_s, health.round_trip_median_s) == (1.0, 2.0)


def test_ping_lists_every_difference(cli: Cli) -> None:
    """Other inputs and outputs at the endpoint are status 1, each in a line."""
    shown = cli("ping", "@wrong", status=1).stdout
    for text in ("input 'X'", "input 'x'", "output 'label'", "output 'y'"):
        assert text in shown


def test_ping_a_model_that_is_not_there(cli: Cli) -> None:
    """An endpoint that is not ready is status 1, and its reason is shown."""
    shown = cli("ping", "@gone", status=1).stdout
    assert "ready     no: " in shown
    assert "unknown model" in shown


def test_compare_the_same_model(cli: Cli) -> None:
    """Routes that agree are status 0."""
    shown = cli("compare", "@classifier", "rows.csv", "--batch-rows", 4).stdout
    assert [line.split()[:3] for line in shown.splitlines()[1:]] == [
        ["label", "6", "0"],
        ["probabilities", "6", "0"],
    ]


def test_compare_another_model(cli: Cli, server: EmbeddedServer) -> None:
    """Rows that differ are status 1, counted, and the first of them shown with both values."""
    frame(25).to_csv("in.csv", index=False)
    args = ("compare", "@other", "in.csv", "--batch-rows", 7)
    (output,) = json.loads(cli(*args, "--json", status=1).stdout)["outputs"]
    here = HybridOnnxModel(models.linear()).predict(frame(25).to_numpy())
    there = HybridOnnxModel(models.linear(seed=5)).predict(frame(25).to_numpy())
    assert output["rows"] == output["differing_rows"] == 25
    assert output["max_abs_diff"] == pytest.approx(np.abs(here - there).max(), rel=1e-5)
    assert [item["row"] for item in output["differences"]] == list(range(10))
    assert output["differences"][8]["local"] == pytest.approx(here[8, 0], rel=1e-5)
    assert output["differences"][8]["endpoint"] == pytest.approx(there[8, 0], rel=1e-5)
    assert "y: first of 25 differing rows" in cli(*args, status=1).stdout
    cli(*args, "--atol", "1000")


def test_compare_asks_for_every_output(cli: Cli) -> None:
    """A model that was saved with one output selected is compared in all of them."""
    frame().iloc[:, :3].to_csv("in.csv", index=False)
    outputs = json.loads(cli("compare", "@two_outputs", "in.csv", "--json").stdout)["outputs"]
    assert [item["name"] for item in outputs] == ["total", "double"]
    chosen = cli("compare", "@two_outputs", "in.csv", "--model-config", "output=double").stdout
    assert "total" not in chosen


def test_compare_with_a_real_triton(cli: Cli, triton: TritonServer) -> None:
    """Local and Triton agree on a model, and differ from one with other weights."""
    where = f"uri={triton.uri}"
    common = ("--model-config", where, "--model-config", "auth_key_env=")
    cli("compare", "@linear", "rows.csv", *common)
    cli("ping", "@linear", *common)
    other = ("--model-config", "model_name=versions", "--model-config", "model_version=3")
    cli("compare", "@linear", "rows.csv", *common, *other, status=1)


ARRAYS = {
    "FP32": [0.0, 1.0, 1.00001, np.nan, np.inf, -np.inf],
    "INT64": [0, 1, 2**62],
    "BYTES": ["no", "yes"],
    "BOOL": [True, False],
}


@given(st.data(), st.sampled_from(sorted(ARRAYS)), st.integers(1, 30), st.integers(1, 7))
def test_batches_do_not_matter(data: st.DataObject, datatype: str, rows: int, size: int) -> None:
    """Comparing batch by batch finds what comparing at once does, and only what differs."""
    spec = TensorSpec("y", datatype, (-1, 2), True)
    cell = st.sampled_from(ARRAYS[datatype])
    values = st.lists(cell, min_size=2 * rows, max_size=2 * rows)
    one, two = (np.array(data.draw(values), spec.dtype).reshape(rows, 2) for _ in range(2))
    whole, parts = (OutputComparison(spec, 1e-4, 0.0) for _ in range(2))
    whole.add(one, two)
    for start in range(0, rows, size):
        parts.add(one[start : start + size], two[start : start + size])
    assert parts.to_dict() == whole.to_dict()
    json.dumps(whole.to_dict(), allow_nan=False)
    differing = {item.row for item in whole.differences}
    for row in range(rows):
        same = all(map(_same, one[row].tolist(), two[row].tolist()))
        assert same == (row not in differing) or len(differing) == 10


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, float):
        close = one == two or abs(one - two) <= 1e-4 * abs(one) < np.inf
        return close or (np.isnan(one) and np.isnan(two))
    return bool(one == two)


def test_outputs_of_other_shapes_differ() -> None:
    """Arrays that cannot be compared value by value are shown with their shapes."""
    item = OutputComparison(TensorSpec("y", "FP32", (-1, -1)), 0.0, 0.0)
    item.add(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32))
    assert (item.rows, item.differing_rows) == (1, 1)
    assert item.differences[0].local == "[1, 2, 3]"


ERRORS: list[tuple[str, str]] = [
    ("", "Missing command"),
    ("nonsense", "No such command 'nonsense'"),
    ("predict @linear", "Missing argument 'INPUT'"),
    ("predict @linear rows.csv --wrong", "--wrong"),
    ("predict @linear none.csv", "none.csv: No such file or directory"),
    ("predict @linear none.parquet", "none.parquet: No such file or directory"),
    ("predict @linear folder.csv", "folder.csv: Is a directory"),
    ("predict @linear rows.txt", "rows.txt: a name that ends with .csv, .tsv, .jsonl or .parquet"),
    ("predict @linear rows.csv -o out.json", "out.json: a name that ends with"),
    ("predict @linear rows.csv -o folder.csv", "is there already, and is no file"),
    ("predict @linear rows.csv -o none/out.csv", "there is no folder"),
    ("predict @linear empty.csv", "empty.csv: cannot be read as csv"),
    ("predict @linear binary.csv", "binary.csv: cannot be read as csv"),
    ("predict @linear ragged.csv", "ragged.csv: cannot be read as csv"),
    ("predict @linear shifted.csv", "shifted.csv: cannot be read as csv"),
    ("predict @linear binary.parquet", "binary.parquet: cannot be read as parquet"),
    ("predict @linear columns.csv", "columns.csv: column names: missing 'd'; unexpected 'e'"),
    ("predict @linear words.csv", "words.csv, line 2 (row 0, from 0), column 'a': 'x' is not"),
    ("predict @linear rows.csv --output-name z", "no output 'z'; it has 'y'"),
    ("predict @linear twice.csv --keep-input", "column names"),
    ("predict @two_inputs rows.csv", "column names: unexpected 'c', 'd'"),
    ("predict @lone rows.csv --use-azure", "the model has no endpoint"),
    ("predict @dead rows.csv --use-azure", NOWHERE),
    ("predict @linear rows.csv --use-azure --timeout 0", "--timeout"),
    ("predict @linear rows.csv --use-azure --timeout inf", "positive number of seconds"),
    ("ping @lone", "the model has no endpoint"),
    ("ping @dead", NOWHERE),
    ("ping @linear --model-config auth_key_env=NOT_SET_HERE", "NOT_SET_HERE"),
    ("ping @linear --model-config auth_key_env=", "answered 401"),
    ("compare @lone rows.csv", "the model has no endpoint"),
    ("compare @dead rows.csv", NOWHERE),
    ("compare @linear norows.csv", "has no rows"),
    ("inspect none", "none"),
    ("inspect folder.csv", "folder.csv"),
    ("inspect wrong://x/y", "wrong"),
    (f"inspect @linear --model-config api_key={KEY}", "no key 'api_key'; it has use_azure"),
    (f"inspect @linear --model-config {KEY}", "write KEY=VALUE"),
    (f"inspect @linear --model-config timeout_s={KEY}", "the value of timeout_s is a number"),
    (f"inspect @linear --model-config use_azure={KEY}", "use_azure is true or false"),
    (f"inspect @linear --model-config auth_key_env={KEY}", "NAME of an environment variable"),
    (f"inspect @linear --model-config uri=https://u:{KEY}@h", "must not hold a user"),
    ("serve @linear --auth-key-env NOT_SET_HERE", "NOT_SET_HERE is not set"),
    (f"serve @linear --auth-key-env {KEY}", "the one given is not set"),
    ("serve @linear --name a/b", "a/b"),
    ("serve @linear --port 65536", "--port"),
    ("serve @linear --host 203.0.113.1", "203.0.113.1"),
    ("serve @linear --host 0.0.0.0", "--auth-key-env"),
]


@pytest.mark.parametrize(("line", "message"), ERRORS)
def test_errors_are_one_line(cli: Cli, line: str, message: str) -> None:
    """Each mistake is named in one line on stderr, with status 2, no traceback and no secret."""
    Path("folder.csv").mkdir()
    for name, content in {
        "empty.csv": b"",
        "binary.csv": b"\xff\xfe\x00\x01",
        "ragged.csv": b"a,b,c,d\n1,2,3,4\n1,2,3,4,5,6\n",
        "shifted.csv": b"a,b,c,d\n0,1,2,3,4\n1,1,2,3,4\n",
        "binary.parquet": b"\xff\xfe\x00\x01" * 9,
        "columns.csv": b"a,b,c,e\n1,2,3,4\n",
        "words.csv": b"a,b,c,d\nx,2,3,4\n",
        "twice.csv": b"a,b,c,d,y_0\n1,2,3,4,5\n",
        "norows.csv": b"a,b,c,d\n",
    }.items():
        Path(name).write_bytes(content)
    result = cli(*line.split(), status=2)
    assert message in result.stderr
    assert result.stdout == ""


def test_columns_may_not_be_there_twice(cli: Cli, saved: Path) -> None:
    """An input column of the name of a prediction is refused where both would be written."""
    pd.DataFrame({"y": [0, 1]}).to_csv("in.csv", index=False)
    result = cli("predict", "@lookup", "in.csv", "--keep-input", status=2)
    assert "--keep-input: 'y' would be there twice" in result.stderr


def test_types_that_change_cannot_be_parquet(cli: Cli) -> None:
    """Kept columns that turn out to be of another type later on are refused, with the way out."""
    Path("in.csv").write_text("a,b,c,d\n1,1,1,1\n2,1.5,1,1\n")
    args = ("predict", "@linear", "in.csv", "--keep-input", "--batch-rows", 1)
    assert "try csv" in cli(*args, "-o", "out.parquet", status=2).stderr
    cli(*args, "-o", "out.csv")


def test_without_pyarrow(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet without pyarrow says what to install."""
    frame().to_parquet("in.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    told = cli("predict", "@linear", "in.parquet", status=2).stderr
    assert "needs pyarrow, which is not installed: pip install hybridmodel" in told


def test_a_missing_key_names_its_variable(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is not set is an error that names the variable."""
    monkeypatch.delenv(KEY_ENV)
    assert KEY_ENV in cli("predict", "@linear", "rows.csv", "--use-azure", status=2).stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ZeroDivisionError("by\nzero"), "Error: ZeroDivisionError: by zero\n"),
        (OSError("no https://me:secret@host/x"), "Error: no https://***@host/x\n"),
        (OSError(2, "No such file", "x.csv"), "Error: x.csv: No such file\n"),
    ],
)
def test_any_error_is_one_line(
    capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    """Whatever is raised becomes one line, without a password that stands in an address."""

    def fail() -> None:
        raise error

    assert exit_status(fail) == 2
    assert capsys.readouterr() == ("", line)


def test_traces_on_demand(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback is shown to those who ask for it by the environment, and to nobody else."""
    assert "Traceback" not in cli("inspect", "none", status=2).stderr
    monkeypatch.setenv("HYBRIDMODEL_TRACEBACK", "1")
    result = CliRunner().invoke(program, ["inspect", "none"])
    assert result.stderr.startswith("Traceback")


@pytest.mark.parametrize(("is_terminal", "total"), [(True, 3), (True, None), (False, 3)])
def test_a_bar_only_where_somebody_watches(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, total: int | None
) -> None:
    """The progress bar is drawn on a terminal and nowhere else."""

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress(total) as advance:
        advance(3)
    assert ("rows" in screen.getvalue()) == is_terminal


def test_statuses_and_streams_of_a_real_process(
    saved: Path, tmp_path: Path, server: EmbeddedServer
) -> None:
    """In a shell too, results are on stdout, errors on stderr, and statuses are 0, 1 and 2."""
    frame().to_csv(tmp_path / "rows.csv", index=False)
    ungranted = shell("compare", saved / "other", tmp_path / "rows.csv")
    grant = f"{KEY_ENV}@{server.uri}"
    assert (ungranted.returncode, ungranted.stdout, grant in ungranted.stderr) == (2, "", True)
    good = shell("predict", saved / "linear", tmp_path / "rows.csv")
    assert (good.returncode, len(good.stdout.splitlines())) == (0, 7)
    assert good.stderr == "6 rows answered by the local model\n"
    rows = tmp_path / "rows.csv"
    differs = shell("compare", saved / "other", rows, HYBRIDMODEL_ALLOW=grant)
    assert (differs.returncode, differs.stderr) == (1, "")
    bad = shell("predict", saved / "linear", tmp_path / "none.csv")
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (2, "", 1)


REGISTER = """
import sys, mlflow
from hybridmodel import load_model, log_model
log_model(load_model(sys.argv[1]), name="digits", registered_model_name="digits")
mlflow.MlflowClient().set_registered_model_alias("digits", "champion", "1")
"""


def test_registered_models(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are found in the registry, and what MLflow says on the way is not on stdout."""
    monkeypatch.chdir(tmp_path)
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    none = shell("inspect", "models:/digits/1", **env)
    assert (none.returncode, none.stdout, none.stderr.count("\n")) == (2, "", 1)
    command = [sys.executable, "-c", REGISTER, str(saved / "linear")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **env})
    for uri in ("models:/digits/1", "models:/digits@champion"):
        found = shell("inspect", uri, "--json", **env)
        assert found.returncode == 0, found.stderr
        assert json.loads(found.stdout)["inputs"][0]["name"] == "x"


def test_a_reader_that_leaves(saved: Path, tmp_path: Path) -> None:
    """As before ``| head -1``, a closed pipe ends the program without a word."""
    frame(40_000).to_csv(tmp_path / "rows.csv", index=False)
    command = [*RUN, "predict", str(saved / "linear"), str(tmp_path / "rows.csv")]
    command += ["--batch-rows", "1000"]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"y_0,y_1\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("command", ["inspect", "predict"])
def test_no_reader_at_all(saved: Path, tmp_path: Path, command: str) -> None:
    """Output that nobody reads is no error either, also when it is written at the very end."""
    frame().to_csv(tmp_path / "rows.csv", index=False)
    words = [command, str(saved / "linear")]
    if command == "predict":
        words.append(str(tmp_path / "rows.csv"))
    end, start = os.pipe()
    with subprocess.Popen(
        [*RUN, *words],
        stdout=start,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    ) as process:
        os.close(start)
        os.close(end)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_interrupted_predict_leaves_nothing(saved: Path, tmp_path: Path) -> None:
    """Ctrl-C while the endpoint is asked is status 130, with no trace and no file."""
    frame().to_csv(tmp_path / "rows.csv", index=False)
    target = tmp_path / "out.csv"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"uri=http://127.0.0.1:{listener.getsockname()[1]}"
        command = [
            *RUN,
            "predict",
            str(saved / "linear"),
            str(tmp_path / "rows.csv"),
            "--use-azure",
        ]
        command += ["-o", str(target), "--model-config", address]
        command += ["--model-config", f"auth_key_env={KEY_ENV}"]
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, KEY_ENV: KEY}
        ) as process:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                process.send_signal(signal.SIGINT)
                assert process.stderr is not None
                assert process.stderr.read().strip() == ""
    assert process.returncode == 130
    assert files(tmp_path) == {"rows.csv"}


@pytest.mark.parametrize(
    ("name", "number"), [("classifier", signal.SIGINT), ("half", signal.SIGTERM)]
)
def test_serve_until_a_signal(
    cli: Cli, saved: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: signal.Signals
) -> None:
    """Serve prints where, what to try, and that it is for demos; answers; and ends with 0."""
    monkeypatch.setenv("DEMO_KEY", KEY)
    command = [*RUN, "serve", str(saved / name), "--port", "0", "--name", "demo"]
    command += ["--auth-key-env", "DEMO_KEY"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first, curl, ping = (process.stdout.readline().strip() for _ in range(3))
        url = first.split()[1]
        assert "for demos" in first
        assert url.endswith("/v2/models/demo/versions/1")
        answer = subprocess.run(curl, shell=True, capture_output=True, check=True, text=True)
        assert "demo" in json.loads(answer.stdout).values()
        cli(*ping.split()[1:])
        process.send_signal(number)
        assert process.stdout.read() == process.stderr.read() == ""
    assert process.returncode == 0
    assert KEY not in first + curl + ping


def test_without_click() -> None:
    """Without click there is one line that says what to install, and status 2."""
    code = "import sys; sys.modules['click'] = None; from hybridmodel.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "needs click, which is not installed: pip install hybridmodel" in result.stderr


def test_the_package_is_light() -> None:
    """The entry point can be imported without click."""
    code = "import sys, hybridmodel.cli; sys.exit('click' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_labels_that_differ_are_shown(shape: tuple[int, ...]) -> None:
    """Strings are compared exactly, and a column of them has no position within a row."""
    spec = TensorSpec("label", "BYTES", (-1, *shape[1:]), batched=True)
    compared = OutputComparison(spec, rtol=0.0, atol=0.0)
    here = np.array(["no", "yes"], dtype=object).reshape(shape)
    there = np.array(["no", "perhaps"], dtype=object).reshape(shape)
    compared.add(here, there)
    (difference,) = compared.differences
    assert (difference.row, difference.position) == (1, ())
    assert (difference.local, difference.endpoint) == ("yes", "perhaps")
