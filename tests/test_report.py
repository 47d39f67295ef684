"""The report: what it finds, what its page is made of, and how the command ends."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import helper

from hybridmodel import (
    ConfigurationError,
    HybridOnnxModel,
    InputMismatch,
    TritonEndpoint,
    load_model,
    save_model,
)
from hybridmodel.cascade import Curve, calibrate
from hybridmodel.cli.program import program
from hybridmodel.report import Findings, Gatherer, render
from hybridmodel.report.axes import linear, logarithmic
from hybridmodel.report.findings import (
    Chosen,
    ClassRight,
    Durations,
    Errors,
    Escalation,
    Labelled,
    Numbers,
    Row,
)
from hybridmodel.report.markup import Html, tag, text
from hybridmodel.report.style import DARK, LIGHT, TEXT, contrast, mix, shades
from hybridmodel.report.words import milliseconds, percent, short
from hybridmodel.routing import Cascade
from hybridmodel.routing.comparison import ComparisonSummary, OutputDifference
from hybridmodel.serving import EmbeddedServer, serve
from tests import models
from tests.devtools import BROWSER_ENV, Tab, browser, tab
from tests.strategies import law, texts
from tests.webengine import DoesNotStartError, unsupported, webengine_tab

KEY = "canary-5d0c9a17be"
KEY_ENV = "HYBRIDMODEL_API_KEY"
COLUMNS = ["a", "b", "c", "d"]
LABELS = ("no", "perhaps", "yes")
EVIL = "</style><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>\"'&"
OTHER = "another name"
VOID = {"meta", "br", "col", "link", "img", "input", "hr"}

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
            assert result.stderr.startswith("Error: ")
            assert result.stderr.count("\n") == 1
        for page in tmp_path.glob("*.htm*"):
            assert KEY not in page.read_text()
        return result

    return run


class Page(HTMLParser):
    """Reads a page, and makes sure that its elements are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.styles = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in an element."""
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Take in text."""
        if self._open and self._open[-1] == "style":
            self.styles += data
        else:
            self.texts.append(data)

    def all(self, *names: str) -> list[dict[str, str | None]]:
        """Return the attributes of the elements of these names."""
        return [attributes for name, attributes in self.elements if name in names]

    @property
    def text(self) -> str:
        """All text."""
        return " ".join(self.texts)


