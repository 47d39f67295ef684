"""`hybridmodel export --azure…`: what Azure would refuse is refused before anything is written."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from hybridmodel.deploy.azure import Wanted, WantedBatch, documents, write_hybrid
from hybridmodel.deploy.azure.limits import checked_name
from hybridmodel.exceptions import ConfigurationError
from tests.support.azure_exports import CLUSTER, export, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAMES = {
    "too short": "ab",
    "too long": "a" * 33,
    "a digit first": "1abc",
    "a dash first": "-abc",
    "a dash last": "abc-",
    "two dashes": "ab--cd",
    "an underscore": "ab_cd",
    "a point": "ab.cd",
    "empty": "",
    "a line break": "abc\n",
    "not ASCII": "zürich",
    "a path": "../x",
    "a shell": "a;ls",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a hybrid model."""
    return save(tmp_path_factory.mktemp("refusals") / "saved")


@pytest.mark.parametrize("option", ["--azure", "--azure-mlflow", "--azure-script"])
@pytest.mark.parametrize("case", NAMES)
def test_names_that_azure_refuses(saved: Path, tmp_path: Path, option: str, case: str) -> None:
    """A name that Azure refuses is refused, with what it takes, and nothing is written."""
    result = export(saved, tmp_path / "out", f"{option}={NAMES[case]}", status=2)
    assert "Azure takes 3 to 32 letters, digits and single dashes" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["abc", "A1b", "a-b-c", "a" * 32])
def test_names_that_azure_takes(name: str) -> None:
    """Names within the rule are taken as they are."""
    assert checked_name("endpoint", name) == name


def test_the_name_of_the_batch_endpoint(saved: Path, tmp_path: Path) -> None:
    """A name that leaves no room for that of the batch endpoint is refused."""
    result = export(saved, tmp_path / "out", "--azure-mlflow", "a" * 27, status=2)
    assert "use a shorter one" in result.output
    assert not (tmp_path / "out").exists()
    export(saved, tmp_path / "out", "--azure-mlflow", "a" * 26)


