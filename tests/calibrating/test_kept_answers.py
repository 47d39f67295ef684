"""Answers of the endpoint are kept in a file, and nobody pays for one of them twice."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from hybridmodel import HybridOnnxModel
from hybridmodel.calibrating import KeptAnswers, calibrate, keep_answers, keep_shadow
from hybridmodel.calibrating.asking import Asking, Remote
from hybridmodel.calibrating.sample import Sample, bind
from hybridmodel.cascade import Calibration, Score
from hybridmodel.exceptions import (
    ConfigurationError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    InputMismatch,
    SpecMismatch,
)
from hybridmodel.routing import Shadow
from hybridmodel.serving import EmbeddedServer, serve
from tests.support.calibration_pairs import (
    PAIRS,
    Data,
    Make,
    answering,
    calibrate_at_noon,
    classes,
    numbers,
    tables,
)
from tests.support.models import build, tensor
from tests.support.strategies import Array

SURE = {"score": "confidence:sure", "epsilon": 0.01}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where answers are to be kept."""
    return tmp_path / "answers.arrow"


def first_rows(data: Data, count: int) -> Data:
    """Return the first rows of a sample."""
    return {name: values[:count] for name, values in data.items()}


class Client:
    """Stands for a client: counts rows, and fails, or names other versions, when told to."""

    def __init__(self, client: Any, *, fails_after: int = sys.maxsize, versions: Any = None):
        self._client, self._left, self._versions = client, fails_after, versions
        self.rows = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def request_rows(self, *_: Any) -> int:
        """Take a hundred rows in a request."""
        return 100

    def infer(self, feeds: Data, names: Any, *, rows: int, timeout_s: float) -> Any:
        """Pass a request on."""
        self._left -= 1
        if self._left < 0:
            raise EndpointUnavailable("no more")
        self.rows += rows
        answer = self._client.infer(feeds, names, rows=rows, timeout_s=timeout_s)
        return replace(answer, model_version=next(self._versions)) if self._versions else answer


