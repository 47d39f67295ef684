"""Promotion as it is called: in a rehearsal, for a real endpoint, and from the command line."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from hybridmodel import HybridOnnxModel, deploy, save_model
from hybridmodel.cli.program import program
from hybridmodel.deploy.gate import Bounds
from hybridmodel.deploy.promotion import promote
from hybridmodel.deploy.rehearsal.control import Control
from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
from hybridmodel.deploy.shifting import Plan
from hybridmodel.exceptions import ConfigurationError
from tests.support import models
from tests.support.promoting import ROWS, asking, write_two
from tests.support.rehearsing import NAMES
from tests.support.shadowing import wait_until

SHORT = Plan(hold_s=0.2, answers=3, patience_s=20.0, look_s=0.02)
COLUMNS = list("abc")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """Rehearse two deployments that answer alike."""
    folder = write_two(tmp_path_factory.mktemp("export"), models.graded(1.01))
    with rehearse(folder, server="embedded") as one:
        yield one


@pytest.fixture
def good(running: Rehearsal) -> Iterator[Rehearsal]:
    """Give blue all traffic, before and after."""
    running.set_traffic({"blue": 100})
    yield running
    running.set_mirror({})
    for name in NAMES:
        running.revive(name)


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """Rehearse a green deployment that answers with other classes; its endpoint wants tokens."""
    folder = tmp_path_factory.mktemp("worse")
    write_two(folder, models.graded(-1.0), auth_mode="aad_token")
    with rehearse(folder, server="embedded") as one:
        yield one


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write the rows as a table, with a column that the model lacks."""
    frame = pd.DataFrame(ROWS, columns=COLUMNS).assign(label=0)
    path = tmp_path / "rows.parquet"
    frame.to_parquet(path)
    return path


def cli(*words: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(program, list(map(str, words)))


def test_names() -> None:
    """The package offers what a promotion needs."""
    assert deploy.promote is promote
    assert deploy.Bounds is Bounds
    assert deploy.Plan is Plan
    assert deploy.Promotion.__name__ == "Promotion"


def test_a_good_deployment_gets_the_traffic(good: Rehearsal) -> None:
    """While a client asks on, traffic goes over in steps, and no call is lost."""
    with asking(good) as lost:
        found = promote(good.folder, ROWS, plan=SHORT)
    assert (found.outcome, found.share, lost) == ("promoted", 100, [])
    assert found.is_good
    assert good.snapshot().traffic == {"blue": 0, "green": 100}
    assert good.snapshot().mirror == {}
    assert [step.percent for step in found.steps] == [10, 10, 50, 100]
    assert sum(found.steps[0].codes["green"].values()) >= 3, "copies have been answered"
    assert not found.steps[-1].codes["blue"].keys() - {"200"}


def test_a_killed_deployment_gives_the_traffic_back(good: Rehearsal) -> None:
    """When green dies in the midst, blue has all again, and retries have saved every call."""

    def tell(said: str) -> None:
        if said == "traffic blue=50 green=50":
            good.kill("green")

    with asking(good) as lost:
        found = promote(good.folder, ROWS, plan=SHORT, tell=tell)
    assert (found.outcome, found.share, lost) == ("shifted back", 0, [])
    assert not found.is_good
    assert found.steps[-1].percent == 50
    assert found.steps[-1].failed.keys() == {"dead"}
    assert good.snapshot().traffic == {"blue": 100, "green": 0}


def test_a_worse_deployment_is_refused(worse: Rehearsal) -> None:
    """It gets no traffic, not even copies, and the reason has the numbers."""
    found = promote(worse.folder, ROWS, plan=SHORT)
    assert (found.outcome, found.steps, found.is_good) == ("refused", (), False)
    assert "green answered 300 of 300 rows otherwise than blue" in found.refusals[0]
    assert worse.snapshot().traffic == {"blue": 100, "green": 0}
    assert worse.snapshot().deployments[1].mirrored == 0


def test_credentials_from_elsewhere(good: Rehearsal, worse: Rehearsal) -> None:
    """Another process of the same user gets the key, or a token, and no repr shows it."""
    assert Control(good.folder).credential() == good.credential()
    token: Any = Control(worse.folder).credential()
    assert token.token.startswith("r.")
    assert token.token not in repr(token)


def test_dead_from_the_start(good: Rehearsal) -> None:
    """A deployment that cannot be asked is refused with what it said."""
    good.kill("green")
    found = promote(good.folder, ROWS, plan=SHORT)
    assert any("green failed 1 calls (1 x EndpointUnavailable)" in one for one in found.refusals)


def test_columns_of_a_saved_model(good: Rehearsal, tmp_path: Path) -> None:
    """A saved model brings its columns, whose order in the rows is then free."""
    save_model(HybridOnnxModel(models.graded(), feature_names=COLUMNS), tmp_path / "model")
    turned = pd.DataFrame(ROWS, columns=COLUMNS)[["c", "a", "b"]]
    given = {"model_uri": tmp_path / "model", "plan": Plan(mirror=0, hold_s=0.0, steps=(10,))}
    found = promote(good.folder, turned, **given)
    assert (found.outcome, found.share, found.measured.differing) == ("promoted", 10, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"old": "pink"}, "has no deployment pink; it has blue, green"),
        ({"new": "pink"}, "there is no deployment pink"),
        ({"new": "-"}, "3 to 32 letters"),
        ({"model_config": {"model_name": "cats"}}, "has the models digits; name one"),
        ({"model_config": {"speed": 1}}, "an endpoint has no setting speed; it has uri, "),
        ({"batch_rows": 0}, "batch_rows is a whole number"),
    ],
    ids=["old", "new", "no name", "model", "setting", "rows"],
)
def test_what_cannot_be_asked(good: Rehearsal, options: dict[str, Any], words: str) -> None:
    """It is refused before anything is asked."""
    with pytest.raises(ConfigurationError, match=words):
        promote(good.folder, ROWS, **options)


