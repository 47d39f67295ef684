"""What a notebook shows of models, answers and comparisons, and what their texts say."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import Answer, EmbeddingsEndpoint, HybridOnnxModel, TritonEndpoint
from hybridmodel.compare.comparison import Comparison
from hybridmodel.data.answer import Reasons
from hybridmodel.looks.card import Card, Table, _environment, duration, first, listed, render
from hybridmodel.routing import (
    USE_AZURE_ENV,
    Azure,
    AzureFirst,
    Budget,
    Cascade,
    Hedge,
    Local,
    LocalFirst,
    Shadow,
    Split,
)
from hybridmodel.routing.policies import POLICIES
from hybridmodel.routing.words import duties, promise_of
from tests.support import models
from tests.support.cards import card
from tests.support.strategies import law
from tests.support.two_routes import X, local_outputs, remote_outputs

HOST = "https://digits.westeurope.inference.ml.azure.com"
ENDPOINT = TritonEndpoint(uri=HOST, model_name="digits")
OTHER = TritonEndpoint(uri="https://digits.eastus.inference.ml.azure.com", model_name="digits")
EVIL = "</style></td><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x00\ud800"


def made(**options: Any) -> HybridOnnxModel:
    """Make a model that grades three columns."""
    return HybridOnnxModel(models.graded(), **options)


MODELS = [
    pytest.param(lambda: made(), ["local", "endpoint", "none", "mode local"], id="local only"),
    pytest.param(
        lambda: made(endpoint=ENDPOINT, use_azure=True),
        [f"digits at {HOST}", "is not asked", "answers every row"],
        id="azure",
    ),
    pytest.param(
        lambda: made(
            endpoint=ENDPOINT, routing=Cascade(threshold=0.4), feature_names=["a", "b", "c"]
        ),
        ["answers rows it is sure of: margin:probabilities from 0.4 up", "a, b, c"],
        id="cascade",
    ),
    pytest.param(
        lambda: made(endpoint=[ENDPOINT, OTHER], routing="azure_first", output="label"),
        ["2 endpoints, in this order", f"digits at {OTHER.uri}", "predict returns", "label"],
        id="regions",
    ),
]


@pytest.mark.parametrize(("make", "told"), MODELS)
def test_a_model_shows_its_sides_and_who_answers(make: Any, told: list[str]) -> None:
    """The card names file, endpoints, duties, inputs and outputs, and loads nothing."""
    read = card(make()._repr_html_())
    assert set(told) <= set(read.texts)
    assert "x: FP32[?, 3]" in read.texts


ROUTES = [
    pytest.param("1", None, ["mode azure"], id="variable"),
    pytest.param("1", {"use_azure": False, "mode": None}, ["mode local"], id="configured"),
    pytest.param("maybe", None, ["mode local", "calls raise"], id="wrong variable"),
]


@pytest.mark.parametrize(("variable", "configured", "told"), ROUTES)
def test_a_model_shows_what_its_next_call_does(
    variable: str, configured: Any, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable of the environment and the configuration count in the card, as in calls."""
    monkeypatch.setenv(USE_AZURE_ENV, variable)
    model = made(endpoint=ENDPOINT)
    if configured is not None:
        model.policies.configure(**configured)
    assert set(told) <= set(card(model._repr_html_()).texts)


def test_without_jinja_a_notebook_shows_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small device may lack it; the card is then None, and no error."""
    _environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert made()._repr_html_() is None


def test_a_file_that_has_gone_does_not_matter(tmp_path: Path) -> None:
    """The card names the file of a model even where the file is not there any more."""
    path = tmp_path / "digits.onnx"
    path.write_bytes(models.graded())
    model = HybridOnnxModel(path)
    path.unlink()
    assert any(text.startswith("digits.onnx") for text in card(model._repr_html_()).texts)


def test_no_card_shows_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a key of the environment nor a credential is in any text of a model."""
    monkeypatch.setenv("HYBRIDMODEL_API_KEY", "s3cret-of-environment")
    model = made(endpoint=ENDPOINT, credential=lambda: "s3cret-of-callable")
    assert "s3cret" not in f"{model._repr_html_()} {model!r}"