class Through:
    """A model whose endpoint is reached through another client."""

    def __init__(self, model: HybridOnnxModel, **how: Any) -> None:
        self._model = model
        self.client = Client(model.client, **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def test_a_second_try_pays_nothing(make: Make, path: Path) -> None:
    """The same sample again gives the same record, without one row that is asked for."""
    data, y = classes()
    find = partial(calibrate_at_noon, make("classes"), data, y, **SURE)
    one = find(answers=path)
    two = find(answers=path)
    assert (one.asked_rows, two.asked_rows) == (1000, 0)
    assert replace(two, asked_rows=1000) == one == find()
    assert [item.name for item in path.parent.iterdir()] == ["answers.arrow"]


@pytest.mark.parametrize(
    "other",
    [
        {"epsilon": 0.005},
        {"delta": 0.05},
        {"score": "uncertainty:sure"},
        {"loss": lambda y, small, big: big["sure"] < small["sure"] - 0.5},
    ],
    ids=["epsilon", "delta", "score", "loss"],
)
def test_another_question_to_the_same_answers(
    make: Make, path: Path, other: dict[str, Any]
) -> None:
    """Another epsilon, delta, score or loss costs nothing where every row was answered."""
    data, y = classes()
    model = make("classes")
    calibrate(model, data, y, **SURE, answers=path)
    found = calibrate_at_noon(model, data, y, **{**SURE, **other}, answers=path)
    assert found.asked_rows == 0
    assert found == replace(calibrate_at_noon(model, data, y, **{**SURE, **other}), asked_rows=0)


def test_more_rows_pay_for_the_new_ones_only(make: Make, path: Path) -> None:
    """Rows are recognised by what is in them: a larger sample, in any order, reuses all it has."""
    data, y = classes()
    find = partial(calibrate, make("classes"), **SURE, subsample=None, answers=path)
    find(first_rows(data, 600), y[:600])
    order = np.random.default_rng(3).permutation(1000)
    found = find({name: values[order] for name, values in data.items()}, y[order])
    assert found.asked_rows == 400
    assert found.threshold == calibrate(make("classes"), data, y, **SURE).threshold


def test_what_was_answered_before_a_failure_is_kept(make: Make, path: Path) -> None:
    """A sample that fails after three requests has to be paid only from the fourth."""
    data, y = classes()
    model: Any = Through(make("classes"), fails_after=3)
    find = partial(calibrate, **SURE, subsample=None, answers=path)
    with pytest.raises(EndpointUnavailable):
        find(model, data, y)
    assert model.client.rows == 300
    model = Through(make("classes"))
    assert find(model, data, y).asked_rows == model.client.rows == 700


@pytest.mark.parametrize(
    ("pair", "sample", "how"),
    [
        ("tables", tables, {"score": "margin"}),
        ("numbers", numbers, {"score": "uncertainty:std", "tolerance": 0.5}),
        ("binary", lambda: _binary(), {"score": "margin"}),
    ],
    ids=["table", "column", "binary"],
)
def test_answers_come_back_to_the_bit(
    make: Make, path: Path, pair: str, sample: Any, how: dict[str, Any]
) -> None:
    """Tables, columns and numbers of any width are read as they were written."""
    data, y = sample()
    find = partial(calibrate_at_noon, make(pair), data, y, epsilon=0.01, answers=path, **how)
    one = find()
    assert replace(find(), asked_rows=one.asked_rows) == one


def _binary() -> tuple[Data, Array]:
    truth = np.arange(500) % 2
    p = np.linspace(0.51, 0.99, 500)
    small = np.where((truth == 1) ^ (p < 0.52), p, 1 - p)[:, np.newaxis]
    return {"small_p": small, "big_p": truth[:, np.newaxis].astype(float)}, truth


def test_texts_are_kept(make: Make, path: Path) -> None:
    """Classes may be texts of any length."""
    data, y = classes()
    names = np.array(["no", "", "perhaps ☂"], dtype=object)
    data |= {name: names[data[name]][:, None] for name in ("small_label", "big_label")}
    find = partial(calibrate_at_noon, make("texts"), data, names[y], **SURE, answers=path)
    one = find()
    assert replace(find(), asked_rows=1000) == one


def test_nobody_has_to_be_asked(make: Make, path: Path) -> None:
    """From stored answers a calibration is made while the endpoint is away."""
    data, y = classes()
    whole = calibrate_at_noon(make("classes"), data, y, **SURE, answers=path)
    model: Any = Through(make("classes"), fails_after=0)
    found = calibrate_at_noon(model, data, y, **SURE, answers=path, ask=False)
    assert found == replace(whole, asked_rows=0)


def test_rows_without_an_answer_count_as_losses(make: Make, path: Path) -> None:
    """The promise holds for what is left: nothing is assumed about a row that nobody answered."""
    data, y = classes()
    model = make("classes")
    whole = calibrate(model, first_rows(data, 990), y[:990], **SURE, answers=path)
    with pytest.warns(UserWarning, match=r"rows have no answer, and count as losses"):
        found = calibrate(model, data, None, **SURE, answers=path, ask=False)
    assert found.threshold > whole.threshold
    assert (found.asked_rows, found.rows) == (0, 1000)
    with pytest.raises(ConfigurationError, match=r"10 of 1,000 rows have no answer.*ask=False"):
        calibrate(model, data, y, **SURE, answers=path, ask=False, subsample=None)


def test_answers_from_elsewhere(make: Make, path: Path) -> None:
    """What shadow mode or a log saw is kept by hand, once, and calibrated on."""
    data, y = classes()
    model = make("classes")
    for start in range(0, 1000, 250):
        part = {name: values[start : start + 250] for name, values in data.items()}
        keep_answers(path, model, part, model.infer(part, use_azure=True))
    keep_answers(path, model, data, model.infer(data, use_azure=True))
    found = calibrate_at_noon(model, data, y, **SURE, answers=path, ask=False)
    assert replace(found, asked_rows=1000) == calibrate_at_noon(model, data, y, **SURE)
    kept = KeptAnswers(path, model.client.endpoint.model_url, model.spec)
    assert kept.outputs == ("label", "sure")
    assert kept.rows == 1000


def wait_for(model: HybridOnnxModel) -> None:
    """Wait until nothing is pending in the background."""
    until = time.monotonic() + 20
    while model.stats()["shadow.pending"] and time.monotonic() < until:
        time.sleep(0.01)


def test_answers_of_shadow_mode(make: Make, path: Path) -> None:
    """What the endpoint answers in the background is enough to calibrate without asking it."""
    data, y = classes()
    model = make("classes", routing=Shadow())
    with keep_shadow(model, path) as kept:
        for start in range(0, 1000, 100):
            model.predict({name: values[start : start + 100] for name, values in data.items()})
        wait_for(model)
    assert kept.rows == 1000
    model.predict(data)
    quiet: Any = Through(make("classes"), fails_after=0)
    found = calibrate_at_noon(quiet, data, y, **SURE, answers=path, ask=False)
    assert replace(found, asked_rows=1000) == calibrate_at_noon(make("classes"), data, y, **SURE)


def test_shadow_mode_goes_on_when_answers_cannot_be_kept(
    make: Make, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that does not take them is told, and the comparison counts all the same."""
    data, _ = classes()
    model = make("classes", routing=Shadow(answer="azure"))
    with keep_shadow(model, path) as kept:
        kept.add([b"0" * 16], {"sure": data["big_sure"][:1]}, "1")
        model.predict(data)
        wait_for(model)
    assert model.stats()["shadow.calls"] == 1
    assert "an answer of the endpoint cannot be kept (ConfigurationError)" in caplog.text
    assert kept.rows == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"label": np.zeros(7, np.int64)}, r"'label' is int64 of shape \[7\]"),
        ({"label": np.zeros(10)}, "'label' is float64"),
        ({"lable": np.zeros(10, np.int64)}, "expected one of the outputs label: INT64"),
    ],
)
def test_answers_that_do_not_fit_are_refused(
    make: Make, path: Path, answer: Data, message: str
) -> None:
    """An answer has the outputs of the model, and a row for each row."""
    data, _ = classes(10, harmful=1)
    with pytest.raises(InputMismatch, match=message):
        keep_answers(path, make("classes"), data, answer)
    local = make("classes").infer(data)
    with pytest.raises(InputMismatch, match="came by route 'local'; only answers of the endpoint"):
        keep_answers(path, make("classes"), data, local)
    assert not path.exists()


def test_the_version_that_answers_may_not_change(make: Make, path: Path) -> None:
    """A promise is for one model: answers of two are refused, and the later ones kept for next."""
    data, y = classes()
    model: Any = Through(make("classes"), versions=iter("1122222222"))
    find = partial(calibrate, **SURE, subsample=None, answers=path)
    with pytest.raises(ConfigurationError, match="version 2 of the endpoint's model answered"):
        find(model, data, y)
    model = Through(make("classes"), versions=iter("2" * 10))
    found = find(model, data, y)
    assert found.model_version == "2"
    assert found.asked_rows is not None
    assert 200 <= found.asked_rows < 1000


def test_files_of_others_are_refused(make: Make, server: EmbeddedServer, path: Path) -> None:
    """A file names its endpoint; one without an output that is needed does not serve."""
    data, y = classes(400, harmful=3)
    calibrate(make("classes"), data, y, **{**SURE, "epsilon": 0.05}, answers=path)
    small = answering("small", **PAIRS["classes"])
    other = HybridOnnxModel(small, endpoint=server.endpoint("texts"))
    with pytest.raises(ConfigurationError, match=r"come from .*/classes.*not from .*/texts"):
        calibrate(other, data, y, **SURE, answers=path)
    path.unlink()
    model = make("classes")
    keep_answers(path, model, data, {"sure": data["big_sure"]}, model_version="1")
    with pytest.raises(ConfigurationError, match="'label' is needed as well; name another file"):
        calibrate(model, data, y, **SURE, answers=path)
    with pytest.raises(ConfigurationError, match="name another file"):
        keep_answers(path, model, data, {"label": data["big_label"]}, model_version="2")


def test_an_endpoint_that_hides_its_outputs(make: Make, path: Path) -> None:
    """What is needed is kept then, and no more; a score of another output is another file."""
    data, y = classes()
    model: Any = Through(make("classes"))
    model.client.metadata = _hidden
    find = partial(calibrate, model, data, y, epsilon=0.01, answers=path)
    find(score="confidence:sure")
    assert find(score="uncertainty:sure").asked_rows == 0
    with pytest.raises(ConfigurationError, match="they have the outputs label, and 'sure' is need"):
        find(score="confidence:sure", loss=lambda y, small, big: small["sure"] < 0)


def _hidden(_: float) -> Any:
    raise EndpointRefused("no description here", status=404)


def test_answers_of_another_width_are_refused(make: Make) -> None:
    """Rows of one output have one shape, whatever the request they came in."""
    data, y = tables()
    model: Any = Through(make("open_tables"))
    whole = model.client.infer

    def narrower(feeds: Data, names: Any, **how: Any) -> Any:
        answer = whole(feeds, names, **how)
        if model.client.rows <= 50:
            return answer
        return replace(answer, outputs={"p": np.eye(2, dtype=np.float32)[[0] * how["rows"]]})

    model.client.infer = narrower
    with pytest.raises(SpecMismatch, match=r"rows of shape \[2\] came after rows of shape \[3\]"):
        calibrate(model, data, y, epsilon=0.01, score="margin", subsample=50)


def test_models_that_do_not_answer_row_by_row(path: Path) -> None:
    """Inputs that all rows share need the whole sample at once, whose answers are not kept."""
    nodes = [helper.make_node("Mul", ["x", "w"], ["xw"])]
    nodes += [helper.make_node("Softmax", ["xw"], ["p"], axis=1)]
    inputs = [tensor("x", "FP32", ("N", 2)), tensor("w", "FP32", (1, 2))]
    whole = build(nodes, inputs, [tensor("p", "FP32", ("N", 2))])
    x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    data = {"x": x, "w": np.ones((1, 2), np.float32)}
    with serve({"whole": whole}) as server:
        model = HybridOnnxModel(whole, endpoint=server.endpoint("whole"))
        with pytest.warns(UserWarning, match="both models give the same class"):
            found = calibrate(model, data, epsilon=0.02, subsample=10)
        assert (found.asked_rows, found.drawn_rows) == (300, None)
        with pytest.raises(ConfigurationError, match="only answers to single rows are kept"):
            calibrate(model, data, epsilon=0.02, answers=path)
        with pytest.raises(InputMismatch, match="only answers to single rows are kept"):
            keep_answers(path, model, data, model.infer(data, use_azure=True))


def test_a_file_that_cannot_be_written_stays_as_it_was(
    make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full leaves the answers from before, and nothing beside them."""
    data, y = classes()
    model = make("classes")
    calibrate(model, first_rows(data, 400), y[:400], **SURE, answers=path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        calibrate(model, data, y, **SURE, answers=path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_what_others_add_meanwhile_is_kept(make: Make, path: Path) -> None:
    """Two that have the file open in turn both find all answers in it."""
    model = make("classes")
    data, _ = classes()
    one, other = (KeptAnswers(path, model.client.endpoint.model_url, model.spec) for _ in range(2))
    for place, kept in enumerate((one, other, one)):
        kept.add([bytes([place]) * 16], {"label": data["big_label"][:1]}, "1")
    again = KeptAnswers(path, model.client.endpoint.model_url, model.spec)
    assert (one.rows, other.rows, again.rows) == (3, 2, 3)


def test_a_folder_that_is_missing_is_told_before_anybody_is_asked(make: Make, path: Path) -> None:
    """It would be too late after the first answer."""
    model: Any = Through(make("classes"), fails_after=0)
    with pytest.raises(ConfigurationError, match="there is no folder"):
        calibrate(model, *classes(), **SURE, answers=path / "more.arrow")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"loss": lambda y, small, big: [2] * len(y)}, "has to return 0 or 1"),
        ({"loss": lambda y, small, big: big["prob"]}, "prob"),
        ({"score": lambda outputs: [1]}, "for 1000 rows"),
        ({"y": np.full(1000, 0.5)}, "not whole"),
    ],
    ids=["loss", "output", "score", "labels"],
)
def test_mistakes_show_before_anybody_is_paid(
    make: Make, arguments: dict[str, Any], error: str
) -> None:
    """Losses, scores and labels are tried on the small model's answers first."""
    data, y = classes()
    model: Any = Through(make("classes"))
    with pytest.raises((ConfigurationError, InputMismatch, KeyError), match=error):
        calibrate(model, data, **{"y": y, **SURE, **arguments})
    assert model.client.rows == 0


