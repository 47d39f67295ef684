"""``mlflow deployments -t hybridmodel:/folder``: what is made, changed, shown and removed."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mlflow.deployments import cli as commands
from mlflow.deployments import interface
from mlflow.exceptions import MlflowException

from hybridmodel.cli.program import program
from hybridmodel.deploy import check
from hybridmodel.deploy.mlflow_target import making, settings, swapping
from hybridmodel.deploy.mlflow_target.places import Target, place_of
from hybridmodel.exceptions import ConfigurationError
from tests.support import models
from tests.support.azure_exports import save
from tests.support.mlflow_target import (
    ENDPOINT,
    cli,
    client,
    make_endpoint,
    plugin,
    refused,
    run,
    tree,
)

__all__ = ["plugin"]  # A fixture for all tests here.

NOT_THERE, THERE = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"
INVALID, STATE, NOT_HERE = "INVALID_PARAMETER_VALUE", "INVALID_STATE", "NOT_IMPLEMENTED"
URL = "https://digits.westeurope.inference.ml.azure.com/v2/models/digits"
NAMES = st.text() | st.text("ab-./\\\0", max_size=8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save two models, and an ONNX file."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "plain.onnx").write_bytes(models.linear())
    found = {name: save(folder / name, seed) for seed, name in enumerate(("first", "second"))}
    return {**found, "plain": folder / "plain.onnx"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, saved: dict[str, Path]) -> Path:
    """Make the same for tests that change nothing; the target is the folder ``target`` in it."""
    folder = tmp_path_factory.mktemp("shared") / "inner"
    folder.mkdir()
    make_endpoint(folder / "target", saved["first"], saved["second"])
    cli("create", folder / "target", "--name", "alone", "-m", saved["second"])
    return folder


@pytest.fixture
def target(tmp_path: Path, saved: dict[str, Path]) -> Path:
    """Make an endpoint with two deployments, and one without an endpoint."""
    folder = make_endpoint(tmp_path / "target", saved["first"], saved["second"])
    cli("create", folder, "--name", "alone", "-m", saved["second"])
    return folder


def config_of(folder: Path) -> str:
    """Read the configuration of a deployment's model."""
    (found,) = folder.glob("models/*/config.pbtxt")
    return found.read_text(encoding="utf-8")


def test_help() -> None:
    """The help of the target names every key and both forms of a target."""
    shown = cli("help", "")
    assert all(key in shown for key in settings.KEYS)
    assert "hybridmodel:/folder" in shown
    assert "hybridmodel:https://" in shown


def test_keys_are_the_options_of_export() -> None:
    """A config has the keys of `hybridmodel export`, but for those about a batch endpoint."""
    options = {name for param in program.commands["export"].params for name in param.opts}
    named = {word.removeprefix("--").replace("-", "_") for word in options if word[:2] == "--"}
    other = {"green", "overwrite", "json", "model_config"}
    batch = {name for name in named if name.startswith("batch_")}
    renamed = {"model_name"} | named - {"name"} - other - batch
    assert batch
    assert set(settings.KEYS) == renamed


def test_create_writes_an_export(target: Path, saved: dict[str, Path]) -> None:
    """A deployment by itself is an export with a record of it."""
    assert tree(target / "alone") == {
        "deployment.json",
        "models/digits/config.pbtxt",
        "models/digits/1/model.onnx",
    }
    record = json.loads((target / "alone" / "deployment.json").read_text())
    assert record["model_uri"] == str(saved["second"])
    assert record["feature_names"] == ["a", "b", "c", "d"]


def test_an_endpoint_is_without_findings(target: Path) -> None:
    """An endpoint has a file for itself and for each deployment, and check finds nothing."""
    folder = target / ENDPOINT
    assert {path.name for path in folder.iterdir()} == {
        *("endpoint.json", "endpoint.yml", "blue", "green"),
        *("blue-deployment.yml", "green-deployment.yml"),
    }
    assert check(folder) == ()
    green = yaml.safe_load((folder / "green-deployment.yml").read_text())
    assert green["endpoint_name"] == ENDPOINT
    assert green["model"]["path"] == "./green/models"


