# ruff: noqa: E501 - a table has a line for each case.
"""Tables on the command line: what is read, what is written, and what is said about a bad one."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import HybridOnnxModel, load_model, save_model
from hybridmodel.batch.bad_cells import find, shown
from hybridmodel.batch.formats import format_of, json_lines
from hybridmodel.batch.formats.frames import batch_of
from hybridmodel.cli.program import program
from hybridmodel.cli.source import Source
from hybridmodel.exceptions import ConfigurationError, HybridModelError
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.command_line import messages

COLUMNS = ["a", "b", "c", "d"]
Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save models that know their columns by name, and some that do not."""
    folder = tmp_path_factory.mktemp("models")
    for name, data, options in (
        ("linear", models.linear(), {"feature_names": COLUMNS}),
        ("nameless", models.linear(), {}),
        ("strings", models.strings(), {}),
        ("lookup", models.lookup(), {}),
        ("two_inputs", models.two_inputs(), {}),
        ("flags", models.identity("BOOL", ("N", 2)), {"feature_names": ["p", "q"]}),
    ):
        save_model(HybridOnnxModel(data, **options), folder / name)
    return folder


@pytest.fixture
def cli(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command beside `tmp_path`; ``@name`` is one of the models."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object, status: int = 0, stdin: bytes | None = None) -> Result:
        words = [str(saved / word[1:]) if word.startswith("@") else word for word in map(str, args)]
        result = CliRunner().invoke(program, words, input=stdin)
        assert result.exit_code == status, result.output
        if status == 2:
            said = messages(result.stderr)
            assert said.startswith("Error: ")
            assert said.count("\n") == 1
        return result

    return run


def frame(rows: int = 6) -> pd.DataFrame:
    """Make rows for the models of four features."""
    values = np.random.default_rng(7).normal(size=(rows, 4)).round(3).astype(np.float32)
    return pd.DataFrame(values, columns=COLUMNS)


def answers(text: str) -> pd.DataFrame:
    """Read CSV that a command printed."""
    return pd.read_csv(io.StringIO(text))


def write(path: str, rows: pd.DataFrame) -> bytes:
    """Write rows in the format that a name says, and return the bytes."""
    plain = path.removesuffix(".gz")
    if plain.endswith(".parquet"):
        data = rows.to_parquet()
    elif plain.endswith(".jsonl"):
        data = "".join(json_lines.lines(batch_of(rows))).encode()
    else:
        separator = "\t" if plain.endswith(".tsv") else ","
        data = rows.to_csv(index=False, sep=separator).encode()
    data = gzip.compress(data, mtime=0) if path.endswith(".gz") else data
    Path(path).write_bytes(data)
    return data


FORMATS = ("in.csv", "in.csv.gz", "in.tsv", "in.tsv.gz", "in.jsonl", "IN.JSONL.GZ", "in.parquet")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("batch_rows", [4, 100])
def test_every_format_is_read(cli: Cli, name: str, batch_rows: int) -> None:
    """The same rows give the same answers from every kind of file, in batches and at once."""
    write("plain.csv", frame())
    expected = cli("predict", "@linear", "plain.csv").stdout
    write(name.lower(), frame())
    Path(name.lower()).rename(name)
    assert cli("predict", "@linear", name, "--batch-rows", batch_rows).stdout == expected


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "IN.JSONL.GZ"])
def test_stdin_is_read(cli: Cli, name: str) -> None:
    """What comes on stdin is told by its first bytes, whatever its format."""
    rows = write(name, frame())
    expected = cli("predict", "@linear", name).stdout
    shown = cli("predict", "@linear", "-", "--batch-rows", 4, stdin=rows)
    assert shown.stdout == expected
    assert shown.stderr == "6 rows answered by the local model\n"


@pytest.mark.parametrize(
    "data", [b"", b"a", b"PAR1", b"\x1f\x8b", gzip.compress(b"a,b\n", mtime=0)[:-5]]
)
def test_what_is_no_table_on_stdin(cli: Cli, data: bytes) -> None:
    """Bytes that are no table are an error that calls them stdin."""
    message = cli("predict", "@linear", "-", stdin=data, status=2).stderr
    assert message.startswith(("Error: stdin: cannot be read", "Error: stdin: column names"))


