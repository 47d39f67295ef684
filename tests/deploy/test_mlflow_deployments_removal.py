"""``mlflow deployments``: what is removed, and that nothing else is, whatever is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.azure_exports import save
from tests.support.mlflow_target import (
    ENDPOINT,
    cli,
    client,
    make_endpoint,
    plugin,
    refused,
    tree,
)

__all__ = ["plugin"]  # A fixture for all tests here.

INVALID, STATE = "INVALID_PARAMETER_VALUE", "INVALID_STATE"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save two models."""
    folder = tmp_path_factory.mktemp("models")
    return {name: save(folder / name, seed) for seed, name in enumerate(("first", "second"))}


@pytest.fixture
def target(tmp_path: Path, saved: dict[str, Path]) -> Path:
    """Make an endpoint with two deployments, and one without an endpoint."""
    folder = make_endpoint(tmp_path / "target", saved["first"], saved["second"])
    cli("create", folder, "--name", "alone", "-m", saved["second"])
    return folder


def test_delete(target: Path) -> None:
    """A deployment is gone with its files; deleting it again does nothing, as MLflow wants."""
    for _ in range(2):
        cli("delete", target, "--name", "green", "--endpoint", ENDPOINT)
        cli("delete", target, "--name", "alone")
    assert {path.name for path in target.iterdir()} == {ENDPOINT}
    assert not (target / ENDPOINT / "green").exists()
    assert not (target / ENDPOINT / "green-deployment.yml").exists()
    for _ in range(2):
        cli("delete-endpoint", target, "--endpoint", ENDPOINT)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    "strange",
    [
        "alone/mine.txt",
        "alone/models/digits/1/mine.onnx",
        "alone/empty/",
        "alone/link@",
        "alone/models@",
        "alone/models/digits/1/model.onnx@",
        f"{ENDPOINT}/mine.yml",
        f"{ENDPOINT}/blue/models/link@",
    ],
)
def test_deletion_leaves_what_others_wrote(strange: str, target: Path, tmp_path: Path) -> None:
    """A folder with anything else is refused, and nothing in it is deleted."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("kept")
    path = target / strange.rstrip("@/")
    if path.exists():
        path.rename(tmp_path / "aside")
    if strange.endswith("/"):
        path.mkdir()
    elif strange.endswith("@"):
        path.symlink_to(tmp_path / "outside")
    else:
        path.write_text("mine")
    before = tree(target)
    alone = strange.startswith("alone")
    words = ("delete", "--name", "alone") if alone else ("delete-endpoint", "--endpoint", ENDPOINT)
    code, said = refused(words[0], target, *words[1:])
    assert (code, "nothing was deleted" in said) == (STATE, True)
    assert path.name in said
    assert tree(target) == before
    assert (tmp_path / "outside" / "file").read_text() == "kept"


def test_a_record_cannot_name_files_elsewhere(target: Path, tmp_path: Path) -> None:
    """What a record lists is only compared with what is there, and never looked up."""
    (tmp_path / "precious").write_text("kept")
    record = target / "alone" / "deployment.json"
    said = json.loads(record.read_text())
    record.write_text(json.dumps({**said, "files": [*said["files"], "../../precious"]}))
    cli("delete", target, "--name", "alone")
    assert (tmp_path / "precious").read_text() == "kept"
    assert not (target / "alone").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "no record of format 1"),
        ({"name": "other"}, "record of another folder"),
        ({"files": [1]}, "is damaged"),
        ({"config": []}, "is damaged"),
        ({"config": {"linked": True}}, "config has no key 'linked'"),
        (None, "no record"),
    ],
)
def test_a_damaged_record(change: Any, said: str, target: Path) -> None:
    """A record that cannot be believed is an error that names it, and changes nothing."""
    record = target / "alone" / "deployment.json"
    known = json.loads(record.read_text())
    record.write_text("{" if change is None else json.dumps({**known, **change}))
    code, message = refused("update", target, "--name", "alone")
    assert code == INVALID
    assert said in message


def test_traffic_protects(target: Path) -> None:
    """A deployment with traffic, or a mirror, is not deleted before it has been given away."""
    update = ("update-endpoint", target, "--endpoint", ENDPOINT, "-C")
    cli(*update, "traffic=blue=100", "-C", "mirror=green=10")
    for name in ("blue", "green"):
        code, said = refused("delete", target, "--name", name, "--endpoint", ENDPOINT)
        assert code == STATE
        assert f"{ENDPOINT}/{name} has " in said
    code, said = refused(*update, "traffic=green=100")
    assert "a deployment is either live or a mirror" in said
    cli(*update, "traffic=green=100", "-C", "mirror=")
    cli("delete", target, "--name", "blue", "--endpoint", ENDPOINT)


@pytest.mark.parametrize("at", ["alone", ENDPOINT, f"{ENDPOINT}/green"])
def test_links_are_not_followed(at: str, target: Path, tmp_path: Path) -> None:
    """A folder that is a link is neither listed, changed nor deleted."""
    place = target / at
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path / "elsewhere")
    name = f"{at}/blue" if at == ENDPOINT else at
    assert at not in [one["name"] for one in client(target).list_deployments()]
    for verb in ("update", "delete", "get"):
        code, said = refused(verb, target, "--name", name)
        assert (code, "is a link" in said) == (INVALID, True)
    assert tree(tmp_path / "elsewhere") == before
