"""`hybridmodel export --azure…`: the files load, fit each other, and hold no secret."""

from __future__ import annotations

import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel.cli import export_templates
from hybridmodel.cli.program import program
from hybridmodel.deploy.azure.fitting import fitted
from hybridmodel.deploy.azure.limits import MOST_REQUEST_TIMEOUT_S
from hybridmodel.deploy.checking import check
from hybridmodel.deploy.rehearsal.folder import read_endpoint
from tests.support.azure_exports import KEY_NAME, KINDS, SECRET, commands, export, for_loaders, read
from tests.support.azure_exports import save as save_hybrid
from tests.support.azure_loaders import said_by_azure
from tests.support.paths import ROOT

CANARY = "canary-7d20c4b19e"


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Export a model for each kind of endpoint, with its key in the environment."""
    folder = tmp_path_factory.mktemp("azure")
    saved = save_hybrid(folder / "saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_NAME, CANARY)
        for kind, options in KINDS.items():
            export(saved, folder / kind, *options)
    return {kind: folder / kind for kind in KINDS}


def test_azures_own_loaders_take_all(exports: dict[str, Path]) -> None:
    """azure-ai-ml loads every file of every kind of endpoint, without a network."""
    files = [pair for folder in exports.values() for pair in for_loaders(folder)]
    assert {path.name for _, path in files if path.parent.name == "mlflow"} == {
        "endpoint.yml",
        "blue-deployment.yml",
        "green-deployment.yml",
        "batch-endpoint.yml",
        "batch-deployment.yml",
        "batch-green-deployment.yml",
        "batch-cluster.yml",
    }
    said = said_by_azure(files)
    assert dict(zip([str(path) for _, path in files], said, strict=True)) == {
        str(path): None for _, path in files
    }


@pytest.mark.parametrize("kind", KINDS)
def test_our_own_check_finds_nothing(exports: dict[str, Path], kind: str) -> None:
    """`hybridmodel check` has nothing to say of what `hybridmodel export` writes."""
    assert check(exports[kind]) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_files_name_what_is_there(exports: dict[str, Path], kind: str) -> None:
    """Each path in a file leads to what an export has written, and names agree between files."""
    folder = exports[kind]
    endpoint = read(folder / "endpoint.yml")
    for path in folder.glob("*-deployment.yml"):
        found = read(path)
        batch = path.name.startswith("batch")
        assert found["endpoint_name"] == ("digits-ep-batch" if batch else endpoint["name"])
        assert (folder / found["model"]["path"]).is_dir()
        if code := found.get("code_configuration"):
            assert (folder / code["code"] / code["scoring_script"]).is_file()
            assert (folder / found["environment"]["conda_file"]).is_file()
    assert "traffic" not in endpoint
    assert ("compute" in endpoint) == ("kubernetes" in kind)


def test_the_repository_of_triton(exports: dict[str, Path]) -> None:
    """The model's path is the root of the repository, in the form that starts Azure's Triton."""
    folder = exports["triton"]
    for name in ("blue", "green"):
        found = read(folder / f"{name}-deployment.yml")
        assert (found["name"], found["type"]) == (name, "managed")
        assert found["model"]["type"] == "triton_model"
        assert found["model"]["path"] == "./models"
        assert not {"environment", "code_configuration"} & found.keys()
    assert (folder / "models" / "digits" / "config.pbtxt").is_file()


def test_batch_is_careful(exports: dict[str, Path]) -> None:
    """A batch job fails with its first bad file, writes its own tables, and costs nothing idle."""
    found = read(exports["mlflow"] / "batch-deployment.yml")
    assert found["settings"]["error_threshold"] == 0
    assert found["settings"]["output_action"] == "summary_only"
    assert found["settings"]["retry_settings"]["timeout"] >= 300
    cluster = read(exports["mlflow"] / "batch-cluster.yml")
    assert (cluster["tier"], cluster["min_instances"]) == ("low_priority", 0)
    assert found["compute"] == f"azureml:{cluster['name']}"


def test_two_batch_deployments(exports: dict[str, Path]) -> None:
    """Green differs from blue by its name alone, and the commands switch the default to it."""
    blue = read(exports["mlflow"] / "batch-deployment.yml")
    green = read(exports["mlflow"] / "batch-green-deployment.yml")
    assert (blue["name"], green["name"]) == ("blue", "green")
    assert {**green, "name": "blue"} == blue
    text = (exports["mlflow"] / "BATCH_COMMANDS.md").read_text()
    for name in ("blue", "green"):
        assert f"--set defaults.deployment_name={name}" in text
    assert "--deployment green" in text
    assert "jobs run 1 at a time" in text


def test_the_machines_of_batch_jobs(tmp_path: Path) -> None:
    """Tier, size, scaling and queueing are options, and stand in the files and the commands."""
    save_hybrid(tmp_path / "saved")
    options = ("--batch-tier", "dedicated", "--batch-nodes", 8, "--batch-nodes-per-job", 2)
    more = ("--batch-min-nodes", 1, "--batch-idle", 300)
    export(tmp_path / "saved", tmp_path / "out", "--azure-mlflow", "digits-ep", *options, *more)
    cluster = read(tmp_path / "out" / "batch-cluster.yml")
    assert (cluster["tier"], cluster["max_instances"], cluster["min_instances"]) == (
        "dedicated",
        8,
        1,
    )
    assert cluster["idle_time_before_scale_down"] == 300
    assert read(tmp_path / "out" / "batch-deployment.yml")["resources"] == {"instance_count": 2}
    text = (tmp_path / "out" / "BATCH_COMMANDS.md").read_text()
    assert "keeps 1 of its machines" in text
    assert "dedicated" in text
    assert "jobs run 4 at a time" in text
    rehearsed = read_endpoint(tmp_path / "out").batch
    assert rehearsed is not None
    assert (rehearsed.name, rehearsed.nodes, rehearsed.default) == ("digits-ep-batch", 8, "blue")
    assert [one.nodes for one in rehearsed.deployments] == [2, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_settings_fit_each_other(exports: dict[str, Path], kind: str) -> None:
    """The gateway stops before the model's queue is full, and probes outwait a long request."""
    folder = exports[kind]
    found = read(folder / "blue-deployment.yml")
    settings, alive = found["request_settings"], found["liveness_probe"]
    longest = MOST_REQUEST_TIMEOUT_S["kubernetes" if "kubernetes" in kind else "managed"]
    assert settings["request_timeout_ms"] <= longest * 1000
    patience_s = alive["period"] * alive["failure_threshold"]
    assert patience_s * 1000 > settings["request_timeout_ms"]
    at_once = 2 * settings["max_concurrent_requests_per_instance"]
    if "triton" in kind:
        config = (folder / "models" / "digits" / "config.pbtxt").read_text()
        queue = re.search(r"max_queue_size: (\d+)", config)
        assert queue is None or at_once <= int(queue[1])
    else:
        variables = found["environment_variables"]
        assert int(variables["WORKER_COUNT"]) * 2 == at_once
        assert float(variables["HYBRIDMODEL_MAX_TIMEOUT_S"]) * 1000 < settings["request_timeout_ms"]