DUTIES = [
    pytest.param(Local(), ("answers every row", "is not asked"), id="local"),
    pytest.param(Azure(), ("is not asked", "answers every row"), id="azure"),
    pytest.param(
        AzureFirst(),
        ("answers where the endpoint is unavailable", "answers every row"),
        id="azure_first",
    ),
    pytest.param(
        LocalFirst(),
        ("answers every row", "answers where the local model does not work"),
        id="local_first",
    ),
    pytest.param(
        Cascade(threshold=0.3, max_escalation=0.2),
        (
            "answers rows it is sure of: margin from 0.3 up",
            "answers the other rows, at most 20.0% of the rows",
        ),
        id="cascade",
    ),
    pytest.param(
        Budget(share=0.05),
        ("answers the other rows, the surest by margin", "answers 5.0% of the rows, least sure"),
        id="share",
    ),
    pytest.param(
        Budget(rows=1000),
        ("answers the other rows, the surest by margin", "answers 1,000 rows, least sure"),
        id="rows",
    ),
    pytest.param(
        Budget(cost=20.0, cost_per_row=0.1),
        (
            "answers the other rows, the surest by margin",
            "answers rows for at most 20, least sure",
        ),
        id="cost",
    ),
    pytest.param(
        Shadow(),
        ("answers every row", "is compared in 100.0% of the calls, in the background"),
        id="shadow",
    ),
    pytest.param(
        Shadow(answer="azure", share=0.5),
        ("is compared in 50.0% of the calls, in the background", "answers every row"),
        id="other shadow",
    ),
    pytest.param(
        Split(share=0.25, by="row"),
        ("answers the other rows", "answers 25.0% of the rows"),
        id="split",
    ),
    pytest.param(
        Hedge(delay_s=0.2),
        (
            "answers where the endpoint takes longer than 0.2 s or is unavailable",
            "answers every row",
        ),
        id="hedge",
    ),
    pytest.param(
        lambda feeds: True,
        ("answers where the function says so", "answers where the function says so"),
        id="function",
    ),
]


@pytest.mark.parametrize(("policy", "told"), DUTIES)
def test_a_policy_says_which_rows_each_side_answers(policy: Any, told: tuple[str, str]) -> None:
    """Every mode has words for both sides; without a calibration nothing is promised."""
    assert duties(policy) == told
    assert promise_of(policy) is None
    assert set(POLICIES) <= {getattr(case.values[0], "mode", "") for case in DUTIES}


ANSWERS = [
    pytest.param(
        Answer({"y": np.zeros((3, 2))}, "local", 0, 0.0021, row_count=3),
        ["3 rows in 2.1 ms", "3 rows (100.0%)", "0 rows (0.0%)", "y", "float64", "[3, 2]", "asked"],
        id="local",
    ),
    pytest.param(
        Answer(
            {"y": np.zeros(4)},
            "mixed",
            2,
            1.5,
            "7",
            "id-1",
            endpoint=HOST,
            row_count=4,
            remote_rows=np.array([True, False, False, False]),
            reason=Reasons(codes=np.array([1, 0, 0, 0]), texts=("sure", "unsure", "never")),
        ),
        ["3 rows (75.0%)", "1 row (25.0%)", "2 requests", "version 7", "request id id-1", "unsure"],
        id="mixed",
    ),
    pytest.param(Answer({}, "local", row_count=0), ["0 rows in 0 µs", "0 rows"], id="nothing"),
    pytest.param(
        Answer({EVIL: np.zeros(1)}, "azure", 1, request_id=EVIL, endpoint=EVIL, reason=EVIL),
        ["1 row (100.0%)"],
        id="hostile",
    ),
]


@pytest.mark.parametrize(("answer", "told"), ANSWERS)
def test_an_answer_shows_who_answered(answer: Answer, told: list[str]) -> None:
    """The card counts the rows of each side, and tells times, reasons and outputs."""
    read = card(answer._repr_html_())
    assert set(told) <= set(read.texts)
    assert "never" not in read.texts