OPTIONS: dict[str, tuple[Sequence[object], str]] = {
    "two kinds": (("--azure", "abc", "--azure-script", "abc"), "one endpoint each"),
    "green of nothing": (("--green", "m"), "--green needs --azure"),
    "kserve of no repository": (
        ("--azure-mlflow", "abc", "--kserve", "x", "--storage-uri", "s3://b/x"),
        "--kserve serves the repository",
    ),
    "kserve without a place": (("--kserve", "x"), "go together"),
    "a cluster of Azure's own": (("--azure", "abc", "--compute-name", "k8s"), "managed takes none"),
    "Kubernetes without a cluster": (("--azure", "abc", "--compute", "kubernetes"), "compute_name"),
    "Entra on Kubernetes": (
        ("--azure", "abc", *CLUSTER, "--auth-mode", "aad_token"),
        "key, aml_token",
    ),
    "too long a request": (("--azure", "abc", "--request-timeout", 181), "at most 180"),
    "too long on Kubernetes": (
        ("--azure", "abc", *CLUSTER, "--request-timeout", 301),
        "at most 300",
    ),
    "no time": (("--azure", "abc", "--request-timeout", 0), "positive number of seconds"),
    "less than a millisecond": (("--azure", "abc", "--request-timeout", 0.0001), "at least 0.001"),
    "no time that is a number": (("--azure", "abc", "--request-timeout", "nan"), "positive number"),
    "no instance": (("--azure", "abc", "--instance-count", 0), "from 1 to 50"),
    "too many instances": (("--azure", "abc", "--instance-count", 51), "from 1 to 50"),
    "no request at a time": (("--azure", "abc", "--concurrency", 0), "from 1 to 1000"),
    "a size of nothing": (("--instance-type", "Standard_DS3_v2"), "--instance-type needs --azure"),
    "a batch size of nothing": (
        ("--azure-script", "abc", "--max-batch-size", 8),
        "--max-batch-size is about a repository",
    ),
    "a secret of nothing": (
        ("--azure", "abc", "--key-secret", "${{keyvault:https://v.vault.azure.net/secrets/k}}"),
        "not for Triton",
    ),
    "no size": (("--azure", "abc", "--instance-type", "two words"), "Standard_DS3_v2"),
    "batch without batch": (("--azure", "abc", "--batch-nodes", 2), "needs --azure-mlflow"),
    "batch of a script": (("--azure-script", "abc", "--batch-idle", 9), "needs --azure-mlflow"),
    "no nodes": (("--azure-mlflow", "abc", "--batch-nodes", 0), "nodes is a whole number"),
    "too many for a job": (
        ("--azure-mlflow", "abc", "--batch-nodes-per-job", 5),
        "nodes_per_job is a whole number from 1 to 4",
    ),
    "too many kept": (
        ("--azure-mlflow", "abc", "--batch-min-nodes", 5),
        "min_nodes is a whole number from 0 to 4",
    ),
    "no idle time": (("--azure-mlflow", "abc", "--batch-idle", 0), "idle_s is a whole number"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_cannot_work(saved: Path, tmp_path: Path, case: str) -> None:
    """Each is refused with what was expected, and nothing is written."""
    options, message = OPTIONS[case]
    result = export(saved, tmp_path / "out", *options, status=2)
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_a_longer_request_on_kubernetes(saved: Path, tmp_path: Path) -> None:
    """Kubernetes allows requests of up to 300 s."""
    export(saved, tmp_path / "out", "--azure", "abc", *CLUSTER, "--request-timeout", 300)


def test_a_key_is_no_reference(saved: Path, tmp_path: Path) -> None:
    """A key instead of a reference to one is refused, and not repeated."""
    result = export(
        saved, tmp_path / "out", "--azure-script", "abc", "--key-secret", "k3y-0af1", status=2
    )
    assert "never a key" in result.output
    assert "k3y-0af1" not in result.output


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--azure", "endpoint.yml"),
        ("--azure", "COMMANDS.md"),
        ("--azure-mlflow", "model"),
        ("--azure-mlflow", "batch-deployment.yml"),
        ("--azure-script", "code"),
    ],
)
def test_nothing_is_overwritten(saved: Path, tmp_path: Path, option: str, name: str) -> None:
    """A file that is there stays as it is, and the export is refused."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    result = export(saved, tmp_path / "out", option, "abc", status=2)
    assert "/out" in result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_links_are_not_followed(saved: Path, tmp_path: Path) -> None:
    """A saved model whose files lead elsewhere is refused: the target would be sent to Azure."""
    copy = save(tmp_path / "copy")
    (tmp_path / "secret").write_text("private")
    (copy / "notes.txt").symlink_to(tmp_path / "secret")
    result = export(copy, tmp_path / "out", "--azure-script", "abc", status=2)
    assert "notes.txt: is a link" in result.output
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    """A folder that is no hybrid model is refused, and leaves nothing."""
    (tmp_path / "empty").mkdir()
    export(tmp_path / "empty", tmp_path / "out", "--azure-mlflow", "abc", status=2)
    assert not (tmp_path / "out").exists()


def test_no_space_leaves_nothing(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk is full at the last file, none of the others is left."""

    def full(_record: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(documents, "cluster", full)
    with pytest.raises(ConfigurationError, match="nothing of it is left: No space"):
        write_hybrid(str(saved), tmp_path / "out", Wanted(endpoint="abc"), scripted=False)
    assert not (tmp_path / "out").exists()


def test_a_tier_that_there_is_not() -> None:
    """Machines of a batch endpoint are of one of Azure's tiers."""
    with pytest.raises(ConfigurationError, match="tier is low_priority or dedicated, not 'spot'"):
        WantedBatch(tier="spot")