def test_config_arrives(tmp_path: Path, saved: dict[str, Path]) -> None:
    """Values written as text become the numbers and switches that export takes."""
    words = ("cores=2", "instances=2", "queue-delay=50", "warm_up=false", "request_timeout=90")
    given = [word for pair in words for word in ("-C", pair)]
    cli("create", tmp_path, "--name", "blue", "-m", saved["plain"], "-C", "azure=one", *given)
    text = config_of(tmp_path / "one" / "blue")
    assert re.search(r"count: 2\b", text)
    assert "max_queue_delay_microseconds: 50" in text
    assert "model_warmup" not in text
    written = yaml.safe_load((tmp_path / "one" / "blue-deployment.yml").read_text())
    assert written["request_settings"]["request_timeout_ms"] == 90_000
    assert "flavor: onnx\n" in cli("get", tmp_path, "--name", "one/blue")


@pytest.mark.parametrize("kind", ["azure_mlflow", "azure_script"])
def test_the_hybrid_model_itself(kind: str, tmp_path: Path, saved: dict[str, Path]) -> None:
    """A deployment can be the hybrid model itself, in an endpoint of its own."""
    cli("create", tmp_path, "--name", "hybrid", "-m", saved["first"], "-C", f"{kind}=digits-ep")
    assert {"endpoint.yml", "blue-deployment.yml"} <= tree(tmp_path / "hybrid")
    cli("delete", tmp_path, "--name", "hybrid")
    assert not tree(tmp_path)


def test_kserve(tmp_path: Path, saved: dict[str, Path]) -> None:
    """An export for KServe has its file."""
    more = ("-C", "kserve=digits", "-C", "storage_uri=pvc://claim/digits")
    cli("create", tmp_path, "--name", "kserved", "-m", saved["first"], *more)
    assert "kserve.yml" in tree(tmp_path / "kserved")


def test_create_endpoint(tmp_path: Path, saved: dict[str, Path]) -> None:
    """An endpoint is made first, with what all its deployments have in common."""
    made = client(tmp_path).create_endpoint(ENDPOINT, {"auth_mode": "aad_token"})
    assert (made["name"], made["deployments"]) == (ENDPOINT, [])
    cli("create", tmp_path, "--name", "blue", "-m", saved["first"], "--endpoint", ENDPOINT)
    assert "auth_mode: aad_token" in (tmp_path / ENDPOINT / "endpoint.yml").read_text()
    cluster = {"compute": "kubernetes", "compute_name": "k8s-cluster"}
    client(tmp_path).create_endpoint("k8s-ep", cluster)
    cli("create", tmp_path, "--name", "blue", "-m", saved["first"], "--endpoint", "k8s-ep")
    assert "type: kubernetes\n" in (tmp_path / "k8s-ep" / "blue-deployment.yml").read_text()
    assert check(tmp_path / "k8s-ep") == ()
    with pytest.raises(MlflowException, match="exists already") as error:
        client(tmp_path).create_endpoint(ENDPOINT)
    assert error.value.error_code == THERE


def test_create_endpoint_of_the_command_line(tmp_path: Path) -> None:
    """Where MLflow's command takes its own option, it makes an endpoint; 3.17 fails before us."""
    result = run("create-endpoint", "-t", f"hybridmodel:{tmp_path}", "--endpoint", ENDPOINT)
    taken = inspect.signature(commands.create_endpoint.callback).parameters
    if "endpoint" in taken:
        assert result.exit_code == 0, result.exception
    else:
        assert isinstance(result.exception, TypeError)
        assert "unexpected keyword argument 'endpoint'" in str(result.exception)
    assert (tmp_path / ENDPOINT).exists() == ("endpoint" in taken)


