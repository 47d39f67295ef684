"""Further sections of a report: a live audit, and another model beside the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from hybridmodel import ConfigurationError, HybridOnnxModel, save_model
from hybridmodel.cli.program import program
from hybridmodel.report import render
from hybridmodel.report.extras import audited
from hybridmodel.report.findings import Extra
from hybridmodel.routing import Cascade
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.report_pages import EVIL, checked, findings

X = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve a model that differs from the local ones."""
    with serve({"big": models.graded(-1.0)}) as running:
        yield running


def cascade(server: EmbeddedServer, threshold: float) -> HybridOnnxModel:
    """Make a cascade that audits every row it keeps."""
    policy = Cascade(threshold=threshold, audit_rate=1.0)
    return HybridOnnxModel(models.graded(), endpoint=server.endpoint("big"), routing=policy)


def kept_audit(server: EmbeddedServer, path: Path, threshold: float = 0.0) -> Path:
    """Answer some rows by a cascade, and keep what its audit has seen."""
    with cascade(server, threshold) as model:
        model.predict(X)
        model.audit.save(path)
    return path


def test_the_audits_of_one_cascade_add_up(server: EmbeddedServer, tmp_path: Path) -> None:
    """The section tells how many rows were audited, and how often both models differ."""
    one = kept_audit(server, tmp_path / "one.json")
    two = kept_audit(server, tmp_path / "two.json")
    alone, both = audited([one]), audited([one, two])
    assert alone.rows[0][:2] == ("both models differ", "300")
    assert both.rows[0][:2] == ("both models differ", "600")
    differ = (X.argmax(axis=1) != X.argmin(axis=1)).mean()
    assert both.rows[0][2] == alone.rows[0][2] == f"{100 * differ:.2f} %"
    assert "no promise to hold it against" in both.lead
    assert both.rows[1] == ("kept at a loss, by labels", "0", "–", "–")
    other = kept_audit(server, tmp_path / "other.json", threshold=0.2)
    with pytest.raises(ConfigurationError, match="audits are of different cascades"):
        audited([one, other])


def test_a_section_is_text() -> None:
    """Whatever stands in it, the page holds it as text, with a link to it."""
    extra = Extra(name="audit", title=EVIL, lead=EVIL, head=("", EVIL), rows=((EVIL, EVIL),))
    page = checked(render(replace(findings(), extras=(extra,))))
    assert page.text.count(EVIL) >= 4


@pytest.fixture
def saved(server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save a champion and a challenger, with rows beside them."""
    monkeypatch.chdir(tmp_path)
    for name, threshold in (("champion", 0.2), ("challenger", 0.6)):
        save_model(cascade(server, threshold), tmp_path / name)
    pd.DataFrame(X, columns=list("abc")).assign(y=X.argmin(axis=1)).to_csv("rows.csv", index=False)
    kept_audit(server, tmp_path / "audit.json", 0.2)
    return tmp_path


def report(*args: str) -> Result:
    """Run the command on the champion and its rows."""
    words = ["report", "champion", *args, "--labels", "y", "--answer", "label", "--calls", "0"]
    return CliRunner().invoke(program, words)


def test_the_command_shows_both(saved: Path) -> None:
    """The page has the live audit, and the figures of both models side by side."""
    result = report("rows.csv", "--audit", "audit.json", "--beside", "challenger")
    assert result.exit_code == 0, result.output
    assert "300 rows asked" in result.stderr
    page = checked((saved / "report.html").read_text()).text
    assert "Live audit" in page
    section = page[page.index("Both models answered the same rows") :]
    assert section.index("champion") < section.index("challenger") < section.index("threshold")
    assert section.index("0.2") < section.index("0.6")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rows.csv", "--audit", "rows.csv"], "rows.csv: not the state of an audit"),
        (["rows.csv", "--audit", "none.json"], "none.json"),
        (["rows.csv", "--beside", "nobody"], "nobody"),
        (["-", "--beside", "challenger"], "--beside reads the rows twice, so it needs a file"),
    ],
)
def test_what_cannot_be_shown_is_an_error(saved: Path, words: list[str], said: str) -> None:
    """In one line, and no page is written."""
    result = report(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (saved / "report.html").exists()