def test_stdin_streams(saved: Path, tmp_path: Path) -> None:
    """Rows that come in are answered before the last has come."""
    command = [sys.executable, "-m", "hybridmodel", "predict", str(saved / "linear"), "-"]
    with subprocess.Popen(
        [*command, "--batch-rows", "10", "-o", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    ) as process:
        assert process.stdin
        assert process.stdout
        # Long rows: more than is read ahead, and answers that fit into a pipe.
        process.stdin.write(b"a,b,c,d\n" + (b"1,2,3,4." + b"0" * 1000 + b"\n") * 400)
        process.stdin.flush()
        assert process.stdout.readline() == b"y_0,y_1\n"
        process.stdin.close()
        assert process.stdout.read().count(b"\n") == 400


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.tsv", "out.jsonl", "out.jsonl.gz"])
def test_every_format_is_written(cli: Cli, name: str) -> None:
    """Predictions in any format are those that stdout gets."""
    write("in.csv", frame())
    expected = answers(cli("predict", "@linear", "in.csv").stdout)
    cli("predict", "@linear", "in.csv", "-o", name, "--batch-rows", 4)
    plain = name.removesuffix(".gz")
    if plain.endswith(".jsonl"):
        got = pd.read_json(name, lines=True)
    else:
        got = pd.read_csv(name, sep="\t" if plain.endswith(".tsv") else ",")
    pd.testing.assert_frame_equal(got, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("header", "options", "separator"),
    [
        ("a;b;c;d", [], ";"),
        ("a\tb\tc\td", [], "\t"),
        ("a|b|c|d", [], "|"),
        ("a:b:c:d", ["--separator", ":"], ":"),
        ("a\tb\tc\td", ["--separator", "\\t"], "\t"),
        ('a;b;"c;"', ["--separator", ","], ","),
    ],
)
def test_separators(cli: Cli, header: str, options: list[str], separator: str) -> None:
    """The separator is found in the header, or said."""
    Path("in.csv").write_text("\n".join([header, separator.join("1234")]) + "\n")
    if separator == ",":
        assert "in.csv: cannot be" in cli("predict", "@linear", "in.csv", *options, status=2).stderr
    else:
        assert len(answers(cli("predict", "@linear", "in.csv", *options).stdout)) == 1


def test_a_name_with_another_separator_in_quotes(cli: Cli) -> None:
    """A semicolon in a quoted name is part of the name."""
    Path("in.csv").write_text('"te;xt"\nx\n')
    assert cli("predict", "@strings", "in.csv").stdout == "shout\nx!\n"


def test_decimal_commas(cli: Cli) -> None:
    """A spreadsheet's 1,5 is read once that is said, and the error says how."""
    Path("in.csv").write_text("a;b;c;d\n1,5;2;3;4\n")
    assert "say --decimal ," in cli("predict", "@linear", "in.csv", status=2).stderr
    got = cli("predict", "@linear", "in.csv", "--decimal", ",").stdout
    Path("in.csv").write_text("a,b,c,d\n1.5,2,3,4\n")
    assert got == cli("predict", "@linear", "in.csv").stdout


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.parquet"])
@pytest.mark.parametrize("model", ["@linear", "@nameless"])
def test_id_columns_are_kept(cli: Cli, name: str, model: str) -> None:
    """Identifiers come before the predictions, letter for letter, and are no features."""
    write(
        name, frame(3).assign(id=["007", "NA", "é"], day=["1", "2", "03"])[["id", *COLUMNS, "day"]]
    )
    ids = ("--id-column", "id", "--id-column", "day")
    got = cli("predict", model, name, *ids, "--batch-rows", 2).stdout
    assert [line.split(",")[:2] for line in got.splitlines()] == [
        ["id", "day"], ["007", "1"], ["NA", "2"], ["é", "03"],
    ]  # fmt: skip
    kept = answers(cli("predict", model, name, *ids, "--keep-input").stdout)
    assert list(kept) == ["id", "day", *COLUMNS, "y_0", "y_1"]


def test_id_columns_beside_text(cli: Cli) -> None:
    """A model of text takes its text, and not the identifiers."""
    Path("in.csv").write_text("id,text\n01,007\n")
    got = cli("predict", "@strings", "in.csv", "--id-column", "id").stdout
    assert got == "id,shout\n01,007!\n"


def test_extra_columns_are_left_out(cli: Cli) -> None:
    """With --ignore-extra a file may have columns that the model does not take."""
    write("in.csv", frame(3).assign(note="x", more=1))
    got = cli("predict", "@linear", "in.csv", "--ignore-extra").stdout
    write("in.csv", frame(3))
    assert got == cli("predict", "@linear", "in.csv").stdout


def test_labels_stay_where_the_rest_is_left_out(cli: Cli, server: EmbeddedServer) -> None:
    """Labels are kept when other columns are left out, and read beside identifiers."""
    write("in.csv", frame(9).assign(id="x", note="y", target=1.0))
    with_endpoint = ("--model-config", f"uri={server.uri}", "--model-config", "model_name=m")
    free = ("--model-config", "auth_key_env=", "--ignore-extra", "--id-column", "id")
    labels = ("--labels", "target", "--tolerance", 1, "--answer", "y")
    message = cli("report", "@linear", "in.csv", *labels, *with_endpoint, *free, status=2).stderr
    assert "column" not in message
    cli("compare", "@linear", "in.csv", *with_endpoint, *free)


@pytest.fixture(scope="module")
def server() -> Any:
    """Serve the model of four features."""
    with serve({"m": models.linear()}) as running:
        yield running


HINTS: list[tuple[str, str, str]] = [
    ("predict @linear", ",a,b,c,d\n0,1,2,3,4\n", "--id-column 'Unnamed: 0' takes it as that"),
    ("predict @nameless", ",a,b,c,d\n0,1,2,3,4\n", "--id-column 'Unnamed: 0' takes it as that"),
    ("predict @linear", "a,b,c,d,e\n1,2,3,4,5\n", "--id-column NAME keeps a column"),
    ("predict @linear", "a:b:c:d\n1:2:3:4\n", "missing 'a', 'b', 'c', 'd'"),
    ("predict @linear", '"a;b;c;d"\n1\n', "say --separator ';'"),
    (
        "predict @linear --id-column idd",
        "id,a\n1,2\n",
        "has no column 'idd'; available: 'id', 'a'; did",
    ),
    ("predict @nameless --ignore-extra", "a,b,c,d\n1,2,3,4\n", "takes columns by position"),
    ("predict @linear --separator ::", "a\n1\n", "one character is expected"),
    ("calibrate @linear --epsilon 0.1", "a,b,c,d,digit\n1,2,3,4,5\n", "mean --labels 'digit'?"),
    ("report @linear", "a,b,c,d,digit\n1,2,3,4,5\n", "did you mean --labels 'digit'?"),
    ("report @linear --labels digits", "a,b,c,d,digit\n1,2,3,4,5\n", "did you mean 'digit'?"),
    ("report @linear --label digit", "a\n1\n", "--labels"),
    ("predict @linear --lokal", "a\n1\n", "--local"),
    ("predict @linear --zzz", "a\n1\n", "No such option"),
]


@pytest.mark.parametrize(("line", "content", "advice"), HINTS)
def test_errors_say_what_to_do(
    cli: Cli, server: EmbeddedServer, line: str, content: str, advice: str
) -> None:
    """A table that does not fit, or an option that is not there, is answered with the next step."""
    Path("in.csv").write_text(content)
    command, model, *options = line.split()
    settings = (f"uri={server.uri}", "model_name=m", "auth_key_env=")
    words = [word for setting in settings for word in ("--model-config", setting)]
    assert advice in cli(command, model, "in.csv", *options, *words, status=2).stderr


BAD: list[tuple[str, str, str, str]] = [
    ("linear", "in.csv", "a,b,c,d\n1,2,3,4\n1,2,oops,4\n", "line 3 (row 1, from 0), column 'c': 'oops' is not a number"),
    ("linear", "in.csv", "\na,b,c,d\n1,2,3,4\n\n1,2,3,4 kg\n", "line 5 (row 1, from 0), column 'd': '4 kg' is"),
    ("nameless", "in.csv", "a,b,c,d\n1,2,1_000,4\n", "line 2 (row 0, from 0), column 'c': '1_000' is"),
    ("linear", "in.csv", "a,b,c,d\n1,2,3,1e300\n", "column 'd': 1e+300 does not fit"),
    ("lookup", "in.csv", "x\n1\n\n2.5\n", "line 4 (row 1, from 0), column 'x': does not fit: expected int64, got 2.5"),
    ("lookup", "in.csv", "x\n1\nNA\n", "line 3 (row 1, from 0), column 'x'"),
    ("flags", "in.csv", "p,q\nTrue,True\nTrue,perhaps\n", "column 'q': 'perhaps' is not a flag"),
    ("linear", "in.csv", 'a,b,c,d\n"1",2,3,"x\ny"\n', "line 3 (row 0, from 0), column 'd': 'x\\ny' is not"),
    ("linear", "in.csv", "a,b,c,d\n1,2,3," + "z" * 5000 + "\n", "column 'd': 'zzzz"),
    ("linear", "in.jsonl", '{"a":1,"b":2,"c":3,"d":4}\n\n{"a":1,"b":2,"c":3,"d":"x"}\n', "line 3 (row 1, from 0), column 'd': 'x' is"),
    ("linear", "in.jsonl", '{"a":1,"b":2,"c":3,"d":4}\n{"a":1,"b":2}\n', "in.jsonl, line 2: has no 'c', 'd'"),
    ("linear", "in.jsonl", '{"a":1,"b":2,"c":3,"d":4}\n{"a":1,"b":2,"c":3,"d":4,"e":5}\n', "in.jsonl, line 2: has an unexpected 'e'"),
    ("linear", "in.jsonl", '{"a":1,"b":2,"c":3,"d":4}\n[1, 2]\n', "in.jsonl, line 2: an object such as"),
    ("linear", "in.jsonl", '{"a":1,"b":2,"c":3,"d":4}\n{"a":\n', "in.jsonl, line 2: cannot be read as json"),
    ("strings", "in.jsonl", '{"text":"x"}\n{"text":null}\n', "line 2 (row 1, from 0), column 'text': "),
]  # fmt: skip


@pytest.mark.parametrize(("model", "name", "content", "message"), BAD)
@pytest.mark.parametrize("batch_rows", [1, 100])
def test_a_bad_cell_is_named(
    cli: Cli, model: str, name: str, content: str, message: str, batch_rows: int
) -> None:
    """The line, row, column and value of a cell that does not fit are named, in bounded text."""
    Path(name).write_text(content)
    result = cli("predict", f"@{model}", name, "--batch-rows", batch_rows, status=2)
    shown = messages(result.stderr)
    assert message in shown
    assert len(shown) < 300


def test_a_bad_cell_where_there_are_no_lines(cli: Cli) -> None:
    """In Parquet and on stdin the row is named."""
    pd.DataFrame({"x": [1.0, 2, 0, 1, 2.5, 0]}).to_parquet("in.parquet")
    message = cli("predict", "@lookup", "in.parquet", "--batch-rows", 3, status=2).stderr
    assert "in.parquet, row 4, counted from 0, column 'x': does not fit: " in message
    message = cli("predict", "@linear", "-", stdin=b"a,b,c,d\n1,2,3,x\n", status=2).stderr
    assert "stdin, row 0, counted from 0, column 'd': 'x' is not a number" in message


@pytest.mark.parametrize("command", ["compare", "report", "calibrate"])
def test_a_bad_cell_is_named_by_every_command(
    cli: Cli, server: EmbeddedServer, command: str
) -> None:
    """Every command that reads a table names the bad cell."""
    Path("in.csv").write_text("a,b,c,d\n1,2,3,4\n1,2,3,x\n")
    settings = (f"uri={server.uri}", "model_name=m", "auth_key_env=")
    words = [word for setting in settings for word in ("--model-config", setting)]
    words += ["--epsilon", "0.1"] if command == "calibrate" else ["--batch-rows", "1"]
    message = cli(command, "@linear", "in.csv", *words, status=2).stderr
    assert "in.csv, line 3 (row 1, from 0), column 'd': 'x' is not a number" in message


@given(st.data())
def test_the_named_cell_is_the_first_of_its_column(saved: Path, data: st.DataObject) -> None:
    """Whatever cells of a column do not fit, the first of them is named, in bounded text."""
    good = st.integers(-9, 9)
    bad = st.one_of(st.floats(0.1, 0.9), st.just(float("nan")), st.text(min_size=1))
    cells = data.draw(st.lists(st.one_of(good, bad), min_size=1, max_size=30))
    spec = load_model(saved / "lookup").spec
    found = find(pd.DataFrame({"x": pd.Series(cells)}), spec)
    texts = [at for at, cell in enumerate(cells) if isinstance(cell, str) and not _is_float(cell)]
    wrong = [at for at, cell in enumerate(cells) if not isinstance(cell, (int, str))]
    if any(isinstance(cell, str) for cell in cells):
        assert (found.row if found else None) == (texts[0] if texts else None)
    else:
        assert (found.row if found else None) == (wrong[0] if wrong else None)
    assert found is None or len(found.value) <= 61


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


@given(st.one_of(st.text(), st.integers(), st.floats(), st.lists(st.text())))
def test_shown_values_are_bounded_and_printable(value: Any) -> None:
    """Any value is shown in at most 61 characters, none of which controls a terminal."""
    text = shown(value)
    assert len(text) <= 61
    assert text.isprintable()


LINKS: dict[str, Callable[[], object]] = {
    "in.csv": lambda: None,
    "./folder/../in.csv": lambda: Path("folder").mkdir(),
    "soft.csv": lambda: Path("soft.csv").symlink_to("in.csv"),
    "hard.csv": lambda: os.link("in.csv", "hard.csv"),
    "soft.csv.gz": lambda: Path("soft.csv.gz").symlink_to("in.csv"),
}


@pytest.mark.parametrize("target", LINKS)
def test_the_input_is_never_replaced(cli: Cli, target: str) -> None:
    """Writing to the file that is read is refused under whatever name, and nothing is lost."""
    before = write("in.csv", frame())
    LINKS[target]()
    message = cli("predict", "@linear", "in.csv", "-o", target, status=2).stderr
    assert "is the same file as in.csv" in message
    assert Path("in.csv").read_bytes() == before


def test_the_input_on_stdin_is_never_replaced(saved: Path, tmp_path: Path) -> None:
    """A file that the shell puts on stdin, or appends stdout to, is not replaced either."""
    rows = tmp_path / "in.csv"
    frame().to_csv(rows, index=False)
    before = rows.read_bytes()
    command = [sys.executable, "-m", "hybridmodel", "predict", str(saved / "linear")]
    with rows.open("rb") as stdin, rows.open("ab") as appended:
        for words, streams in (
            (["-", "-o", str(rows)], {"stdin": stdin}),
            ([str(rows)], {"stdout": appended}),
        ):
            done = subprocess.run(
                [*command, *words], stderr=subprocess.PIPE, check=False, **streams
            )
            assert done.returncode == 2
            assert b"is the same file as" in done.stderr
    assert rows.read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        "calibrate @linear in.csv --epsilon 0.1 -o in.csv",
        "calibrate @linear in.csv --epsilon 0.1 --plot in.csv",
        "calibrate @linear in.csv --epsilon 0.1 -o x.json --plot x.json",
        "report @linear in.csv -o link.html",
    ],
)
def test_no_command_replaces_its_input(cli: Cli, line: str) -> None:
    """Every command that reads a file and writes another refuses when they are the same."""
    before = write("in.csv", frame())
    Path("link.html").symlink_to("in.csv")
    assert "is the same file as" in cli(*line.split(), status=2).stderr
    assert Path("in.csv").read_bytes() == before