def test_list_and_get(target: Path) -> None:
    """Every deployment is listed by a name that get takes; within an endpoint by its own."""
    names = [found["name"] for found in client(target).list_deployments()]
    assert names == ["alone", f"{ENDPOINT}/blue", f"{ENDPOINT}/green"]
    for name in names:
        assert f"name: {name}\n" in cli("get", target, "--name", name)
        assert f"'name': '{name}'" in cli("list", target)
    within = cli("list", target, "--endpoint", ENDPOINT)
    assert "'name': 'blue'" in within
    assert "'name': 'alone'" not in within
    shown = cli("get", target, "--name", "blue", "--endpoint", ENDPOINT)
    assert f"endpoint: {ENDPOINT}\n" in shown
    assert "rehearsal: None" in shown


def test_endpoints_are_shown(target: Path) -> None:
    """An endpoint shows its deployments and its traffic."""
    cli("update-endpoint", target, "--endpoint", ENDPOINT, "-C", "traffic=blue=90 green=10")
    assert f"'name': '{ENDPOINT}'" in cli("list-endpoints", target)
    shown = cli("get-endpoint", target, "--endpoint", ENDPOINT)
    assert "deployments: ['blue', 'green']" in shown
    assert "traffic: {'blue': 90, 'green': 10}" in shown


@pytest.mark.parametrize("name", ["alone", f"{ENDPOINT}/green"])
def test_update(name: str, target: Path, saved: dict[str, Path]) -> None:
    """An update exports again: another model, or other config; what is not said stays."""
    words = ("update", target, "--name", name)
    folder = target / name
    before = (folder / "models/digits/1/model.onnx").read_bytes()
    assert "is updated (with flavor hybrid_onnx)" in cli(
        *words, "-C", "cores=6", "-C", "instances=3"
    )
    assert (folder / "models/digits/1/model.onnx").read_bytes() == before
    cli(*words, "-m", saved["first"])
    assert (folder / "models/digits/1/model.onnx").read_bytes() != before
    assert re.search(r"count: 3\b", config_of(folder))
    cli(*words, "-C", "model_name=other")
    assert "models/digits/config.pbtxt" not in tree(folder)
    if name != "alone":
        assert "name: other\n" in (target / ENDPOINT / "green-deployment.yml").read_text()
        assert check(target / ENDPOINT) == ()


def test_an_update_never_leaves_a_gap(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old and new files change places in one step, so that a crash leaves one or the other."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux exchanges two folders")
    rename, moved = Path.rename, []
    monkeypatch.setattr(Path, "rename", lambda one, other: moved.append(one) or rename(one, other))
    cli("update", target, "--name", "alone", "-C", "cores=1")
    assert target / "alone" not in moved
    assert "intra_op_thread_count" in config_of(target / "alone")