def checked(page: str) -> Page:
    """Read a page, and check what every page has to be."""
    read = Page(page)
    allowed = "html head meta title style body header main footer nav section h1 h2 h3 p a strong"
    allowed += " code ul li dl dt dd div table caption thead tbody tr th td details summary figure"
    allowed += " figcaption svg desc g path rect circle text"
    assert {name for name, _ in read.elements} <= set(allowed.split())
    for _, attributes in read.elements:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
        assert not {"src", "srcset", "xlink:href", "action", "data", "poster"} & set(attributes)
    assert all((item["href"] or "").startswith("#") for item in read.all("a"))
    assert not re.search(r"url\(|@import|expression", read.styles)
    policy = next(
        item["content"] or ""
        for item in read.all("meta")
        if item.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(read.styles.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
    ids = [item["id"] for _, item in read.elements if "id" in item]
    assert len(ids) == len(set(ids))
    for _, attributes in read.elements:
        for key in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(key, ids[0]) in ids
    assert [item["href"] for item in read.all("a")] == [
        f"#{name}" for name in ("agreement", "cost", "latency", "rows")
    ]
    names = [name for name, _ in read.elements]
    assert names.count("table") == names.count("caption")
    assert all(item.get("scope") in ("col", "row") for item in read.all("th"))
    for item in read.all("svg"):
        assert item["role"] == "img"
    headings = [int(name[1]) for name in names if re.fullmatch(r"h\d", name)]
    assert headings[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    assert read.all("html")[0]["lang"] == "en"
    return read


def findings(words: str = "x", **changes: Any) -> Findings:
    """Make findings with everything in them."""
    outputs = (OutputDifference("y", 10, 4, 0.5, 0.1), OutputDifference(words, 10, 4, None, None))
    summary = ComparisonSummary(
        agree_by=f"class {words!r}",
        calls=1,
        rows=10,
        agreed=6,
        shed=0,
        failures={},
        outputs=outputs,
        pairs=((words, words, 6), (words, OTHER, 3), (OTHER, 1, 1)),
        latency={},
        first=(),
        last=(),
    )
    curve = Curve(
        escalation=(0.0, 0.5, 1.0),
        threshold=(0.1, 0.5, float("inf")),
        risk=(0.2, 0.1, 0.0),
        risk_bound=(0.3, 0.2, 0.0),
        accuracy=(0.7, 0.8, 0.9),
    )
    given: dict[str, Any] = {
        "title": words,
        "facts": (("endpoint", words), (words, OTHER)),
        "summary": summary,
        "durations": Durations(
            local_s=(0.001, 0.002),
            azure_s=(0.01, 0.02),
            of_one_row=True,
            local_rows_per_s=1e6,
            azure_rows_per_s=1e4,
            batch_rows=10,
        ),
        "labelled": Labelled(
            both=5,
            only_local=1,
            only_azure=3,
            neither=1,
            classes=(ClassRight(label=words, rows=10, agreed=6, local=6, azure=8),),
        ),
        "numbers": Numbers(
            output=words,
            pairs=((1.0, 2.0), (2.0, 1.0)),
            edges=(-1.0, 0.0, 1.0),
            counts=(1, 1),
            skipped=1,
            local_errors=Errors(mean_abs=1.0, root_mean_square=2.0),
            azure_errors=Errors(mean_abs=1.0, root_mean_square=2.0),
        ),
        "escalation": Escalation(
            score=words,
            loss=words,
            curve=curve,
            delta=0.1,
            chosen=Chosen(threshold=0.4, escalation=0.4, risk=0.1, epsilon=0.1),
        ),
        "rows": (
            Row(
                position=3, local=words, azure=OTHER, score=0.5, label=words, inputs={words: words}
            ),
            Row(position=1, local=1.5, azure=[1], score=None, label=None, inputs={OTHER: 1}),
        ),
        "rows_order": "in order",
    }
    return Findings(**{**given, **changes})


def test_a_page_holds_together() -> None:
    """A page with everything in it loads nothing, runs nothing, and names what it shows."""
    read = checked(render(findings()))
    assert len(read.all("svg")) == 5
    assert len(read.all("table")) >= 7
    for words in ("60.0 %", "40.0 % sent on", "only the endpoint right", "1,000,000"):
        assert words in read.text


@pytest.mark.parametrize(
    "changes",
    [
        {"labelled": None, "numbers": None, "escalation": None, "why_no_curve": "no score"},
        {"rows": ()},
        {"facts": ()},
        {"title": ""},
    ],
)
def test_a_page_without_some_parts(changes: dict[str, Any]) -> None:
    """What was not found is left out, or said; the page holds together all the same."""
    read = checked(render(findings(**changes)))
    assert changes.get("why_no_curve", "") in read.text


def test_many_classes() -> None:
    """Of more classes than a table has room for, the most frequent confusions are listed."""
    pairs = tuple((f"class {n}", f"class {n + n % 2}", 100 - n) for n in range(60))
    classes = tuple(
        ClassRight(label=n, rows=100 - n, agreed=1, local=1, azure=1) for n in range(60)
    )
    base = findings()
    assert base.labelled is not None
    found = replace(
        base,
        summary=replace(base.summary, pairs=pairs),
        labelled=replace(base.labelled, classes=classes),
    )
    read = checked(render(found))
    assert "The most frequent of 61 classes" in read.text
    assert "30 rarer labels are left out" in read.text
    assert len(read.all("td")) < 300


@law
@given(st.one_of(texts, st.text(alphabet="<>&\"'/=-! \n\x00\x1b\x7f\x85ab", max_size=30)))
def test_text_stays_text(words: str) -> None:
    """Whatever names, labels and values are, the page has the same elements, and their text."""
    assume(words != OTHER)
    plain, read = checked(render(findings())), checked(render(findings(words)))
    assert [name for name, _ in read.elements] == [name for name, _ in plain.elements]
    shown = re.sub(
        r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]", "\ufffd", words
    )
    assert shown in "".join(read.texts)


def test_markup_in_data_is_text() -> None:
    """An attack in a class name is shown as it is written."""
    page = render(findings(EVIL))
    assert "<script" not in page
    assert "<img" not in page
    assert EVIL[:40] in checked(page).text


def test_a_page_can_be_written_as_utf8() -> None:
    """Halves of surrogate pairs, which UTF-8 cannot hold, become replacement characters."""
    assert "\ufffd" in render(findings("a\ud800b")).encode().decode()


def test_elements() -> None:
    """Elements hold text, markup and nothing; attributes are text as well."""
    made = tag("p", "a<b", None, tag("br"), Html("<i>"), class_='"', aria_label="x", hidden=True)
    assert made == '<p class="&quot;" aria-label="x" hidden>a&lt;b<br><i></p>'
    assert text(5) == "5"


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_text_is_legible(palette: dict[str, str]) -> None:
    """Each colour of text has a contrast of at least 4.5 on each surface that it is used on."""
    surfaces = shades(palette)
    for name, surface in product(TEXT, ("page", "card")):
        assert contrast(palette[name], surfaces[surface]) >= 4.5, (name, surface)
    for name, surface in surfaces.items():
        assert contrast(palette["ink"], surface) >= 4.5, name


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.48), ("#123456", "#123456", 1.0)],
)
def test_contrast(one: str, other: str, expected: float) -> None:
    """Contrast is that of the guidelines, whichever colour comes first."""
    assert contrast(one, other) == contrast(other, one) == pytest.approx(expected, abs=0.005)
    assert mix(one, other, 0.0) == one
    assert mix(one, other, 1.0) == other