@pytest.mark.parametrize(
    "name", ["x", "x.txt", "x.json", "x.gz", "x.parquet.gz", "x.csv.zip", "--"]
)
def test_names_that_say_no_format(name: str) -> None:
    """A name without a known ending is refused, with those that are known."""
    with pytest.raises(
        ConfigurationError, match=r"\.csv, \.tsv, \.jsonl or \.parquet was expected"
    ):
        format_of(name)
    with pytest.raises(HybridModelError):
        Source(Path(name))


@given(
    st.lists(
        st.tuples(st.floats(width=32), st.integers(-(2**63), 2**63 - 1), st.text(), st.booleans()),
        min_size=1,
        max_size=9,
    )
)
def test_json_lines_say_what_was(rows: list[tuple[Any, ...]]) -> None:
    """What is written as JSON lines is strict JSON and reads back as the same values."""
    table = pd.DataFrame(rows, columns=["f", "i", "s", "b"]).astype({"f": np.float32})
    table["n"] = [np.arange(2.0)] * len(rows)
    lines = list(json_lines.lines(batch_of(table)))
    assert len(lines) == len(rows)
    for line, (number, whole, text, flag) in zip(lines, rows, strict=True):
        record = json.loads(line, parse_constant=lambda name: pytest.fail(name))
        assert (record["i"], record["s"], record["b"]) == (whole, text, flag)
        assert record["n"] == [0.0, 1.0]
        if np.isnan(number):
            assert record["f"] is None
        else:
            assert np.float32(record["f"]) == np.float32(number)


def test_null_in_json_lines_is_missing(cli: Cli) -> None:
    """A null beside numbers, or alone in a batch, is NaN for a model that takes it."""
    lines = [{"a": 1, "b": None, "c": 3, "d": 4}, {"a": None, "b": None, "c": 3.5, "d": 4}]
    Path("in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for batch_rows in (1, 9):
        got = answers(cli("predict", "@linear", "in.jsonl", "--batch-rows", batch_rows).stdout)
        assert got.isna().all().all()
    Path("in.jsonl").write_text("")
    assert "column names: missing" in cli("predict", "@linear", "in.jsonl", status=2).stderr
