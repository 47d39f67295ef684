"""The record of a calibration: what is stored, read back, drawn and hashed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import MISSING, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.calibrating import fingerprint
from hybridmodel.cascade import Accuracy, Calibration, Curve, Score
from hybridmodel.cascade.classes import ClassShare
from hybridmodel.cascade.panels import accuracy_panel
from hybridmodel.exceptions import ConfigurationError
from tests.support.calibration_pairs import (
    PAIRS,
    Make,
    calibrate_at_noon,
    classes,
)
from tests.support.strategies import arrays, law

share = st.floats(0, 1)


text = st.text(max_size=5)


inside = st.floats(0.001, 0.999)


class_shares = st.builds(
    ClassShare, label=text, rows=st.integers(1, 10**9), lost=share, small=st.none() | share
)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    """Draw any record that adds up."""
    low, middle, high = sorted(draw(st.lists(share, min_size=3, max_size=3)))
    risk, bound = sorted(draw(st.lists(share, min_size=2, max_size=2)))
    points = draw(st.integers(0, 3))
    column = st.lists(st.floats(allow_nan=False), min_size=points, max_size=points).map(tuple)
    rows = draw(st.integers(1, 10**9))
    return Calibration(
        threshold=draw(st.floats(0, 1) | st.sampled_from([math.inf, -math.inf])),
        score=Score("margin", draw(st.none() | text), draw(st.booleans())),
        loss=draw(text),
        answer=draw(st.none() | text),
        tolerance=draw(st.none() | st.floats(0, 1e9)),
        loss_function=draw(st.none() | text),
        epsilon=draw(inside),
        delta=draw(inside),
        rows=rows,
        required_rows=draw(st.integers(1, 10**9)),
        escalation=middle,
        escalation_interval=(low, high),
        risk=risk,
        risk_bound=bound,
        difference_bound=draw(share),
        missing_scores=draw(st.integers(0, rows)),
        accuracy=draw(st.none() | st.builds(Accuracy, small=share, big=share, cascade=share)),
        warnings=tuple(draw(st.lists(text, max_size=2))),
        small_sha256=draw(text),
        big_sha256=draw(st.none() | text),
        endpoint=draw(text),
        model_version=draw(st.none() | text),
        data_sha256=draw(text),
        date=draw(text),
        asked_rows=draw(st.none() | st.integers(0, rows)),
        drawn_rows=draw(st.none() | st.integers(0, rows)),
        classes=tuple(draw(st.lists(class_shares, max_size=2))),
        curve=draw(
            st.builds(
                Curve,
                risk_low=st.none() | column,
                accuracy_high=st.none() | column,
                escalation=column,
                threshold=column,
                risk=column,
                risk_bound=column,
                accuracy=st.none() | column,
            )
        ),
    )


@law
@given(calibrations())
def test_what_is_written_is_read_back_exactly(calibration: Calibration) -> None:
    """JSON holds every bit of every number, infinities too, and the copy hashes the same."""
    read = Calibration.from_json(calibration.to_json())
    assert read == calibration
    assert hash(read) == hash(calibration)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration
    assert str(read) == str(calibration)
    assert read._repr_html_() == calibration._repr_html_()
    assert all(math.isfinite(value) for value in read.metrics().values())


@pytest.fixture
def found(make: Make) -> Calibration:
    """Return one calibration."""
    return calibrate_at_noon(
        make("classes"), *classes(), epsilon=0.01, score="confidence:sure", big_sha256="abc"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"schema_version": None},
        {"threshold": None},
        {"threshold": "high"},
        {"threshold": True},
        {"threshold": math.nan},
        {"epsilon": 0},
        {"delta": 1.5},
        {"rows": 0},
        {"rows": 2.5},
        {"missing_scores": -1},
        {"escalation": 2},
        {"escalation_interval": [0.9, 0.95]},
        {"escalation_interval": [0.1]},
        {"risk": -0.1},
        {"score": "margin"},
        {"score": {"kind": "certainty", "output": None, "logits": False}},
        {"accuracy": {"small": 1}},
        {"warnings": [1]},
        {"warnings": "none"},
        {"risk_bound": 10**400},
        {"tolerance": "0.5"},
        {"small_sha256": None},
        {"curve": None},
        {"curve": {"escalation": [0], "threshold": [], "risk": [], "risk_bound": []}},
    ],
)
def test_damaged_records_are_refused(found: Calibration, change: dict[str, Any]) -> None:
    """Whatever is missing, of another type or does not add up is one kind of error."""
    with pytest.raises(ConfigurationError):
        Calibration.from_dict({**found.to_dict(), **change})


def later_fields() -> dict[str, Any]:
    """Return the fields that older records lack, with what stands for them."""
    return {item.name: item.default for item in fields(Calibration) if item.default is not MISSING}


def test_older_records_are_read(found: Calibration) -> None:
    """A record of the first version has none of the later fields, nor has its curve."""
    stored = found.to_dict()
    for name in later_fields():
        stored.pop(name, None)
    assert not {name for name in stored["curve"] if name.endswith(("_low", "_high"))}
    assert Calibration.from_dict(stored) == replace(found, **later_fields())
    assert stored["schema_version"] == 1


@pytest.mark.parametrize(
    "name", [n for n in Calibration.__dataclass_fields__ if n not in later_fields()]
)
def test_every_field_is_needed(found: Calibration, name: str) -> None:
    """A record without one of its fields is refused, one with another is read."""
    stored = found.to_dict()
    assert Calibration.from_dict({**stored, "later": 1}) == found
    del stored[name]
    with pytest.raises(ConfigurationError, match=name):
        Calibration.from_dict(stored)


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", b"\xff"])
def test_what_is_no_record_is_refused(text: str | bytes) -> None:
    """Other JSON, and what is none."""
    with pytest.raises(ConfigurationError, match="not the description of a calibration"):
        Calibration.from_json(text)


def test_other_models_are_told(found: Calibration) -> None:
    """Each identity that is known on both sides and differs makes a sentence."""
    same = {"small_sha256": found.small_sha256, "big_sha256": "abc", "endpoint": found.endpoint}
    assert found.differences(**same, model_version="1") == ()
    assert found.differences() == ()
    (sentence,) = found.differences(**{**same, "small_sha256": "def"})
    assert "the local model's sha256 is def, but the calibration was made with" in sentence
    assert len(found.differences(big_sha256="x", endpoint="y", model_version="2")) == 3
    assert replace(found, big_sha256=None).differences(big_sha256="x") == ()


def test_metrics_are_numbers_by_name(found: Calibration) -> None:
    """What an experiment tracker is to show; an infinite threshold is left out."""
    metrics = found.metrics()
    assert metrics["calibration_threshold"] == found.threshold
    assert metrics["calibration_accuracy_cascade"] == 0.995
    assert all(type(value) is float for value in metrics.values())
    without = replace(found, threshold=math.inf, accuracy=None).metrics()
    assert "calibration_threshold" not in without
    assert "calibration_accuracy_big" not in without


def test_the_record_reads_as_sentences(found: Calibration) -> None:
    """Printed, it says threshold, escalation, promise and warnings, and no curve."""
    shown = str(replace(found, warnings=("few rows",)))
    assert "threshold 0.0145145 on confidence:sure" in shown
    assert "escalates 1.5% of the rows (95%: 0.8% to 2.5%)" in shown
    assert (
        "at most 1.00% of all rows are kept at a loss (big right, small wrong), with 90%" in shown
    )
    assert "right: small 98.00%, big 100.00%, cascade 99.50%" in shown
    assert shown.endswith("warning: few rows")
    assert repr(found) == (
        "Calibration(threshold 0.0145145 on confidence:sure, escalates 1.5%; at most 1.00% of all "
        "rows are kept at a loss (big right, small wrong), with 90% confidence; 1,000 rows)"
    )


@pytest.mark.parametrize("ending", ["png", "svg"])
@pytest.mark.parametrize("labelled", [True, False])
def test_pictures(found: Calibration, tmp_path: Path, ending: str, labelled: bool) -> None:
    """Accuracy, risk and cost are drawn, and saved as the ending says."""
    if not labelled:
        curve = replace(found.curve, accuracy=None)
        found = replace(found, accuracy=None, curve=curve)
    path = tmp_path / f"calibration.{ending}"
    figure = found.plot(path, cost_local=0.1, cost_remote=2.0)
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    assert figure._repr_png_()[:4] == b"\x89PNG"  # type: ignore[attr-defined]
    figure.canvas.draw()
    assert figure.axes[0].title.get_window_extent().x1 <= figure.bbox.x1
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["answered rightly"] * labelled + ["kept at a loss", "cost of a row"]
    (cost,) = [text.get_text() for text in figure.axes[-1].texts if text.get_text()[0].isdigit()]
    assert float(cost) == pytest.approx(0.1 + found.escalation * 2)


def test_a_picture_shows_the_intervals_of_a_part(make: Make) -> None:
    """What random rows tell has a band around it, where the whole sample needs none."""
    data, y = classes(4000, harmful=80)
    find = partial(calibrate_at_noon, make("classes"), data, y, epsilon=0.01)
    bands = []
    for size in (None, 400):
        found = find(score="confidence:sure", subsample=size)
        accuracy = found.plot().axes[0]
        bands.append(sum("PolyCollection" in type(item).__name__ for item in accuracy.collections))
        panel = accuracy_panel(found.curve, None)
        assert bool(panel.lower) == bool(panel.upper) == (size is not None)
    assert bands == [0, 1]


def test_a_picture_of_escalating_everything(found: Calibration) -> None:
    """No threshold is a picture, too, and none is left open in matplotlib."""
    from matplotlib import pyplot as plt

    everything = replace(
        found,
        threshold=math.inf,
        escalation=1.0,
        escalation_interval=(1.0, 1.0),
        risk=0.0,
        risk_bound=0.0,
    )
    everything.plot()
    assert plt.get_fignums() == []


def test_without_matplotlib_the_error_says_what_to_install(
    found: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plots are the only thing that needs it."""
    from hybridmodel import MissingDependency

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependency, match=r"needs matplotlib, .*: pip install hybridmodel"):
        found.plot()