@law
@given(
    st.floats(-1e9, 1e9),
    st.one_of(st.just(0.0), st.floats(1e-6, 1e9)),
    st.sampled_from([linear, logarithmic]),
)
def test_axes(low: float, span: float, make: Any) -> None:
    """Every value lies on its axis, and there are at least two ticks but not too many."""
    if make is logarithmic:
        low = abs(low) + 1e-6
    axis = make("", low, low + span, str)
    slack = 1e-6 * (abs(low) + span)
    assert axis.low <= low + slack
    assert axis.high >= low + span - slack
    assert 2 <= len(axis.ticks) <= 17
    assert 0.0 <= axis.place(low) <= axis.place(low + span) <= 1.0


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(1.0), "100.0 %"),
        (percent(0.99999), "99.9 %"),
        (percent(0.00001), "0.1 %"),
        (percent(0.0), "0.0 %"),
        (percent(0.12345, 2), "12.35 %"),
        (milliseconds(0.00123), "1.23 ms"),
        (milliseconds(0.0123), "12.3 ms"),
        (milliseconds(1.23), "1,230 ms"),
        (short(0.1234567), "0.123457"),
        (short([0.123456, "a", {"b": 1.0}]), '[0.1235, "a", {"b": 1.0}]'),
        (short("x" * 100), "x" * 79 + "…"),
        (short(True), "True"),
    ],
)
def test_numbers_as_words(written: str, expected: str) -> None:
    """Shares are never rounded to all or nothing, and long values are cut."""
    assert written == expected


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
    assert found.labelled.azure == (big == truth).mean()
    assert found.labelled.both == ((small == truth) & (big == truth)).sum()
    perhaps = found.labelled.classes[1]
    assert (perhaps.label, perhaps.rows) == ("perhaps", (truth == "perhaps").sum())
    assert perhaps.azure == ((truth == "perhaps") & (big == truth)).sum()
    assert found.escalation is not None
    curve = found.escalation.curve
    assert curve.accuracy is not None
    assert (curve.accuracy[0], curve.accuracy[-1]) == (found.labelled.local, found.labelled.azure)
    assert curve.risk[0] == ((big == truth) & (small != truth)).mean()
    assert found.escalation.chosen is None
    top = np.sort(here["probabilities"], axis=1)
    margins = (top[:, -1] - top[:, -2])[small != big]
    assert [row.score for row in found.rows] == pytest.approx(np.sort(margins)[::-1][:50].tolist())
    row = found.rows[0]
    assert (row.local, row.azure, row.label) == (
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
    assert found.numbers.azure_errors is not None
    assert found.numbers.azure_errors.mean_abs == pytest.approx(0.25)
    assert found.summary.agreed == (np.abs(there - here) <= 0.5).sum()
    assert found.labelled is not None
    assert found.labelled.azure == 1.0
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
        ("linear", frame(5), [], "nothing tells how sure the local model is"),
        ("linear", frame(5), ["--tolerance", 100], "within 100"),
        ("std", frame(5), ["--score", "uncertainty:std"], "the answer is no class"),
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
        ("coarse", ["rows.txt"], "ends with .csv or .parquet"),
        ("coarse", ["rows.csv", "-o", "page.pdf"], "ends with .html"),
        ("coarse", ["rows.csv", "-o", "nowhere/page.html"], "there is no folder"),
        ("coarse", ["rows.csv", "--labels", "truth"], "has no column 'truth'; it has 'a'"),
        ("coarse", ["labelled.csv", "--labels", "a"], "missing 'a'"),
        ("coarse", ["labelled.csv"], "unexpected 'truth'"),
        ("coarse", ["rows.csv", "--score", "confidence:z"], "no output 'z'"),
        ("coarse", ["rows.csv", "--tolerance", "-1"], "--tolerance"),
        ("two_inputs", ["rows.csv"], "column names"),
        ("std", ["labelled.csv", "--labels", "truth"], "hold labels against"),
        ("linear", ["rows.csv", "--score", "margin:y"], "no probabilities"),
    ],
)
def test_errors(cli: Cli, name: str, args: list[str], said: str, tmp_path: Path) -> None:
    """What cannot be reported on is an error of one line, and the page that was there still is."""
    frame(0).to_csv("empty.csv", index=False)
    Path("report.html").write_text("the page before")
    assert said in cli(name, *args, status=2).stderr


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