@settings(deadline=None, max_examples=100)
@given(
    queue=st.integers(1, 10_000),
    timeout_s=st.floats(0.001, 300),
    size=st.integers(0, 1 << 45),
)
def test_what_is_fitted(queue: int, timeout_s: float, size: int) -> None:
    """Whatever the queue, the timeout and the size: what is fitted is legal, and fits."""
    fit = fitted(concurrency=None, queue_size=queue, request_timeout_s=timeout_s, model_bytes=size)
    assert fit.concurrency >= 1
    assert 2 * fit.concurrency <= max(queue, 2)
    assert fit.probe.period_s * fit.probe.failure_threshold > timeout_s
    assert 1 <= fit.probe.initial_delay_s <= 600
    assert fit.probe.success_threshold == 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_in_any_file(exports: dict[str, Path], kind: str) -> None:
    """The key that was in the environment is in no file, nor is the path of this machine."""
    folder = exports[kind]
    for path in folder.rglob("*"):
        is_ours = "hybridmodel" in path.relative_to(folder).parts
        if path.is_file() and not is_ours:
            data = path.read_bytes()
            assert CANARY.encode() not in data
            assert str(folder.parent).encode() not in data, path


def test_a_secret_is_named(exports: dict[str, Path]) -> None:
    """A reference to a secret stands where the model looks for its key, and Azure checks it."""
    folder = exports["script"]
    assert read(folder / "blue-deployment.yml")["environment_variables"][KEY_NAME] == SECRET
    properties = read(folder / "endpoint.yml")["properties"]
    assert properties == {"enforce_access_to_default_secret_stores": "enabled"}
    made = [line for line in commands(exports["mlflow"] / "COMMANDS.md") if " create -f" in line]
    setting = f'--set environment_variables.{KEY_NAME}="${KEY_NAME}"'
    assert [setting in line for line in made] == [False, True, True]
    assert setting not in (folder / "COMMANDS.md").read_text()


def _pages(exports: dict[str, Path]) -> list[Path]:
    return [page for folder in exports.values() for page in sorted(folder.glob("*COMMANDS.md"))]