@law
@given(st.data())
def test_fingerprints_tell_data_apart(data: st.DataObject) -> None:
    """Equal tensors have equal hashes; other names, shapes, dtypes, values and orders do not."""
    array = data.draw(arrays())
    same = np.array(array.tolist(), array.dtype).reshape(array.shape) if array.size else array
    assert fingerprint({"a": array}) == fingerprint({"a": same.copy()})
    others = [{"b": array}, {"a": array, "b": None}, {}, {"a": array[np.newaxis]}, {"a": None}]
    others += [{"a": array.astype(object)}] * (array.dtype.kind != "O")
    hashes = [fingerprint(item) for item in [{"a": array}, *others]]
    assert len(set(hashes)) == len(hashes)


def test_fingerprints_of_texts_know_where_one_ends() -> None:
    """Texts that only together are equal have other hashes."""
    one, other = (np.array(item, object) for item in (["ab", "c"], ["a", "bc"]))
    assert fingerprint({"a": one}) != fingerprint({"a": other})


def test_importing_loads_nothing_heavy() -> None:
    """The package needs numpy alone until it is used."""
    code = (
        "import sys, hybridmodel.cascade; "
        "heavy = {'scipy', 'pandas', 'matplotlib', 'onnxruntime', 'mlflow', 'requests'}; "
        "print(*heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_served_pairs_are_as_declared(make: Make) -> None:
    """Both halves of every pair have the same inputs and outputs."""
    for name in PAIRS:
        make(name).check_endpoint()