@pytest.fixture(scope="module")
def chrome() -> Iterator[Tab]:
    """Open a tab of a real browser: the one that is installed, else the one that pip brings."""
    found, reason = browser(), unsupported()
    advice = f"install Chromium, or name it in {BROWSER_ENV}; the pages are parsed all the same"
    if found is None and reason:
        pytest.skip(f"{reason}: {advice}")
    try:
        with tab(found) if found else webengine_tab() as opened:
            yield opened
    except (ConfigurationError, DoesNotStartError) as error:
        pytest.skip(f"Qt's Chromium cannot be used ({error}): {advice}")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Write two pages, and return their addresses."""
    folder = tmp_path_factory.mktemp("pages")
    long = "a-very-long-name-without-any-space-" * 6
    written = {}
    for name, found in (("all", findings("x")), ("evil", findings(EVIL)), ("long", findings(long))):
        path = folder / f"{name}.html"
        path.write_text(render(found), encoding="utf-8")
        written[name] = path.as_uri()
    return written


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["all", "evil", "long"])
def test_in_a_browser(chrome: Tab, pages: dict[str, str], name: str, dark: bool) -> None:
    """A browser has nothing to complain about, asks for nothing, and shows a picture of it."""
    chrome.open(pages[name], dark=dark)
    assert chrome.complaints == []
    assert chrome.requests == [pages[name]]
    assert chrome.evaluate("document.scripts.length + document.images.length") == 0
    assert chrome.evaluate("document.compatMode") == "CSS1Compat"
    colour = chrome.evaluate("getComputedStyle(document.body).backgroundColor")
    palette = DARK if dark else LIGHT
    assert colour == "rgb({}, {}, {})".format(*bytes.fromhex(palette["page"][1:]))


CONTRASTS = """
(() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const hex = ([r, g, b]) => '#' + [r, g, b].map(v => v.toString(16).padStart(2, '0')).join('');
  const surface = node => {
    for (; node; node = node.parentElement) {
      const found = parts(getComputedStyle(node).backgroundColor);
      if (found.length < 4 || found[3] > 0) return hex(found);
    }
  };
  const seen = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || node.closest('title, desc')) continue;
    const style = getComputedStyle(node);
    const ink = node.closest('svg') ? style.fill : style.color;
    seen.add(hex(parts(ink)) + ' ' + surface(node));
  }
  return [...seen];
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_legible_in_a_browser(chrome: Tab, pages: dict[str, str], dark: bool) -> None:
    """Every piece of text has a contrast of at least 4.5 to what is behind it, as computed."""
    chrome.open(pages["all"], dark=dark)
    seen = chrome.evaluate(CONTRASTS)
    assert len(seen) > 5
    for pair in seen:
        assert contrast(*pair.split()) >= 4.5, pair