def ticking() -> Iterator[float]:
    """Yield the time of a clock that takes a second whenever somebody looks."""
    yield from map(float, range(10_000))


def test_the_sample_has_a_deadline(make: Make, path: Path) -> None:
    """It is over all requests, and the error says how many rows were answered and are kept."""
    data, _ = classes()
    model: Any = Through(make("classes"))
    clock = ticking()
    sample = Sample(model, bind(model, data))
    kept = KeptAnswers(path, model.client.endpoint.model_url, model.spec)
    how = Asking(kept=kept, timeout_s=9.0, clock=lambda: next(clock))
    remote = Remote(model, sample, ("label",), Score("confidence", "sure"), how)
    with pytest.raises(EndpointTimeout, match=r"of 9 s passed .*: \d00 of 1,000 rows .* kept in"):
        remote.ask(np.arange(1000))
    assert 100 <= remote.known.sum() < 1000
    again = KeptAnswers(path, model.client.endpoint.model_url, model.spec)
    assert again.rows == remote.known.sum()


@pytest.mark.parametrize(("wanted", "is_shown"), [(None, False), (False, False), (True, True)])
def test_progress_is_shown_where_somebody_looks(
    make: Make, capsys: pytest.CaptureFixture[str], wanted: bool | None, is_shown: bool
) -> None:
    """On a terminal or when asked for; this stderr is no terminal."""
    data, y = classes()
    found = calibrate(make("classes"), data, y, **SURE, progress=wanted)
    assert isinstance(found, Calibration)
    assert ("endpoint" in capsys.readouterr().err) == is_shown