def test_the_text_of_an_answer_is_short_whatever_it_holds() -> None:
    """It is one line without values, and of many outputs it names the first."""
    outputs = {f"out{place}": np.zeros((10**5, 9), np.float32) for place in range(99)}
    text = repr(Answer(outputs, "azure", row_count=10**5))
    assert text == (
        "Answer(out0: float32[100000, 9], out1: float32[100000, 9], out2: float32[100000, 9], "
        "out3: float32[100000, 9], out4: float32[100000, 9], … 94 more; 100000 rows azure; 0 µs)"
    )


def test_a_comparison_shows_where_both_disagree() -> None:
    """The card tells the share with its interval, each output, and the pairs of classes."""
    found = Comparison(made().spec)
    assert repr(found) == "Comparison(no row compared yet by class 'label'; 0 calls)"
    assert "no row compared yet" in card(found._repr_html_()).texts
    found.add(local_outputs(), remote_outputs(), rows=len(X), local_s=0.001, azure_s=0.02)
    found.add_shed()
    found.add_failure(EVIL)
    summary = found.summary()
    for shown in (found, summary):
        read = card(shown._repr_html_())
        assert {"label", "probabilities", "half within 20 ms, 95% 20 ms"} <= set(read.texts)
        assert {"local says", "endpoint says", "1 call, since too many waited"} <= set(read.texts)
    assert summary.agreement is not None
    assert repr(found).startswith(f"Comparison({summary.agreement:.1%} of 40 rows agree (95%: ")


def test_a_comparison_of_vectors_shows_their_directions() -> None:
    """Where vectors are compared, the card has cosine distances."""
    found = Comparison(made().spec, vectors=["probabilities"])
    found.add(local_outputs(), remote_outputs(), rows=len(X))
    assert any("cosine distance" in text for text in card(found._repr_html_()).texts)


ENDPOINTS = [
    pytest.param(ENDPOINT, f"TritonEndpoint(uri={HOST!r}, model_name='digits')", id="defaults"),
    pytest.param(
        TritonEndpoint(uri=HOST, model_name="m", model_version=None, timeout_s=3),
        f"TritonEndpoint(uri={HOST!r}, model_name='m', model_version=None, timeout_s=3.0)",
        id="changed",
    ),
    pytest.param(
        EmbeddingsEndpoint(uri=f"{HOST}/v1/embeddings", model="m", allow_http=True),
        None,
        id="embeddings",
    ),
]


@pytest.mark.parametrize(("endpoint", "text"), ENDPOINTS)
def test_an_endpoint_tells_what_is_not_the_default(endpoint: Any, text: str | None) -> None:
    """Its text is Python that makes it again, with no field that nobody set."""
    assert text in (None, repr(endpoint))
    assert "max_in_flight" not in repr(endpoint)
    assert eval(repr(endpoint)) == endpoint  # It is ours.


def test_a_model_tells_its_policy() -> None:
    """The text of a model names a policy that is not the default."""
    model = made(endpoint=ENDPOINT, routing=Hedge(delay_s=0.2))
    assert repr(model).endswith(f"routing=Hedge(delay_s=0.2), endpoint={ENDPOINT!r})")


@law
@given(st.lists(st.text(), max_size=12), st.text())
def test_every_text_is_escaped_and_cut(items: list[str], text: str) -> None:
    """Whatever a name is, the card stays what it is, and as long as its cut texts."""
    rows = first((item, text) for item in items)
    heads = ("a", text)
    shown = render(
        Card(
            name=text + EVIL,
            state=listed(items),
            facts=((EVIL, EVIL * 100),),
            tables=(Table(heads=heads, rows=rows),),
        )
    )
    read = card(shown)
    assert not any("script" in tag for tag in read.tags)
    assert max(map(len, read.texts)) <= 120 * 10
    assert read.open == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 µs"),
        (1.2e-6, "1.2 µs"),
        (0.0123, "12.3 ms"),
        (0.9999, "1,000 ms"),
        (1.5, "1.5 s"),
        (123456.0, "123,456 s"),
        (math.inf, "inf s"),
    ],
)
def test_times_are_written_in_a_unit_that_suits(seconds: float, text: str) -> None:
    """Three digits, in µs, ms or s."""
    assert duration(seconds) == text