def test_nobody_to_ask(tmp_path: Path) -> None:
    """Without a rehearsal and an address there is nobody, and the message says who there could be.

    A saved model without an endpoint does not help.
    """
    folder = write_two(tmp_path / "export", models.graded())
    with pytest.raises(ConfigurationError, match="is not rehearsed at the moment, and nothing"):
        promote(folder, ROWS)
    save_model(HybridOnnxModel(models.graded()), tmp_path / "model")
    with pytest.raises(ConfigurationError, match="has no endpoint; set its uri"):
        promote(folder, ROWS, model_uri=tmp_path / "model")


def test_a_real_endpoint_is_measured_only(good: Rehearsal) -> None:
    """The address decides; the commands for it are returned, and no traffic changes."""
    real = {"uri": good.uri, "ca_bundle": str(good.authority), "auth_key_env": None}
    given: dict[str, Any] = {"model_config": real, "credential": good.credential}
    found = promote(good.folder, ROWS, plan=Plan(steps=(25, 100)), **given)
    assert (found.outcome, found.is_good, found.share) == ("holds its bounds", True, 0)
    update = "az ml online-endpoint update -n digits-ep"
    assert found.commands == (
        f'{update} --mirror-traffic "green=10"',
        f'{update} --mirror-traffic "green=0"',
        f'{update} --traffic "blue=75 green=25"',
        f'{update} --traffic "blue=0 green=100"',
    )
    assert found.back == f'{update} --traffic "blue=100 green=0"'
    assert good.snapshot().traffic == {"blue": 100, "green": 0}
    refused = promote(good.folder, ROWS, bounds=Bounds(difference=0.0), **given)
    assert (refused.outcome, refused.commands) == ("refused", ())


def test_the_name_in_an_address(good: Rehearsal, tmp_path: Path) -> None:
    """Without an endpoint.yml, the endpoint has the first name of its host."""
    folder = write_two(tmp_path, models.graded())
    (folder / "endpoint.yml").unlink()
    real = {"uri": good.uri, "ca_bundle": str(good.authority), "auth_key_env": None}
    found = promote(folder, ROWS, model_config=real, credential=good.credential)
    assert "az ml online-endpoint update -n localhost " in found.commands[0]


def test_from_the_command_line(good: Rehearsal, file: Path) -> None:
    """It says what was measured and done; columns that the model lacks can be left out."""
    saved = file.parent / "model"
    save_model(HybridOnnxModel(models.graded(), feature_names=COLUMNS), saved)
    words = ["promote", good.folder, "--rows", file, "--model", saved, "--ignore-extra"]
    with asking(good):
        done = cli(*words, "--hold", 0.2, "--answers", 2, "--steps", "50,100")
    assert done.exit_code == 0, done.output
    for shown in (
        "blue: version 1, 0 calls failed, median ",
        "0 of 300 rows, at most 0.994 % with 95 % confidence",
        "probabilities: 0.003",
        "mirror 10 %",
        "traffic 50 %",
        "green has 100 % of the traffic",
    ):
        assert shown in done.stdout
    assert "traffic blue=50 green=50" in done.stderr