def test_commands_are_shell(exports: dict[str, Path]) -> None:
    """A shell can read every command."""
    text = "\n".join(line for page in _pages(exports) for line in commands(page))
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    assert "{{" not in text
    assert "{%" not in text


def test_commands_name_what_is_there(exports: dict[str, Path]) -> None:
    """Commands name the files, the endpoint and the deployments; shares of traffic add up."""
    for page in _pages(exports):
        lines = commands(page)
        endpoint = "digits-ep-batch" if page.name.startswith("BATCH") else "digits-ep"
        for line in lines:
            words = shlex.split(line, comments=True)
            _check_command(words, page.parent, endpoint)
        made = [line for line in lines if " create " in line]
        assert not any("traffic" in line for line in made)


def _check_command(words: list[str], folder: Path, endpoint: str) -> None:
    for option, value in pairwise(words):
        if option == "-f":
            assert (folder / value).is_file(), words
        elif option in ("-n", "-e") and words[0] == "az":
            assert value in {endpoint, "blue", "green", "$JOB"}, words
        elif option == "--traffic":
            assert sum(int(share.partition("=")[2]) for share in value.split()) == 100, words
        elif option == "--mirror-traffic":
            assert re.fullmatch("green=(0|10)", value), words


def test_mirroring_only_where_azure_can(exports: dict[str, Path]) -> None:
    """Kubernetes has no mirror, so no command asks for one there."""
    for kind, folder in exports.items():
        lines = commands(folder / "COMMANDS.md")
        has_mirror = any("--mirror-traffic" in line for line in lines)
        assert has_mirror == ("kubernetes" not in kind)
        mirrored = [line for line in lines if "--mirror-traffic" in line]
        assert not mirrored or mirrored[-1].endswith('"green=0"')


def test_a_version_is_the_content(exports: dict[str, Path], tmp_path: Path) -> None:
    """The same model gets the same version, another model another: Azure never replaces one."""
    other = save_hybrid(tmp_path / "other", seed=1)
    again = exports["triton"].parent / "saved"
    versions: list[Any] = [read(exports["triton"] / "blue-deployment.yml")["model"]["version"]]
    for name, saved in (("same", again), ("different", other)):
        export(saved, tmp_path / name, "--azure", "another-ep")
        versions.append(read(tmp_path / name / "blue-deployment.yml")["model"]["version"])
    assert versions[0] == versions[1]
    assert versions[0] != versions[2]


def test_a_version_counts_what_is_there(exports: dict[str, Path], tmp_path: Path) -> None:
    """A model that joins another version in a folder is not taken for the model alone."""
    first, second = exports["triton"].parent / "saved", save_hybrid(tmp_path / "second", seed=1)
    both, alone = tmp_path / "both", tmp_path / "alone"
    export(first, both)
    for folder in (both, alone):
        export(second, folder, "--azure", "digits-ep", "--model-version", 2)
    made = [read(folder / "blue-deployment.yml")["model"]["version"] for folder in (both, alone)]
    assert made[0] != made[1]
    again = tmp_path / "again"
    export(first, again)
    export(second, again, "--azure", "digits-ep", "--model-version", 2)
    assert read(again / "blue-deployment.yml")["model"]["version"] == made[0]


def test_green_may_be_another_model(exports: dict[str, Path], tmp_path: Path) -> None:
    """`--green` gives the second deployment a repository and a version of its own."""
    saved = exports["triton"].parent / "saved"
    newer = save_hybrid(tmp_path / "newer", seed=1)
    export(saved, tmp_path / "out", "--azure", "digits-ep", "--green", newer)
    blue, green = (
        read(tmp_path / "out" / f"{name}-deployment.yml")["model"] for name in ("blue", "green")
    )
    assert (blue["path"], green["path"]) == ("./models", "./green/models")
    assert blue["version"] != green["version"]
    assert (tmp_path / "out" / "green" / "models" / "digits" / "config.pbtxt").is_file()


def test_the_page_names_all(exports: dict[str, Path]) -> None:
    """docs/deploy_azure.md names every option, every variable of the files, and every file."""
    page = (ROOT / "docs" / "deploy_azure.md").read_text()
    params = program.commands["export"].params
    options = {param.opts[0] for param in params if param.name in export_templates.NAMES}
    assert {option for option in options if option not in page} == set()
    for folder in exports.values():
        for path in (*folder.glob("*.yml"), *folder.glob("*.json")):
            assert path.name in page, path
        for variables in re.findall(r"\bHYBRIDMODEL_[A-Z_]+\b", "".join(_texts(folder))):
            assert variables in page, variables


def _texts(folder: Path) -> list[str]:
    return [path.read_text().replace(KEY_NAME, "") for path in folder.glob("*.yml")]