@pytest.mark.parametrize("way", ["swapped", "moved"])
@pytest.mark.parametrize("name", ["alone", f"{ENDPOINT}/green"])
def test_a_failed_update_changes_nothing(
    name: str, way: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error, before or while the new files are put in place, all is as it was."""
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    refused("update", target, "--name", name, "-m", target / "nothing.onnx")
    refused("update", target, "--name", name, "-C", "cores=0")
    moving = "rename" if way == "moved" else "swap"
    owner: Any = Path if way == "moved" else swapping
    move, moved = getattr(owner, moving), []

    def failing(one: Path, other: Path) -> Any:
        if "alone" in one.name or "green" in one.name:
            moved.append(one)
            if len(moved) == (1 if way == "swapped" and name == "alone" else 2):
                raise OSError(28, "No space left on device")
        return move(one, other)

    if way == "moved":
        monkeypatch.setattr(swapping, "swap", lambda *_: False)
    monkeypatch.setattr(owner, moving, failing)
    _, said = refused("update", target, "--name", name, "-C", "cores=1")
    assert "nothing of it is left: No space left on device" in said
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("create --name alone -m MODEL", THERE, "exists already"),
        (f"create --name blue --endpoint {ENDPOINT} -m MODEL", THERE, "exists already"),
        ("create --name blue --endpoint other -m MODEL", NOT_THERE, "no endpoint other; it has"),
        ("create --name new -m MODEL -C core=2", INVALID, "no key 'core' here; on offer: model_"),
        ("create --name new -m MODEL -C cores=two", INVALID, "cores is a whole number, not 'two'"),
        ("create --name new -m MODEL -C warm-up=1 -C warm_up=1", INVALID, "names warm_up twice"),
        ("create --name new -m MODEL -C verify=maybe", INVALID, "verify is True, False"),
        ("create --name new -m MODEL -C request_timeout=x", INVALID, "number of seconds"),
        ("create --name new -m MODEL -C instance_type=Big", INVALID, "needs an endpoint"),
        ("create --name new -m MODEL -C key_secret=x", INVALID, "key_secret needs azure_mlflow"),
        ("create --name new -m MODEL -C kserve=x", INVALID, "kserve and storage_uri go together"),
        ("create --name new -m MODEL -C azure_script=abc -C cores=1", INVALID, "cores is about"),
        (f"create --name new --endpoint {ENDPOINT} -m MODEL -C azure=other", INVALID, "another"),
        (f"create --name new -m MODEL -C azure={ENDPOINT} -C auth_mode=aad_token", INVALID, "made"),
        (f"create --name new --endpoint {ENDPOINT} -m MODEL -C azure_script=abc", INVALID, "own"),
        ("create --name new -m MODEL -f sklearn", INVALID, "flavor is one of hybrid_onnx, onnx"),
        ("create --name ../out -m MODEL", INVALID, "endpoint '..': Azure takes"),
        ("create --name a/b/c -m MODEL", INVALID, "deployment 'a/b/c': Azure takes"),
        ("create --name new --endpoint ../../out -m MODEL", INVALID, "endpoint '../../out'"),
        ("get --name other", NOT_THERE, f"no deployment other; it has alone, {ENDPOINT}/blue"),
        ("update --name other -m MODEL", NOT_THERE, "no deployment other"),
        ("update --name alone -C azure=other", INVALID, "no key 'azure' here"),
        (f"update --name {ENDPOINT}/blue -C auth_mode=key", INVALID, "no key 'auth_mode' here"),
        ("delete --name .. ", INVALID, "deployment '..'"),
        ("delete --name alone -C force=true", INVALID, "no key 'force'"),
        ("list --endpoint other", NOT_THERE, "no endpoint other"),
        ("get-endpoint --endpoint other", NOT_THERE, "no endpoint other"),
        ("get-endpoint --endpoint alone", NOT_THERE, "no endpoint alone"),
        ("delete-endpoint --endpoint ../x", INVALID, "endpoint '../x'"),
        (f"update-endpoint --endpoint {ENDPOINT}", INVALID, "nothing to change"),
        (f"update-endpoint --endpoint {ENDPOINT} -C traffic=blue=90", INVALID, "adds up to 90"),
        (f"update-endpoint --endpoint {ENDPOINT} -C traffic=red=100", INVALID, "no deployment"),
        (f"update-endpoint --endpoint {ENDPOINT} -C mirror=green=60", INVALID, "at most 50"),
        (f"update-endpoint --endpoint {ENDPOINT} -C auth_mode=key", INVALID, "traffic, mirror"),
        ("update-endpoint --endpoint other -C traffic=blue=100", NOT_THERE, "no endpoint other"),
        ("explain --name alone -I ROWS", NOT_HERE, "has no explanations"),
        ("predict --name alone -I ROWS", STATE, "start: hybridmodel rehearse"),
        (f"predict --endpoint {ENDPOINT} -I ROWS", STATE, "not rehearsed at the moment"),
        ("predict --name other -I ROWS", NOT_THERE, "no deployment other"),
    ],
)
def test_refusals(
    words: str, code: str, said: str, shared: Path, saved: dict[str, Path], tmp_path: Path
) -> None:
    """What cannot be done is MLflow's error with a fitting code, and changes nothing."""
    rows = tmp_path / "rows.json"
    rows.write_text('[{"a": 1, "b": 1, "c": 1, "d": 1}]')
    files = {"MODEL": str(saved["first"]), "ROWS": str(rows)}
    verb, *rest = [files.get(word, word) for word in words.split()]
    before = tree(shared.parent)
    found, message = refused(verb, shared / "target", *rest)
    assert (found, said in message) == (code, True), message
    assert tree(shared.parent) == before


def test_the_second_of_two_makers_is_refused(
    target: Path, saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who made a deployment while another was making the same keeps it."""
    build = making._build

    def late(place: Any, *rest: Any) -> Any:
        made = build(place, *rest)
        place.folder.mkdir()
        return made

    monkeypatch.setattr(making, "_build", late)
    code, _ = refused("create", target, "--name", "new", "-m", saved["first"])
    assert code == THERE
    assert list((target / "new").iterdir()) == []


def test_python_types(tmp_path: Path, saved: dict[str, Path]) -> None:
    """From Python values have their own types; None counts as not said."""
    asked = client(tmp_path)
    given = {"azure": ENDPOINT, "cores": 2, "verify": False, "model_version": 3, "copy": None}
    made = asked.create_deployment("blue", saved["first"], config=given)
    assert made["name"] == f"{ENDPOINT}/blue"
    assert made["config"] == {"cores": 2, "verify": False, "model_version": "3"}
    same = {"azure": ENDPOINT, "auth_mode": "key", "compute": "managed"}
    asked.create_deployment("green", str(saved["second"]), config=same)
    asked.update_endpoint(ENDPOINT, {"traffic": {"blue": 100}})
    for wrong in (None, 5, ""):
        with pytest.raises(MlflowException, match="model_uri is an address or a path"):
            asked.create_deployment("new", wrong)
    for wrong in ({"traffic": 5}, {"traffic": {"blue": "100"}}, ["traffic"]):
        with pytest.raises(MlflowException) as error:
            asked.update_endpoint(ENDPOINT, wrong)
        assert error.value.error_code == INVALID


def test_nothing_streams(target: Path) -> None:
    """A stream of answers is refused as what there is not."""
    with pytest.raises(MlflowException) as error:
        client(target).predict_stream("alone", {})
    assert error.value.error_code == NOT_HERE


@given(name=NAMES, endpoint=st.none() | NAMES)
def test_no_name_leads_outside(name: str, endpoint: str | None) -> None:
    """Whatever a deployment and an endpoint are called, they are below the target or refused."""
    folder = Path("/somewhere/target")
    try:
        place = place_of(Target(folder=folder), name, endpoint)
    except ConfigurationError:
        return
    assert place.folder.resolve().is_relative_to(folder)
    assert place.folder != folder


@pytest.mark.parametrize("verb", ["create", "list", "list-endpoints", "get", "delete"])
def test_a_url_is_only_asked(verb: str, saved: dict[str, Path]) -> None:
    """With a URL as target, all but predict is left to Azure's own command line."""
    words = {
        "create": ["--name", "new", "-m", saved["first"]],
        "get": ["--name", "new"],
        "delete": ["--name", "new"],
    }
    code, said = refused(verb, URL, *words.get(verb, []))
    assert (code, "az ml" in said) == (NOT_HERE, True)


@pytest.mark.parametrize("target", ["", "//host/folder", "\0"])
def test_targets_that_are_none(target: str) -> None:
    """A target without a folder is refused, with both forms that there are."""
    with pytest.raises(MlflowException) as error:
        interface.get_deploy_client(f"hybridmodel:{target}")
    assert error.value.error_code == INVALID


def test_a_password_in_an_address_is_not_kept(
    tmp_path: Path, saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of a deployment has the address of its model without password and query."""
    read = making.read_model
    monkeypatch.setattr(making, "read_model", lambda _, **options: read(saved["first"], **options))
    uri = "https://me:canary-1@example.org/digits?sig=canary-2"
    cli("create", tmp_path, "--name", "alone", "-m", uri)
    assert "model_uri: https://example.org/digits\n" in cli("get", tmp_path, "--name", "alone")
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"canary" in text for text in texts)