def test_a_crash_is_told(good: Rehearsal, file: Path) -> None:
    """From the command line, too, green loses its traffic: status 1, and the reason is shown."""

    def crash() -> None:
        wait_until(lambda: good.snapshot().traffic["green"] == 50)
        good.kill("green")

    killer = threading.Thread(target=crash)
    saved = file.parent / "model"
    save_model(HybridOnnxModel(models.graded(), feature_names=COLUMNS), saved)
    words = ["promote", good.folder, "--rows", file, "--model", saved, "--ignore-extra"]
    with asking(good) as lost:
        killer.start()
        done = cli(*words, "--mirror", 0, "--steps", "50,100", "--hold", 20)
        killer.join()
    assert done.exit_code == 1, done.output
    assert "shifted back: traffic blue=100" in done.stderr
    assert re.search(r"\nshifted back +green answered with errors: \d+ x dead\n", done.stdout)
    assert lost == []


def test_silence_is_told(good: Rehearsal, file: Path) -> None:
    """Where nobody asked meanwhile, the command says that nothing was seen; JSON has all."""
    words = ["promote", good.folder, "--rows", file, "--ignore-extra", "--hold", 0]
    saved = file.parent / "model"
    save_model(HybridOnnxModel(models.graded(), feature_names=COLUMNS), saved)
    words += ["--model", saved, "--mirror", 0]
    done = cli(*words, "--steps", 10)
    assert "nobody asked it, so nothing was seen: traffic 10 %" in done.stdout
    said = json.loads(cli(*words, "--json", "--steps", 20).stdout)
    assert (said["outcome"], said["rows"], said["steps"][0]["percent"]) == ("promoted", 300, 20)


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        (["--bound", 0.001], 1, "it takes 2995 rows without a difference"),
        (["--bound-difference", 0.001], 1, "'probabilities' differs by up to 0.003"),
        (["--bound-slower", 9], 1, "3 calls were timed, and 20 are needed"),
        (["--steps", "10,x"], 2, "whole percent are expected, as in 10,50,100"),
        (["--steps", "50,10"], 2, "rising whole percent"),
        (["--from", "pink"], 2, "has no deployment pink"),
        (["--tolerance", 1], 2, "tolerance"),
    ],
    ids=["share", "difference", "slower", "no steps", "falling", "pink", "tolerance"],
)
def test_exit_statuses(
    good: Rehearsal, tmp_path: Path, more: list[object], status: int, words: str
) -> None:
    """A broken bound is 1 and a mistake is 2; neither changes the traffic."""
    rows = tmp_path / "rows.csv"
    pd.DataFrame(ROWS, columns=COLUMNS).to_csv(rows, index=False)
    save_model(HybridOnnxModel(models.graded(), feature_names=COLUMNS), tmp_path / "model")
    done = cli("promote", good.folder, "--rows", rows, "--model", tmp_path / "model", *more)
    assert done.exit_code == status, done.output
    assert words in done.output
    assert good.snapshot().traffic == {"blue": 100, "green": 0}


def test_commands_are_printed(good: Rehearsal, file: Path, monkeypatch: Any) -> None:
    """For a real endpoint each command stands on a line of its own, to be copied."""
    monkeypatch.setenv("REHEARSED_KEY", str(good.credential()))
    settings = {"uri": good.uri, "ca_bundle": good.authority, "auth_key_env": "REHEARSED_KEY"}
    saved = file.parent / "model"
    save_model(HybridOnnxModel(models.graded(), feature_names=COLUMNS), saved)
    config = [
        word for item in settings.items() for word in ("--model-config", "=".join(map(str, item)))
    ]
    config += ["--model-config", "model_name=digits"]
    words = ["--rows", file, "--ignore-extra", "--model", saved, *config]
    done = cli("promote", good.folder, *words)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert 'az ml online-endpoint update -n digits-ep --traffic "blue=90 green=10"' in lines
    assert lines[-1].startswith("# back: az ml online-endpoint update -n digits-ep --traffic")
    assert "holds its bounds" in done.stdout