@pytest.mark.parametrize("width", [360, 800, 1600])
@pytest.mark.parametrize("name", ["all", "evil", "long"])
def test_a_page_is_as_wide_as_the_window(
    chrome: Tab, pages: dict[str, str], width: int, name: str
) -> None:
    """Wide tables and pictures scroll by themselves; the page does not scroll sideways."""
    chrome.open(pages[name], width=width)
    assert chrome.evaluate("document.documentElement.scrollWidth") <= width


def test_a_screen_reader_meets_names(chrome: Tab, pages: dict[str, str]) -> None:
    """Pictures, tables, sections and links have names."""
    chrome.open(pages["all"])
    met = chrome.names()
    for role in ("image", "table", "region", "link", "navigation"):
        names = [name for found, name in met if found == role]
        assert names, role
        assert all(names), role
    assert ("heading", "Agreement") in met


def test_a_page_can_be_used_with_the_keyboard(chrome: Tab, pages: dict[str, str]) -> None:
    """Whatever scrolls or opens can be reached by the keyboard."""
    chrome.open(pages["all"], width=360)
    unreachable = "[...document.querySelectorAll('*')].filter(e => e.scrollWidth > e.clientWidth"
    unreachable += " && getComputedStyle(e).overflowX === 'auto' && e.tabIndex < 0).length"
    assert chrome.evaluate(unreachable) == 0
    assert chrome.evaluate("document.querySelector('summary').tabIndex") == 0


def test_printing_is_light(chrome: Tab, pages: dict[str, str]) -> None:
    """Paper is white, also for who prefers dark screens."""
    chrome.open(pages["all"], dark=True, medium="print")
    ink = "getComputedStyle(document.querySelector('h1')).color"
    assert chrome.evaluate(ink) == "rgb({}, {}, {})".format(*bytes.fromhex(LIGHT["ink"][1:]))


def test_the_browser_would_complain(chrome: Tab, tmp_path: Path) -> None:
    """What these tests look for is seen where it is: errors, requests, what the policy stops."""
    page = tmp_path / "bad.html"
    page.write_text('<!DOCTYPE html><img src="http://evil.example/x"><script>oops()</script>')
    chrome.open(page.as_uri())
    assert "oops is not defined" in "".join(chrome.complaints)
    assert "http://evil.example/x" in chrome.requests
    spoiled = render(findings()).replace("</main>", f"{EVIL[8:]}<p style='color: red'></main>")
    page.write_text(spoiled)
    chrome.open(page.as_uri())
    assert len(chrome.forbidden) == 1
    assert "Content Security Policy" in "".join(chrome.complaints)
